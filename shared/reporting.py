"""What a running service says of itself: a `ServiceReport` in Redis every two seconds, and whether Redis answers."""

import asyncio
import os
import resource
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.health import Health
from shared.log import get_logger
from shared.messages import ServiceReport, encode_json
from shared.names import metrics, redis_keys
from shared.telemetry import Telemetry

log = get_logger(__name__)

REPORT_S: Final = 2.0
PING_S: Final = 1.0
LOOP_PROBE_S: Final = 0.1
REDIS_GRACE_S: Final = 15.0
"""Readiness fails only after so long without Redis: an outage must not take every gateway out of rotation at once."""


class LoopWatch:
    """Measures how late the event loop's timers fire: what every client of this process waits for the others."""

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._last = telemetry.gauge(metrics.LOOP_LAG)
        self._all = telemetry.histogram(metrics.LOOP_DELAY)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            due = self._clock.monotonic() + LOOP_PROBE_S
            await asyncio.sleep(LOOP_PROBE_S)
            late = max(0.0, self._clock.monotonic() - due)
            self._last.set(late)
            self._all.observe(late)


class RedisWatch:
    """Pings Redis once a second."""

    def __init__(self, bus: RedisBus, clock: Clock, telemetry: Telemetry) -> None:
        self._bus = bus
        self._clock = clock
        self._connected = telemetry.gauge(metrics.REDIS_CONNECTED)
        self._reconnects = telemetry.counter(metrics.REDIS_RECONNECTS)
        self._lost = False
        self._answered = clock.monotonic()

    def check(self) -> str | None:
        """The readiness check."""
        silent = self._clock.monotonic() - self._answered
        return f"no answer for {silent:.0f} s" if silent > REDIS_GRACE_S else None

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self._bus.ping()
            except BusUnavailableError:
                self._connected.set(0)
                self._lost = True
            else:
                self._answered = self._clock.monotonic()
                self._connected.set(1)
                self._reconnects.inc(self._lost)
                self._lost = False
            await asyncio.sleep(PING_S)


class Reporter:
    """Writes the reports. Best effort: a fault of Redis never stops a service from here.

    Args:
        service: the service's name.
        instance: unique per process; the report's key.
        bus: where reports go.
        clock: of the service.
        health: says whether it is ready, and its port.
        fill: adds the service's own numbers to the fields of a `ServiceReport`.
    """

    def __init__(
        self,
        service: str,
        instance: str,
        bus: RedisBus,
        clock: Clock,
        health: Health,
        fill: Callable[[dict[str, Any]], None],
    ) -> None:
        self._service = service
        self._instance = instance
        self._bus = bus
        self._clock = clock
        self._health = health
        self._fill = fill
        self._started = clock.now_ms()
        self._writing = asyncio.Lock()  # a report still on its way would come back after it was taken away
        self._forgotten = False

    async def run(self) -> None:
        """Work until cancelled, or until `forget`."""
        busy, measured, cpu = _cpu_seconds(), self._clock.monotonic(), 0.0
        while not self._forgotten:
            try:
                async with self._writing:
                    report = encode_json(self._report(cpu))
                    await self._bus.hash_set(redis_keys.SERVICE_REPORTS, {self._instance: report})
            except BusUnavailableError as error:
                log.debug("report_lost", error=error)
            await asyncio.sleep(REPORT_S)
            busy_before, measured_before = busy, measured
            busy, measured = _cpu_seconds(), self._clock.monotonic()
            cpu = (busy - busy_before) / max(measured - measured_before, 1e-3)

    async def forget(self) -> None:
        """The service stops: take its report away, and write no more."""
        self._forgotten = True
        try:
            async with self._writing:
                await self._bus.hash_delete(redis_keys.SERVICE_REPORTS, [self._instance])
        except BusUnavailableError as error:
            log.debug("report_left", error=error)

    def _report(self, cpu: float) -> ServiceReport:
        fields: dict[str, Any] = {
            "service": self._service,
            "instance": self._instance,
            "version": version("tickwire"),
            "at": self._clock.now_ms(),
            "started": self._started,
            "ready": not self._health.failing(),
            "ops_port": self._health.port,
            "memory": resident_bytes(),
            "cpu": round(cpu, 3),
            "pid": os.getpid(),
        }
        self._fill(fields)
        return ServiceReport(**fields)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_bytes() -> int:
    """Resident memory of this process; where /proc is missing, its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()
