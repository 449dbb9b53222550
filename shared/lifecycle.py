"""How a service starts, runs and stops; the same for all of them.

Start: settings (all errors at once), log, ops port, Redis (waited for, and it says so), the service's own parts, ready.
Stop, on SIGTERM or SIGINT: not ready, the service's own stop within its deadline, tasks, Redis, ops port, exit 0. One
that lets its clients go first (`DrainingApp`) has as long as it says, and a second signal cuts that short.
"""

import asyncio
import gc
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Final, Protocol, runtime_checkable

import uvloop

from shared.bus.errors import BusError, BusRefusedError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.bus.server_check import check_server
from shared.clock import Clock, SystemClock
from shared.health import Health
from shared.log import configure_logging, get_logger
from shared.names import metrics
from shared.reporting import LoopWatch, RedisWatch, Reporter
from shared.settings import CommonSettings, SettingsError, describe, load_all
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry

log = get_logger(__name__)

STOP_DEADLINE_S: Final = 20.0
"""For an app that does not say another: a fault of Redis may have to be waited out to finish what is in hand."""

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)

GC_THRESHOLDS: Final = (10_000, 10, 10)
"""Python's are (700, 10, 10)."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What every service is given."""

    service: str
    instance: str
    common: CommonSettings
    bus: RedisBus
    clock: Clock
    telemetry: Telemetry
    health: Health
    tasks: TaskGroup


class App(Protocol):
    """One service's own parts."""

    async def start(self) -> None:
        """Begin; ready when it returns."""

    async def stop(self) -> None:
        """Finish what is in hand; tasks are cancelled afterwards."""

    def fill_report(self, report: dict[str, Any]) -> None:
        """Add the service's own numbers to the fields of a `ServiceReport`."""


@runtime_checkable
class DrainingApp(App, Protocol):
    """One that lets its clients go before it stops.

    Attributes:
        stop_deadline_s: for `drain` and `stop` together.
    """

    stop_deadline_s: float

    async def drain(self) -> None:
        """Let go, and return when nobody is left or time is over. Cancelled when it is to stop at once."""


class _StopSignals:
    """SIGTERM and SIGINT: the first one stops, the second one hurries it."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.hurried = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in _STOPPING:
            self._loop.add_signal_handler(number, self._take)

    def ignore(self) -> None:
        """All is done but freeing memory: one more signal must not turn the end into a failure."""
        for number in _STOPPING:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _take(self) -> None:
        if self.wanted.is_set():
            self.hurried.set()
        self.wanted.set()


def run_service(
    name: str,
    settings: Sequence[type[Any]],
    build: Callable[..., App],
    check: Callable[..., Iterable[str]] | None = None,
) -> None:
    """Entry point of a service: `build(runtime, *settings)` makes its `App`. Does not return.

    `check(*settings)` says what is wrong with them together; it is told with whatever else is wrong.
    """
    kinds: tuple[type[Any], ...] = (CommonSettings, *settings)
    if "--settings" in sys.argv[1:]:
        rows = [asdict(info) for kind in kinds for info in describe(kind)]
        sys.stdout.write(json.dumps(rows) + "\n")
        sys.exit(0)
    try:
        common, *own = load_all(os.environ, *kinds, check=check)
    except SettingsError as error:
        sys.stderr.write(f"tickwire {name}: wrong settings\n" + "".join(f"  {line}\n" for line in error.problems))
        sys.exit(2)
    instance = f"{common.instance_id or name}-{secrets.token_hex(4)}"
    configure_logging(common.log_level, common.log_format, service=name, instance=instance)
    sys.exit(uvloop.run(_serve(name, instance, common, lambda runtime: build(runtime, *own))))


async def _serve(name: str, instance: str, common: CommonSettings, build: Callable[[Runtime], App]) -> int:
    signals = _StopSignals()
    telemetry = Telemetry()
    telemetry.gauge(metrics.BUILD_INFO).labels(service=name, version=version("tickwire")).set(1)
    health = Health(telemetry)
    health.add_check("started", lambda: "starting")
    bus = RedisBus(common.redis_url, client_name=instance)
    try:
        await health.start(common.ops_host, common.ops_port)
    except OSError as error:
        hint = "set OPS_PORT; 0 picks a free one"
        log.error("ops_port_taken", ops_port=common.ops_port, error=error, hint=hint)  # noqa: TRY400 - a traceback adds nothing
        return 1
    try:
        async with TaskGroup() as tasks:
            runtime = Runtime(name, instance, common, bus, SystemClock(), telemetry, health, tasks)
            return await _run(runtime, build, signals)
    except BusRefusedError as error:
        hint = "check REDIS_URL, its password and the user's permissions"
        log.error("redis_refused", error=error, hint=hint)  # noqa: TRY400 - as above
        return 1
    finally:
        await health.stop()
        try:
            await bus.close()
        except BusError as error:
            log.info("redis_close_failed", error=error)
        signals.ignore()


async def _run(runtime: Runtime, build: Callable[[Runtime], App], signals: _StopSignals) -> int:
    stop_wanted = runtime.tasks.spawn("stop-signal", _wait(signals.wanted))
    waiting = runtime.tasks.spawn("redis-wait", keep_trying("start", lambda: check_server(runtime.bus)))
    await asyncio.wait({stop_wanted, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if signals.wanted.is_set():
        return 0
    await waiting
    app = build(runtime)
    watch = RedisWatch(runtime.bus, runtime.clock, runtime.telemetry)
    runtime.health.add_check("redis", watch.check)
    runtime.tasks.spawn("redis-watch", watch.run())
    runtime.tasks.spawn("loop-watch", LoopWatch(runtime.clock, runtime.telemetry).run())
    _calm_collector()  # a service may tune it further as it starts
    await app.start()
    runtime.health.add_check("started", lambda: None)
    reporter = Reporter(runtime.service, runtime.instance, runtime.bus, runtime.clock, runtime.health, app.fill_report)
    runtime.tasks.spawn("report", reporter.run())
    log.info("ready", ops_port=runtime.health.port)
    await stop_wanted
    log.info("stopping")
    runtime.health.add_check("started", lambda: "stopping")
    await _stop(app, signals.hurried)
    await reporter.forget()
    log.info("stopped")
    return 0


async def _stop(app: App, hurried: asyncio.Event) -> None:
    deadline_s = app.stop_deadline_s if isinstance(app, DrainingApp) else STOP_DEADLINE_S
    try:
        async with asyncio.timeout(deadline_s):
            if isinstance(app, DrainingApp):
                await _drain(app, hurried)
            await app.stop()
    except TimeoutError:
        log.warning("stop_deadline_passed", deadline_s=deadline_s)


async def _drain(app: DrainingApp, hurried: asyncio.Event) -> None:
    async with TaskGroup() as tasks:
        draining = tasks.spawn("let-clients-go", app.drain())
        hurry = tasks.spawn("second-signal", _wait(hurried))
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if hurried.is_set():
        log.info("stop_hurried")


def _calm_collector() -> None:
    """Let the garbage collector pass over what is there for good, and seldom over everything.

    With Python's own thresholds ten thousand arriving clients cause several full passes, each of which stops the event
    loop for as long as it takes to touch every object. What a client leaves behind is freed by reference counts; cycles
    are still found, later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
