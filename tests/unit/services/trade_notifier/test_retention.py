"""Which replica trims what."""

from collections.abc import AsyncIterator

import pytest

from services.trade_notifier.retention import Retention
from services.trade_notifier.settings import NotifierSettings
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.health import Health
from shared.lifecycle import Runtime
from shared.log_readers import LogReaders
from shared.names import metrics, redis_keys
from shared.settings import CommonSettings
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from shared.upstream import UpstreamSettings

FEED = redis_keys.FEED_TRADES
LOGS = [redis_keys.trade_log(3), redis_keys.user_log(0)]
TRIMMED = 300
"""At most so many are left of 1,000 when 100 are to be kept: nodes go as wholes."""


@pytest.fixture
async def runtime(bus: RedisBus) -> AsyncIterator[Runtime]:
    telemetry = Telemetry()
    async with TaskGroup() as tasks:
        yield Runtime("trade-notifier", "me", CommonSettings(), bus, SystemClock(), telemetry, Health(telemetry), tasks)


async def fill(bus: RedisBus, stream: str) -> None:
    await bus.append(stream, [{"n": str(n)} for n in range(1000)], 1_000_000)


async def lengths(bus: RedisBus, streams: list[str]) -> list[bool]:
    """Of each stream, whether it was trimmed."""
    return [await bus.length(stream) <= TRIMMED for stream in streams]


async def read_all(bus: RedisBus, stream: str) -> None:
    await bus.ensure_group(stream, redis_keys.TRADE_GROUP)
    await bus._client.xreadgroup(redis_keys.TRADE_GROUP, "owner", {stream: ">"}, count=1000)
    _, entries, _ = await bus.claim(stream, redis_keys.TRADE_GROUP, "owner", "0-0", 1000)
    await bus.acknowledge(stream, redis_keys.TRADE_GROUP, [entry.id for entry in entries])


async def test_the_owner_of_a_stream_trims_it_and_the_owner_of_the_feed_the_logs(
    bus: RedisBus, runtime: Runtime
) -> None:
    streams = [FEED, f"{FEED}:1", "trades-x"]
    for stream in streams:
        await fill(bus, stream)
        await read_all(bus, stream)
        last = (await bus.last_ids([stream]))[stream]
        for positions in (redis_keys.PRICE_POSITIONS, redis_keys.CHART_POSITIONS):
            await bus.hash_set(positions, {stream: last.encode()})
    for log in LOGS:
        await fill(bus, log)
    owned: list[str] = []
    made = Retention(
        runtime,
        NotifierSettings(trade_log_length=100),
        UpstreamSettings(upstream_keep_length=100, upstream_trim="all"),
        lambda: owned,
    )
    await made.trim()
    assert not any(await lengths(bus, streams + LOGS))
    owned.append(f"{FEED}:1")
    await made.trim()
    assert await lengths(bus, streams + LOGS) == [False, True, False, False, False]
    owned[:] = [FEED]
    await made.trim()
    assert await lengths(bus, streams + LOGS) == [True, True, False, True, True]


async def test_what_price_ingest_has_not_read_stays(bus: RedisBus, runtime: Runtime) -> None:
    await fill(bus, FEED)
    await read_all(bus, FEED)
    made = Retention(runtime, NotifierSettings(), UpstreamSettings(upstream_keep_length=100), lambda: [FEED])
    await made.trim()
    assert await bus.length(FEED) == 1000


async def test_postponed_streams_are_forgotten_with_the_lease(bus: RedisBus, runtime: Runtime) -> None:
    await fill(bus, LOGS[0])
    await LogReaders(bus, "slow").tell({LOGS[0]: "0-0"})
    owned = [FEED]
    made = Retention(runtime, NotifierSettings(trade_log_length=100), UpstreamSettings(), lambda: owned)

    def postponed() -> bytes:
        lines = runtime.telemetry.exposition("")[0].splitlines()
        return next(line for line in lines if line.startswith(f'{metrics.TRIM_POSTPONED.name}{{kind="log"}}'.encode()))

    await made.trim()
    assert postponed().endswith(b" 1.0")
    owned.clear()
    await made.trim()
    assert postponed().endswith(b" 0.0")
