"""What a running service says of itself."""

import asyncio
import time
from typing import Any

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared import reporting
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.health import Health
from shared.messages import ServiceReport
from shared.names import redis_keys
from shared.reporting import REDIS_GRACE_S, LoopWatch, RedisWatch, Reporter, resident_bytes
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from tests.support.manual_clock import ManualClock
from tests.support.reports import report_of
from tests.support.waiting import eventually


def fill(fields: dict[str, Any]) -> None:
    fields["figures"] = {"tickwire_ingest_symbols": 3.0}


def reporter(bus: RedisBus, health: Health) -> Reporter:
    return Reporter("price-ingest", "price-ingest-1", bus, ManualClock(), health, fill)


async def reported(bus: RedisBus) -> ServiceReport:
    report = await eventually(lambda: report_of(bus, "price-ingest-1"), "a report")
    assert report is not None
    return report


async def test_a_report_tells_who_how_much_and_whether_it_is_ready(bus: RedisBus):
    health = Health(Telemetry())
    health.add_check("redis", lambda: "no answer")
    async with TaskGroup() as tasks:
        tasks.spawn("report", reporter(bus, health).run())
        report = await reported(bus)
    assert (report.service, report.instance, report.ready) == ("price-ingest", "price-ingest-1", False)
    assert (report.at, report.started) == (1_000_000, 1_000_000)
    assert report.memory > 2**20
    assert report.figures == {"tickwire_ingest_symbols": 3.0}


async def test_one_that_stops_takes_its_report_away(bus: RedisBus):
    made = reporter(bus, Health(Telemetry()))
    async with TaskGroup() as tasks:
        tasks.spawn("report", made.run())
        await reported(bus)
    await made.forget()
    assert await bus.hash_all(redis_keys.SERVICE_REPORTS) == {}


async def test_no_report_comes_after_it_was_taken_away(bus: RedisBus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reporting, "REPORT_S", 0.0)
    for _ in range(20):
        made = reporter(bus, Health(Telemetry()))
        async with TaskGroup() as tasks:
            running = tasks.spawn("report", made.run())
            await reported(bus)
            await made.forget()
            await running
        assert await bus.hash_all(redis_keys.SERVICE_REPORTS) == {}


async def test_without_redis_it_can_be_forgotten():
    with EmbeddedValkey() as server:
        url = server.url
    bus = RedisBus(url, "test")
    await reporter(bus, Health(Telemetry())).forget()
    await bus.close()


async def test_without_redis_it_goes_on_and_reports_when_redis_is_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reporting, "REPORT_S", 0.02)
    with EmbeddedValkey() as server:
        bus = RedisBus(server.url, "test")
        made = reporter(bus, Health(Telemetry()))
        server.kill()
        async with TaskGroup() as tasks:
            tasks.spawn("report", made.run())
            await asyncio.sleep(0.1)
            server.start()
            probe = RedisBus(server.url, "probe")
            assert (await reported(probe)).service == "price-ingest"
            await probe.close()
        await bus.close()


async def test_redis_silent_for_long_makes_the_service_unready_and_a_short_outage_does_not(bus: RedisBus):
    clock, telemetry = ManualClock(), Telemetry()
    watch = RedisWatch(bus, clock, telemetry)
    assert watch.check() is None
    clock.seconds += REDIS_GRACE_S - 1
    assert watch.check() is None
    clock.seconds += 2
    assert watch.check() == f"no answer for {REDIS_GRACE_S + 1:.0f} s"


async def test_an_answer_makes_it_ready_again_and_shows_in_the_metric(bus: RedisBus):
    clock, telemetry = ManualClock(), Telemetry()
    watch = RedisWatch(bus, clock, telemetry)
    clock.seconds += REDIS_GRACE_S + 1
    async with TaskGroup() as tasks:
        tasks.spawn("watch", watch.run())
        await eventually(lambda: watch.check() is None, "ready again")
    assert b"tickwire_redis_connected 1.0" in telemetry.exposition("")[0]


async def test_a_redis_that_answers_again_is_counted_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reporting, "PING_S", 0.02)
    telemetry = Telemetry()

    def shows(line: bytes) -> bool:
        return line in telemetry.exposition("")[0]

    with EmbeddedValkey() as server:
        bus = RedisBus(server.url, "test")
        async with TaskGroup() as tasks:
            tasks.spawn("watch", RedisWatch(bus, ManualClock(), telemetry).run())
            await eventually(lambda: shows(b"tickwire_redis_connected 1.0"), "connected")
            assert shows(b"tickwire_redis_reconnects_total 0.0")
            server.kill()
            await eventually(lambda: shows(b"tickwire_redis_connected 0.0"), "lost")
            server.start()
            await eventually(lambda: shows(b"tickwire_redis_connected 1.0"), "connected again")
            assert shows(b"tickwire_redis_reconnects_total 1.0")
        await bus.close()


async def test_an_event_loop_that_is_blocked_shows_how_long():
    telemetry = Telemetry()

    def slow() -> float:
        lines = telemetry.exposition("")[0].decode().splitlines()
        counts = dict(line.rsplit(" ", 1) for line in lines if line.startswith("tickwire_event_loop_delay_seconds_"))
        name = "tickwire_event_loop_delay_seconds_"
        return float(counts[name + "count"]) - float(counts[name + 'bucket{le="0.25"}'])

    async with TaskGroup() as tasks:
        tasks.spawn("loop", LoopWatch(SystemClock(), telemetry).run())
        await asyncio.sleep(0)  # its timer runs
        time.sleep(0.5)  # noqa: ASYNC251 - that is the point
        await eventually(slow, "a late timer")


def test_memory_in_use_is_told_in_bytes():
    assert 2**22 < resident_bytes() < 2**36
