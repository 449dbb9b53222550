"""The trade-notifier as a process, fed as upstreams feed it."""

import json
from collections.abc import Mapping

from shared.bus.entries import StreamEntry
from shared.bus.redis_bus import RedisBus
from shared.messages import Trade, decode_trade
from shared.names import metrics, redis_keys
from shared.upstream import Refusal
from tests.support.cluster import Cluster
from tests.support.reports import report_of
from tests.support.waiting import eventually

NOTIFIER = "trade-notifier"
FEED = redis_keys.FEED_TRADES
SHARDS = 4


def trade(number: int, symbol: str = "BTC-USDT", **more: str) -> dict[str, str]:
    return {
        "id": str(number),
        "symbol": symbol,
        "amount": "0.500",
        "price": "64000.10",
        "side": "buy",
        "ts": "1763800000000",
        **more,
    }


async def feed(bus: RedisBus, *entries: Mapping[str, str | bytes], stream: str = FEED) -> None:
    await bus.append(stream, entries, 1_000_000)


async def entries_of(bus: RedisBus, log: str) -> list[StreamEntry]:
    return (await bus.read({log: "0"}, count=1_000_000, block_ms=0)).get(log, [])


async def trades_of(bus: RedisBus, symbol: str = "BTC-USDT") -> list[Trade]:
    log = redis_keys.trade_log(redis_keys.shard_of(symbol, SHARDS))
    found = [decode_trade(entry.fields[b"d"]) for entry in await entries_of(bus, log)]
    return [trade for trade in found if trade.symbol == symbol]


async def await_ids(bus: RedisBus, *ids: str) -> None:
    """Wait until the log holds exactly these, in this order, and all that belongs to them is done."""

    async def ask() -> list[str]:
        return [trade.id for trade in await trades_of(bus)]

    await eventually(ask, "trades in the log", lambda found: len(found) >= len(ids))
    await eventually(lambda: pending(bus), "pending", lambda count: count == 0)
    assert await ask() == list(ids)


async def pending(bus: RedisBus, stream: str = FEED) -> int:
    return (await bus.group_info(stream, redis_keys.TRADE_GROUP, 0)).pending


async def test_a_trade_appears_in_the_log_of_its_symbol_with_the_upstream_s_digits(
    bus: RedisBus, cluster: Cluster
) -> None:
    cluster.launch(NOTIFIER)
    await feed(bus, trade(42, venue="BINANCE"), trade(43, price="64000.20", side="SELL"))
    await await_ids(bus, "42", "43")
    assert await trades_of(bus) == [
        Trade("42", "BTC-USDT", "0.500", "64000.10", "buy", 1763800000000, "BINANCE"),
        Trade("43", "BTC-USDT", "0.500", "64000.20", "sell", 1763800000000, None),
    ]
    log = redis_keys.trade_log(redis_keys.shard_of("BTC-USDT", SHARDS))
    assert (await entries_of(bus, log))[0].fields.keys() == {b"s", b"d"}
    assert (await entries_of(bus, log))[0].fields[b"s"] == b"BTC-USDT"


async def test_an_id_that_comes_again_is_dropped_also_after_a_restart(bus: RedisBus, cluster: Cluster) -> None:
    first = cluster.launch(NOTIFIER)
    await feed(bus, trade(1), trade(2), trade(1))
    await await_ids(bus, "1", "2")
    assert await first.stop() == 0
    second = cluster.launch(NOTIFIER)
    await feed(bus, trade(2), trade(1), trade(3), trade(3, symbol="ETH-USDT"), trade(3, venue="KRAKEN"))
    await await_ids(bus, "1", "2", "3", "3")
    assert [found.id for found in await trades_of(bus, "ETH-USDT")] == ["3"]
    duplicates = f"{metrics.DUPLICATES.name}"
    assert (await eventually(second.scrape, "duplicates", lambda found: found[duplicates] >= 2))[duplicates] == 2


async def test_each_user_that_a_trade_names_is_notified_once_and_no_one_else_learns_who(
    bus: RedisBus, cluster: Cluster
) -> None:
    cluster.launch(NOTIFIER)
    named = {"alice", "bob", "Żółw 龍"}
    await feed(bus, trade(1, user_id="alice, bob,alice,Żółw 龍"), trade(1, user_id="bob"), trade(2, user_id="bob"))
    await feed(bus, trade(3))
    await await_ids(bus, "1", "2", "3")
    told: dict[str, list[str]] = {}
    for user in named | {"carol"}:
        shard = redis_keys.shard_of(user, SHARDS)
        for entry in await entries_of(bus, redis_keys.user_log(shard)):
            assert entry.fields.keys() == {b"u", b"d"}
            if entry.fields[b"u"].decode() == user:
                told.setdefault(user, []).append(decode_trade(entry.fields[b"d"]).id)
    assert told == {"alice": ["1"], "bob": ["1", "2"], "Żółw 龍": ["1"]}
    log = redis_keys.trade_log(redis_keys.shard_of("BTC-USDT", SHARDS))
    assert not any(b"alice" in value for entry in await entries_of(bus, log) for value in entry.fields.values())


