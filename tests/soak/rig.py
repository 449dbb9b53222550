"""What a soak runs on: one gateway on a core of its own, its upstream services, the good clients and the hostile ones.

    ticks (load.publish), trades (chaos Feeder) ──► Redis ──► price-ingest, trade-notifier ──► gateway ──► crowd
                                                                                                  ▲
                                                                                               attackers

Where there are two cores the gateway has the first and everything else shares the rest. Fed by `run`; `trial` uses it.
"""

import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from services.launcher.leash import python_module
from services.launcher.load.helper import Helper
from services.launcher.settings_table import read_all
from services.launcher.usage import Usage, read_usage
from shared.tasks import TaskGroup
from tests.chaos.feeder import Feeder
from tests.chaos.stores import open_store
from tests.load.servers import Cores, on_cores
from tests.soak import attackers
from tests.soak.crowd import Crowd
from tests.soak.market import PRICED, TICKS_PER_S, TRADED, TRADES_PER_S
from tests.support.cluster import Cluster, Service

HOST: Final = "127.0.0.1"
UPSTREAM: Final = ("price-ingest", "trade-notifier")
SETTINGS: Final = {"MAX_CONNECTIONS_PER_IP": "50", "MAX_ACCEPTS_PER_IP": "20", "LOG_WINDOW_BYTES": "2097152"}
"""Of the gateway, beside its defaults: the limits of an address as they are where the proxies are named, since every
good client here has an address of its own; and a window that trades fill before the attack begins, since it is no
attack that fills it. What a gateway does not know is left out.
"""

FOREVER_S: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One soak.

    Attributes:
        seconds: of attack.
        good: how many good clients.
        kinds: of attack, by name.
        seed: of all chance.
        pressure: divides the pauses of attackers.
        warm_s, baseline_s, quiet_s: before anything is measured, before the attack, after it.
        settings: of the gateway, beside the defaults.
    """

    seconds: float = 600.0
    good: int = 500
    kinds: tuple[str, ...] = tuple(attackers.KINDS)
    seed: int = 1
    pressure: float = 1.0
    warm_s: float = 15.0
    baseline_s: float = 60.0
    quiet_s: float = 60.0
    settings: Mapping[str, str] = field(default_factory=dict)


class Rig:
    """One running cluster with its clients; made by `open_rig`."""

    def __init__(self, cluster: Cluster, gateway: Service, crowd: Crowd, feeder: Feeder, hostile: Helper) -> None:
        self.gateway = gateway
        self.crowd = crowd
        self.feeder = feeder
        self.hostile = hostile
        self._cluster = cluster

    def usage(self) -> Usage:
        """Of the gateway."""
        return read_usage(self.gateway.process.pid) or Usage(0, 0.0)

    def waited_s(self) -> float:
        """How long the gateway was ready to run while its core ran something else: the machine's fault, not its own.

        The second figure of `schedstat` (the kernel's Documentation/scheduler/sched-stats), in ns.
        """
        return int(self._proc("schedstat").read_text(encoding="ascii").split()[1]) / 1e9

    def descriptors(self) -> int:
        """Of the gateway, open now."""
        return sum(1 for _ in self._proc("fd").iterdir())

    def log_lines(self) -> Counter[str]:
        """Of the gateway so far, by what they tell of; empty for those that are not even JSON."""
        whole = self.gateway.log.read_bytes().rpartition(b"\n")[0]
        return Counter(str(_decoded(line).get("event", "")) for line in whole.splitlines())

    def accidents(self) -> list[str]:
        """What no service may ever log, and services that have ended: one line each."""
        found = [f"{one.name} ended with {one.process.poll()}" for one in self._cluster.services if _is_dead(one)]
        for service in self._cluster.services:
            lines = service.log.read_text(errors="replace").splitlines() + _said(service)
            found += [f"{service.log.name}: {line[:300]}" for line in lines if _is_accident(line)]
        return found

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self.gateway.process.pid}") / name


def _is_dead(service: Service) -> bool:
    return service.process.poll() is not None


def _said(service: Service) -> list[str]:
    """Lines on standard output: a service has nothing to say there."""
    return [f"printed: {line}" for line in service.out.read_text(errors="replace").splitlines()]


def _is_accident(line: str) -> bool:
    said = _decoded(line.encode())
    return "event" not in said or "exception.stacktrace" in said or said.get("level") in {"error", "critical"}


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


class _SilentCluster(Cluster):
    """Shows no logs as it ends: the verdict says what is wrong in them."""

    def __exit__(self, *_: object) -> None:
        for service in self.services:
            service.kill()


@asynccontextmanager
async def open_rig(plan: Plan, logs: Path) -> AsyncIterator[Rig]:
    """A running rig, clients served and fed, nobody hostile yet; everything is ended whatever happens.

    Args:
        plan: what it is for.
        logs: folder of the services' logs, made anew.

    Raises:
        LauncherError: a good client does not get in.
    """
    _empty(logs)
    settings, cores = await _settings(plan), Cores.split()
    async with AsyncExitStack() as stack:
        stack.enter_context(on_cores(cores.others))
        store = await stack.enter_async_context(open_store("plain", confirmed=True))
        cluster = stack.enter_context(_SilentCluster(store.url, logs))
        with on_cores(cores.server):
            gateway = cluster.launch("gateway", **settings)
        await cluster.start(*UPSTREAM)
        await gateway.logged("ready")
        publisher = await Helper.start("publisher", [*python_module("services.launcher.load.publish"), store.url])
        stack.push_async_callback(publisher.end)
        tasks = await stack.enter_async_context(TaskGroup())
        tasks.spawn("ticks", _publish(publisher))
        crowd = await Crowd.start(HOST, gateway.port, plan.good)
        stack.push_async_callback(crowd.end)
        hostile = await _start_attackers(plan, gateway.port)
        stack.push_async_callback(hostile.end)
        feeder = Feeder(store.upstream, crowd.ledger, TRADED, TRADES_PER_S)
        tasks.spawn("trades", feeder.run())
        yield Rig(cluster, gateway, crowd, feeder, hostile)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


async def _settings(plan: Plan) -> dict[str, str]:
    known = {row.name for row in await read_all()}
    return {**{name: value for name, value in SETTINGS.items() if name in known}, **plan.settings}


async def _publish(publisher: Helper) -> None:
    question = {"symbols": PRICED, "per_s": TICKS_PER_S, "seconds": FOREVER_S}
    await publisher.ask(question, patience_s=FOREVER_S + 1)


async def _start_attackers(plan: Plan, port: int) -> Helper:
    job = attackers.Job(HOST, port, list(plan.kinds), plan.seed, plan.pressure)
    return await Helper.start("attackers", [*python_module("tests.soak.attackers"), msgspec.json.encode(job).decode()])
