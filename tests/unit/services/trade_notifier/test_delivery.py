import pytest

from services.trade_notifier.delivery import MAX_RECORDS, Delivered, Delivery
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
    assert await made.append(FEED, "1:a", [trade(1, "u"), trade(2), trade(1, "u")]) == Delivered(2, 1, 1)
    assert await made.append(FEED, "1:a", [trade(2), trade(3)]) == Delivered(1, 1, 0)
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
    assert await made.append(f"{FEED}:1", "1:b", [trade(1), trade(2)]) == Delivered(1, 1, 0)


async def test_an_append_without_a_fence_is_refused(bus: RedisBus) -> None:
    with pytest.raises(FencedError):
        await delivery(bus).append(FEED, "1:a", [trade(1)])


async def test_more_records_than_one_script_takes_all_arrive(bus: RedisBus) -> None:
    made = delivery(bus)
    await made.open(FEED, "1:a")
    users = [f"user{number}" for number in range(60)]
    count = MAX_RECORDS * 2 // 60 + 1
    delivered = await made.append(FEED, "1:a", [trade(number, *users) for number in range(count)])
    assert delivered == Delivered(count, 0, count * 60)
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
    assert await made.append(FEED, "1:a", [trade(1)]) == Delivered(0, 1, 0)
    await bus._client.rename(f"{redis_keys.log_seen(LOG)}:{window - 1}", f"{redis_keys.log_seen(LOG)}:{window - 2}")
    assert await made.append(FEED, "1:a", [trade(1)]) == Delivered(1, 0, 0)


async def test_the_log_is_trimmed_by_length_and_by_age(bus: RedisBus) -> None:
    made = delivery(bus, trade_log_length=500, trade_log_minutes=15)
    await made.open(FEED, "1:a")
    for _ in range(300):  # from 1970: far older than a quarter of an hour
        await bus._client.xadd(LOG, {"s": "BTC", "d": "x"}, id="1-*")
    await made.append(FEED, "1:a", [trade(0)])
    assert await bus.length(LOG) < 150
    await made.append(FEED, "1:a", [trade(number) for number in range(1, 2000)])
    assert 500 <= await bus.length(LOG) < 700
