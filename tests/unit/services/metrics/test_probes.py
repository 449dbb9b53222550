from services.metrics.probes import RESCAN_S, Probes
from shared.bus.entries import GroupInfo
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from tests.support.manual_clock import ManualClock


async def add(bus: RedisBus, stream: str, *ids: str) -> None:
    for entry_id in ids:
        await bus._client.xadd(stream, {"a": "b"}, id=entry_id)


async def test_an_empty_redis_has_every_stream_at_zero(bus: RedisBus) -> None:
    found = await Probes(bus, ManualClock(5.0), 2).streams()
    assert found.lengths == {
        "log:{trades:0}": 0,
        "log:{trades:1}": 0,
        "log:{users:0}": 0,
        "log:{users:1}": 0,
        "dead:prices": 0,
        "dead:trades": 0,
        "feed:prices": 0,
        "feed:trades": 0,
    }
    assert found.notifiers == GroupInfo(0, 0, 0, 0)


async def test_a_feed_is_the_sum_of_its_partitions_which_are_looked_for_once_in_a_while(bus: RedisBus) -> None:
    clock = ManualClock(5.0)
    probes = Probes(bus, clock, 1)
    await add(bus, "feed:trades", "1-0", "2-0")
    await add(bus, "feed:trades:7", "1-0")
    await add(bus, "feed:prices:0", "1-0")
    await add(bus, "feed:prices:x", "1-0")
    lengths = (await probes.streams()).lengths
    assert (lengths["feed:trades"], lengths["feed:prices"]) == (3, 1)
    await add(bus, "feed:trades:8", "1-0")
    assert (await probes.streams()).lengths["feed:trades"] == 3
    clock.seconds += RESCAN_S
    assert (await probes.streams()).lengths["feed:trades"] == 4


async def test_lag_pending_and_age_are_those_of_the_notifiers_group(bus: RedisBus) -> None:
    await add(bus, "feed:trades", "1000-0", "2000-0", "3000-0")
    await add(bus, "feed:trades:0", "2500-0")
    await bus.ensure_group("feed:trades", redis_keys.TRADE_GROUP)
    await bus._client.xreadgroup(redis_keys.TRADE_GROUP, "owner", {"feed:trades": ">"}, count=2)
    await bus.acknowledge("feed:trades", redis_keys.TRADE_GROUP, ["1000-0"])
    # Nobody has read the partition yet: all of it is lag.
    assert (await Probes(bus, ManualClock(5.0), 1).streams()).notifiers == GroupInfo(4, 2, 1, 3000)


async def test_reports_are_read_and_removed(bus: RedisBus) -> None:
    probes = Probes(bus, ManualClock(5.0), 1)
    await bus.hash_set(redis_keys.SERVICE_REPORTS, {"a": b"1", "b": b"2"})
    await probes.remove_reports([])
    await probes.remove_reports([b"a"])
    assert await probes.reports() == {b"b": b"2"}
