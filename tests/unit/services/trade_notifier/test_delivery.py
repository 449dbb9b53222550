import pytest

from services.trade_notifier.delivery import FUSE, MAX_RECORDS, Appended, Delivery
from services.trade_notifier.recipients import FeedTrade
from services.trade_notifier.settings import NotifierSettings
from shared.bus.errors import FencedError
from shared.bus.redis_bus import RedisBus
from shared.messages import decode_trade
from shared.names import redis_keys
from shared.upstream import UpstreamTrade

FEED = redis_keys.FEED_TRADES
LOG = redis_keys.trade_log(0)
HOUR_MS = 3_600_000


def trade(number: int, *users: str) -> FeedTrade:
    return FeedTrade(UpstreamTrade(str(number), "BTC", "1", "2", None, 3, None, users), FEED, f"{number}-0")


async def ids(bus: RedisBus, log: str = LOG) -> list[int]:
    return [int(decode_trade(entry.fields[b"d"]).id) for entry in (await bus.read({log: "0"}, 100_000, 0)).get(log, [])]


def delivery(bus: RedisBus, **settings: int) -> Delivery:
    return Delivery(bus, 1, NotifierSettings(**settings))


async def test_each_trade_is_appended_once_however_often_it_comes(bus: RedisBus) -> None:
    made = delivery(bus)
    await made.open(FEED, "1:a")
    assert await made.append(FEED, "1:a", [trade(1, "u"), trade(2), trade(1, "u")]) == Appended(2, 1, [])
    assert await made.append(FEED, "1:a", [trade(2), trade(3)]) == Appended(1, 0, [])
    assert await ids(bus) == [1, 2, 3]
    assert await ids(bus, redis_keys.user_log(0)) == [1]


async def test_a_former_owner_s_append_is_refused_and_changes_nothing(bus: RedisBus) -> None:
    made = delivery(bus)
    await made.open(FEED, "1:a")
    await made.append(FEED, "1:a", [trade(1)])
    await made.open(FEED, "2:b")
    with pytest.raises(FencedError):
        await made.append(FEED, "1:a", [trade(2)])
    await made.append(FEED, "2:b", [trade(3)])
    assert await ids(bus) == [1, 3]


async def test_a_former_owner_cannot_open_the_logs_again(bus: RedisBus) -> None:
    made = delivery(bus)
    await made.open(FEED, "10:b")
    for stamp in ("9:a", "10:a"):
        with pytest.raises(FencedError):
            await made.open(FEED, stamp)
    await made.open(FEED, "10:b")


async def test_owners_of_different_streams_share_a_log_and_its_memory(bus: RedisBus) -> None:
    made = delivery(bus)
    await made.open(FEED, "7:a")
    await made.open(f"{FEED}:1", "1:b")
    await made.append(FEED, "7:a", [trade(1)])
    assert await made.append(f"{FEED}:1", "1:b", [trade(1), trade(2)]) == Appended(1, 0, [])


async def test_an_append_without_a_fence_is_refused(bus: RedisBus) -> None:
    with pytest.raises(FencedError):
        await delivery(bus).append(FEED, "1:a", [trade(1)])


async def test_more_records_than_one_script_takes_all_arrive(bus: RedisBus) -> None:
    made = delivery(bus)
    await made.open(FEED, "1:a")
    users = [f"user{number}" for number in range(60)]
    count = MAX_RECORDS * 2 // 60 + 1
    delivered = await made.append(FEED, "1:a", [trade(number, *users) for number in range(count)])
    assert delivered == Appended(count, count * 60, [])
    assert await bus.length(redis_keys.user_log(0)) == count * 60


async def test_an_id_is_remembered_in_the_next_window_too_and_every_memory_ends(bus: RedisBus) -> None:
    made = delivery(bus, dedupe_window_hours=1)
    await made.open(FEED, "1:a")
    await made.append(FEED, "1:a", [trade(1)])
    (key,) = await bus._client.keys(f"{redis_keys.log_seen(LOG)}:*")
    current = key if isinstance(key, str) else key.decode()
    window = int(current.rpartition(":")[2])
    assert window * HOUR_MS + 2 * HOUR_MS == await bus._client.pexpiretime(current)
    await bus._client.rename(current, f"{redis_keys.log_seen(LOG)}:{window - 1}")
    assert await made.append(FEED, "1:a", [trade(1)]) == Appended(0, 0, [])
    await bus._client.rename(f"{redis_keys.log_seen(LOG)}:{window - 1}", f"{redis_keys.log_seen(LOG)}:{window - 2}")
    assert await made.append(FEED, "1:a", [trade(1)]) == Appended(1, 0, [])


async def test_an_id_of_a_former_server_s_window_is_known_to_one_whose_clock_is_behind(bus: RedisBus) -> None:
    made = delivery(bus, dedupe_window_hours=1)
    await made.open(FEED, "1:a")
    await made.append(FEED, "1:a", [trade(1)])
    (key,) = await bus._client.keys(f"{redis_keys.log_seen(LOG)}:*")
    prefix, _, window = (key if isinstance(key, str) else key.decode()).rpartition(":")
    await bus._client.rename(key, f"{prefix}:{int(window) + 1}")
    assert await made.append(FEED, "1:a", [trade(1), trade(2)]) == Appended(1, 0, [])


async def test_the_log_is_cut_only_where_it_has_grown_to_a_multiple_of_its_length(bus: RedisBus) -> None:
    made = delivery(bus, trade_log_length=500)
    await made.open(FEED, "1:a")
    await made.append(FEED, "1:a", [trade(number) for number in range(900)])
    assert await bus.length(LOG) == 900
    await made.append(FEED, "1:a", [trade(number) for number in range(900, 3000)])
    assert FUSE * 500 <= await bus.length(LOG) < FUSE * 500 + 200


async def test_without_a_replica_that_has_it_an_append_is_unconfirmed_also_when_nothing_is_new(bus: RedisBus) -> None:
    made = delivery(bus, log_replicas=1, log_replicas_ms=10)
    await made.open(FEED, "1:a")
    for new in (1, 0):
        assert await made.append(FEED, "1:a", [trade(1, "u")]) == Appended(new, new, [LOG, redis_keys.user_log(0)])
    assert await ids(bus) == [1]


async def test_nothing_follows_in_a_log_what_was_not_confirmed(bus: RedisBus) -> None:
    made = delivery(bus, log_replicas=1, log_replicas_ms=10)
    await made.open(FEED, "1:a")
    trades = [trade(number) for number in range(MAX_RECORDS + 5)]
    for new in (MAX_RECORDS, 0):
        assert await made.append(FEED, "1:a", trades) == Appended(new, 0, [LOG])
    assert await ids(bus) == list(range(MAX_RECORDS))
