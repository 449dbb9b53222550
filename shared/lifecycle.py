"""How a service starts, runs and stops; the same for all of them.

Start: settings (all errors at once), log, ops port, Redis (waited for, and it says so), the service's own parts, ready.
Stop, on SIGTERM or SIGINT: not ready, the service's own stop within its deadline, tasks, Redis, ops port, exit 0.
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
from typing import Any, Final, Protocol

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
    instance = f"{name}-{secrets.token_hex(4)}"
    configure_logging(common.log_level, common.log_format, service=name, instance=instance)
    sys.exit(uvloop.run(_serve(name, instance, common, lambda runtime: build(runtime, *own))))


async def _serve(name: str, instance: str, common: CommonSettings, build: Callable[[Runtime], App]) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    telemetry = Telemetry()
    telemetry.gauge(metrics.BUILD_INFO).labels(service=name, version=version("tickwire")).set(1)
    health = Health(telemetry)
    health.add_check("started", lambda: "starting")
    bus = RedisBus(common.redis_url, client_name=instance)
    try:
        await health.start(common.ops_host, common.ops_port)
    except OSError as error:
        hint = "set OPS_PORT; 0 picks a free one"
        log.error("ops_port_taken", port=common.ops_port, error=str(error), hint=hint)  # noqa: TRY400 - a traceback adds nothing
        return 1
    try:
        async with TaskGroup() as tasks:
            runtime = Runtime(name, instance, common, bus, SystemClock(), telemetry, health, tasks)
            return await _run(runtime, build, stopping)
    except BusRefusedError as error:
        hint = "check REDIS_URL, its password and the user's permissions"
        log.error("redis_refused", error=str(error), hint=hint)  # noqa: TRY400 - as above
        return 1
    finally:
        await health.stop()
        try:
            await bus.close()
        except BusError as error:
            log.info("redis_close_failed", error=str(error))


async def _run(runtime: Runtime, build: Callable[[Runtime], App], stopping: asyncio.Event) -> int:
    stop_wanted = runtime.tasks.spawn("stop-signal", _wait(stopping))
    waiting = runtime.tasks.spawn("redis-wait", keep_trying("start", lambda: check_server(runtime.bus)))
    await asyncio.wait({stop_wanted, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if stopping.is_set():
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
    try:
        async with asyncio.timeout(STOP_DEADLINE_S):
            await app.stop()
    except TimeoutError:
        log.warning("stop_deadline_passed", deadline_s=STOP_DEADLINE_S)
    await reporter.forget()
    log.info("stopped")
    return 0


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
