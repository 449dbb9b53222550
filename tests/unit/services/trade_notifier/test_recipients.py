from services.trade_notifier.recipients import FeedTrade, Record, address
from shared.messages import Trade, decode_trade
from shared.names import redis_keys
from shared.upstream import UpstreamTrade


def found(
    number: str = "1",
    symbol: str = "BTC-USDT",
    venue: str | None = None,
    users: tuple[str, ...] = (),
    stream: str = "feed:trades",
) -> FeedTrade:
    return FeedTrade(UpstreamTrade(number, symbol, "0.5", "64000.10", "buy", 17, venue, users), stream, "99-0")


def records(*trades: FeedTrade) -> list[Record]:
    return [record for log in address(trades, 1).trade_logs.values() for record in log]


def test_a_symbol_always_goes_to_one_log_in_the_order_of_the_feed() -> None:
    trades = [found(str(number), f"SYM{number % 10}") for number in range(100)]
    logs = address(trades, 4).trade_logs
    assert sum(map(len, logs.values())) == 100
    for log, entries in logs.items():
        assert {redis_keys.trade_log(redis_keys.shard_of(record.subject, 4)) for record in entries} == {log}
        numbers = [int(decode_trade(record.data).id) for record in entries]
        assert numbers == sorted(numbers)


def test_a_named_user_gets_the_trade_without_a_word_of_the_others() -> None:
    logs = address([found(users=("alice", "bob"))], 1).user_logs
    told = [(record.subject, decode_trade(record.data)) for log in logs.values() for record in log]
    trade = Trade("1", "BTC-USDT", "0.5", "64000.10", "buy", 17, None)
    assert told == [("alice", trade), ("bob", trade)]
    assert not any(b"bob" in record.data for log in logs.values() for record in log)


def test_venue_symbol_and_id_make_a_trade_what_it_is_and_cannot_be_mixed_up() -> None:
    different = [
        found("1"),
        found("2"),
        found("1", "ETH-USDT"),
        found("1", venue="A"),
        found("1", "B:C", venue="A"),
        found("1", "C", venue="A:B"),
        found("C:1", "B", venue="A"),
    ]
    assert len({record.id for record in records(*different)}) == len(different)
    assert len({record.id for record in records(found("1", stream="feed:trades:0"), found("1"))}) == 1


def test_a_trade_without_an_id_of_its_own_is_known_by_its_stream_too() -> None:
    same_entry_id = [found("99-0", stream="feed:trades:0"), found("99-0", stream="feed:trades:1")]
    assert len({record.id for record in records(*same_entry_id)}) == 2


def test_two_users_of_one_trade_are_told_apart() -> None:
    logs = address([found(users=("alice", "bob"))], 1).user_logs
    assert len({record.id for log in logs.values() for record in log}) == 2
