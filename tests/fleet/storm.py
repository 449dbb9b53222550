"""All gateways are killed, and ten thousand clients come back at once: slowly enough for the gateways, soon enough."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from shared.names import metrics
from shared.names.metrics import MetricDef
from shared.tasks import TaskGroup
from tests.fleet.rig import Fleet, Plan, Tell, open_fleet, silently
from tests.fleet.waits import Waits
from tests.fleet.watch import Watch, Worst
from tests.soak.verdict import Judged

BACK_S: Final = 60.0
MEMORY_RATIO: Final = 1.5
"""A gateway's most resident bytes as they return, over those before with the same clients."""

LOOK_S: Final = 0.25
AFTER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Storm:
    """Its size.

    Attributes:
        clients: how many, half of them at each gateway.
        lag_s: longest that an event loop may be late; on a machine that does much else it is the machine's.
        settings: of the gateways: their limits on admission.
    """

    clients: int = 10_000
    lag_s: float = 0.25
    settings: Mapping[str, str] = field(default_factory=lambda: {"MAX_ACCEPTS_PER_SECOND": "250"})


SHORT: Final = Storm(clients=400, lag_s=10.0, settings={"MAX_ACCEPTS_PER_SECOND": "100"})


@dataclass(slots=True)
class _Memory:
    """The most that any gateway had."""

    most: int = 0

    async def look(self, fleet: Fleet) -> None:
        """For ever."""
        while True:
            self.most = max(self.most, *(gateway.rss() for gateway in fleet.gateways.values()))
            await asyncio.sleep(LOOK_S)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What there was to see."""

    all_back: bool
    back_s: float
    up_s: float
    waited: float
    before: int
    most: int
    worst: Worst
    refused: int


async def storm(size: Storm, tell: Tell = silently) -> list[Judged]:
    """Run it."""
    plan = Plan(2, size.clients, edge=None, settings=size.settings, symbols=20, rate=10.0)
    async with open_fleet(plan, tell) as fleet:
        async with fleet.trades_flowing():
            seen = await _strike(fleet)
        return [*_judged(fleet, seen, size), *fleet.account()]


async def _strike(fleet: Fleet) -> _Seen:
    """SIGKILL of all gateways, others in their places, and everybody is back or time is over."""
    before = max(gateway.rss() for gateway in fleet.gateways.values())
    for gateway in fleet.gateways.values():
        gateway.kill()
    killed = monotonic()
    fleet.say("SIGKILL of both gateways")
    await fleet.add(0, 1)
    up_s = monotonic() - killed
    waits, memory = Waits([*fleet.gateways.values()]), _Memory()
    watch = await Watch.start([*fleet.gateways.values()])
    async with TaskGroup() as tasks:
        tasks.spawn("memory", memory.look(fleet))
        all_back = await fleet.everyone_served(BACK_S + 30)
        back_s, waited = monotonic() - killed, waits.share()
        await asyncio.sleep(AFTER_S)
    worst = await watch.worst()
    await watch.end()
    refused, outcomes = await _summed(fleet, metrics.REFUSED), await _summed(fleet, metrics.RECOVERIES)
    fleet.say(f"gateways say: refused {refused}, recoveries {outcomes}")
    return _Seen(all_back, back_s, up_s, waited, before, memory.most, worst, sum(refused.values()))


def _judged(fleet: Fleet, seen: _Seen, size: Storm) -> list[Judged]:
    travels, worst, megabyte = fleet.clients.travels, seen.worst, 1_000_000
    recovered = sum(fleet.clients.lives[name].recovered for name in fleet.clients.crowd)
    return [
        Judged(
            f"all back within {BACK_S:g} s",
            f"{len(travels.returns):,} returns, the last after {seen.back_s:.1f} s (gateways were up after "
            f"{seen.up_s:.1f} s); {recovered:,} recovered; {seen.refused:,} handshakes refused, "
            f"{sum(travels.failures.values()):,} attempts failed",
            seen.all_back and seen.back_s < BACK_S,
        ),
        Judged(
            f"event loops at most {size.lag_s * 1000:g} ms late, waiting for a core left out",
            f"{worst.work * 1000:.0f} ms of {worst.answers} answers; with the waiting, {seen.waited:.0%} of the time: "
            f"answers {worst.answer * 1000:.0f} ms, own gauge {worst.told * 1000:.0f} ms",
            worst.answers > 0 and worst.work < size.lag_s,
        ),
        Judged(
            f"memory at most {MEMORY_RATIO:g} times what the same clients took before",
            f"{seen.before / megabyte:.0f} MB before, {seen.most / megabyte:.0f} MB at most",
            0 < seen.most <= MEMORY_RATIO * seen.before,
        ),
    ]


async def _summed(fleet: Fleet, metric: MetricDef) -> dict[str, int]:
    """A counter of all gateways, by its label, as far as it is not 0."""
    summed: Counter[str] = Counter()
    for gateway in fleet.gateways.values():
        figures = await gateway.scrape()
        summed.update({name: int(value) for name, value in figures.items() if name.partition("{")[0] == metric.name})
    return {name.partition('"')[2].partition('"')[0]: value for name, value in summed.items() if value}