BAD: list[tuple[Refusal, str, dict[str, str | bytes]]] = [
    (Refusal.MISSING, "symbol", {"price": "1", "amount": "1"}),
    (Refusal.MISSING, "price", {"symbol": "BTC-USDT", "amount": "1"}),
    (Refusal.MISSING, "amount", {"symbol": "BTC-USDT", "price": "1"}),
    (Refusal.BAD_SYMBOL, "symbol", {**trade(1), "symbol": "BTC USDT"}),
    (Refusal.BAD_SYMBOL, "symbol", {**trade(1), "symbol": "B" * 33}),
    (Refusal.BAD_DECIMAL, "price", {**trade(1), "price": "cheap"}),
    (Refusal.BAD_DECIMAL, "price", {**trade(1), "price": "Infinity"}),
    (Refusal.BAD_DECIMAL, "price", {**trade(1), "price": "1e999999999"}),
    (Refusal.NOT_POSITIVE, "amount", {**trade(1), "amount": "0"}),
    (Refusal.NOT_POSITIVE, "amount", {**trade(1), "amount": "-1"}),
    (Refusal.TOO_LONG, "price", {**trade(1), "price": "1" * 41}),
    (Refusal.TOO_LONG, "id", {**trade(1), "id": "9" * 5000}),
    (Refusal.BAD_TIME, "ts", {**trade(1), "ts": "yesterday"}),
    (Refusal.FUTURE, "ts", {**trade(1), "ts": "9763800000000"}),
    (Refusal.BAD_SIDE, "side", {**trade(1), "side": "both"}),
    (Refusal.NOT_TEXT, "venue", {**trade(1), "venue": b"\xff\xfe"}),
    (Refusal.TOO_MANY_USERS, "user_id", {**trade(1), "user_id": ",".join(map(str, range(65)))}),
    (Refusal.MISSING, "symbol", {"": "", "\x00": b"\xff" * 2000, **{f"field{n}": "x" for n in range(200)}}),
]


ELSEWHERE = {
    Refusal.BAD_STATE,  # of prices alone
    *(Refusal.BAD_PAYLOAD, Refusal.PAYLOAD_TOO_LARGE, Refusal.TOO_DEEP, Refusal.TOO_MANY_ITEMS),
}
"""The others: test_trade_notifier_sources.py."""


async def test_bad_entries_of_every_kind_become_dead_letters_while_good_ones_flow(
    bus: RedisBus, cluster: Cluster
) -> None:
    notifier = cluster.launch(NOTIFIER)
    for number, (_, _, fields) in enumerate(BAD):
        await feed(bus, fields, trade(1000 + number))
    await await_ids(bus, *(str(1000 + number) for number in range(len(BAD))))
    letters = await entries_of(bus, redis_keys.DEAD_TRADES)
    assert [(letter.fields[b"reason"].decode(), letter.fields[b"field"].decode()) for letter in letters] == [
        (reason, field) for reason, field, _ in BAD
    ]
    upstream = {entry.id: entry.fields for entry in await entries_of(bus, FEED)}
    assert all(letter.fields[b"stream"] == FEED.encode() for letter in letters)
    assert upstream[letters[5].fields[b"entry"].decode()][b"price"] == b"cheap"
    assert letters[5].fields[b"original:price"] == b"cheap"
    assert all(len(letter.fields) < 40 and max(map(len, letter.fields.values())) <= 512 for letter in letters)
    assert letters[-1].fields[b"cut"] == b"1"
    scraped = await notifier.scrape()
    assert scraped[f'{metrics.DEAD_LETTERS.name}{{reason="not_positive"}}'] == 2
    assert {reason for reason, _, _ in BAD} == set(Refusal) - ELSEWHERE


async def test_partitions_are_found_while_running_and_read_beside_the_plain_stream(
    bus: RedisBus, cluster: Cluster
) -> None:
    notifier = await cluster.start(NOTIFIER)
    without_id = {"symbol": "BTC-USDT", "amount": "1", "price": "2"}
    await bus._client.xadd(f"{FEED}:0", without_id, id="1763800000000-0")  # type: ignore[arg-type]
    await bus._client.xadd(f"{FEED}:1", without_id, id="1763800000000-0")  # type: ignore[arg-type]
    await bus._client.xadd(f"{FEED}:notes", without_id)  # type: ignore[arg-type]
    await feed(bus, trade(7))

    async def ask() -> list[str]:
        return sorted(found.id for found in await trades_of(bus))

    found = await eventually(ask, "trades of three streams", lambda ids: len(ids) >= 3)
    assert found == ["1763800000000-0", "1763800000000-0", "7"]
    assert (await notifier.scrape())[metrics.OWNED_STREAMS.name] == 3


async def test_sigterm_amid_the_flow_exits_0_with_nothing_pending_and_the_next_one_goes_on_at_once(
    bus: RedisBus, cluster: Cluster
) -> None:
    first = cluster.launch(NOTIFIER)
    await first.logged("lease_acquired")
    for start in range(0, 10_000, 500):
        await feed(bus, *(trade(number) for number in range(start, start + 500)))
        if start == 5000:
            first.terminate()
    assert await first.ended() == 0
    assert await trades_of(bus)
    assert await pending(bus) == 0
    assert await bus.get(redis_keys.feed_lease(FEED)) is None
    cluster.launch(NOTIFIER)
    await await_ids(bus, *map(str, range(10_000)))


async def test_its_report_says_what_it_did(bus: RedisBus, cluster: Cluster) -> None:
    notifier = cluster.launch(NOTIFIER)
    await feed(bus, trade(1), trade(1), trade(2, user_id="alice,bob"), {"symbol": "?"})
    await notifier.logged("ready")
    wanted = {
        metrics.TRADES.name: 2,
        metrics.NOTIFICATIONS.name: 2,
        metrics.DUPLICATES.name: 1,
        metrics.NO_TRADES.name: 0,
        metrics.REDELIVERED.name: 0,
        metrics.TRIMMED.name: 0,
        metrics.UNCONFIRMED.name: 0,
        metrics.DEAD_LETTERS.name: 1,
        metrics.OWNED_STREAMS.name: 1,
    }
    await eventually(
        lambda: report_of(bus, notifier.instance),
        f"figures {json.dumps(wanted)}",
        lambda report: report is not None and report.figures == wanted,
    )
