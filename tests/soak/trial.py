"""One soak from the first tick to the outcome. Fed by a `Rig`; feeds `verdict` and `plot`."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Final

from services.launcher.load.histogram import Histogram, merged
from shared.tasks import TaskGroup
from tests.chaos.ledger import Verdict
from tests.soak.crowd import Counts
from tests.soak.rig import Plan, Rig

EVERY_S: Final = 1.0
SETTLE_S: Final = 20.0
"""The longest that the last trades may take, once upstream has stopped."""

Tolls = dict[str, dict[str, int]]


class Phase(StrEnum):
    """What is going on."""

    WARM = "warm"
    BASELINE = "baseline"
    ATTACK = "attack"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True)
class Sample:
    """One second.

    Attributes:
        at: seconds since the first.
        latency: of the prices that arrived in it.
        lag: of the good clients' own process.
        memory: of the gateway, bytes.
        cpu: of the gateway, cores.
    waited: share of the time that the gateway had to wait for its core.
        packets: of all attackers in it.
    """

    at: float
    phase: Phase
    latency: Histogram
    lag: Histogram
    memory: int
    cpu: float
    waited: float
    packets: int


@dataclass(frozen=True, slots=True)
class State:
    """The gateway at one moment: what must be the same before and after."""

    memory: int
    descriptors: int
    log_lines: Counter[str]
    series: dict[str, float]


@dataclass(slots=True)
class Outcome:
    """Everything that is known in the end.

    Attributes:
        before: when the attack began.
        attacked: when it ended.
        after: when it had been quiet for a while.
    """

    plan: Plan
    samples: list[Sample]
    before: State
    attacked: State
    after: State
    tolls: Tolls
    last: Counts
    trades: Verdict
    accidents: list[str] = field(default_factory=list)

    def latency(self, phase: Phase) -> Histogram:
        """Of all prices that were sampled in a phase."""
        return merged(sample.latency for sample in self.samples if sample.phase is phase)

    def windows(self, phase: Phase, seconds: int) -> list[Histogram]:
        """The same in windows of so many seconds; a last one that is not full is left out."""
        found = [sample.latency for sample in self.samples if sample.phase is phase]
        return [merged(found[at : at + seconds]) for at in range(0, len(found) - seconds + 1, seconds)]


class Watch:
    """Looks at everything once a second, for as long as it runs.

    Attributes:
        samples: what it saw.
        phase: of the next one; whoever leads the soak sets it.
        last: what the good clients said last.
        tolls: what the attackers said last.
        stopping: set in the end.
    """

    def __init__(self, rig: Rig, tell: Callable[["Watch"], None]) -> None:
        self.samples: list[Sample] = []
        self.phase = Phase.WARM
        self.tolls: Tolls = {}
        self.last: Counts | None = None
        self.stopping = False
        self._rig = rig
        self._tell = tell
        self._began = monotonic()
        self._usage, self._waited_s = rig.usage(), rig.waited_s()
        self._at = self._began
        self._packets = 0

    async def run(self) -> None:
        """Look until told to stop, a last time then: a question is never left without its answer."""
        while not self.stopping:
            await asyncio.sleep(max(0.0, self._at + EVERY_S - monotonic()))
            await self.look()

    async def look(self) -> None:
        """Look now."""
        phase = self.phase
        self.last, delays = await self._rig.crowd.look()
        self.tolls = await self._rig.hostile.ask({"do": "count"})
        usage, waited_s, now = self._rig.usage(), self._rig.waited_s(), monotonic()
        packets = sum(toll["packets"] for toll in self.tolls.values())
        self.samples.append(
            Sample(
                at=now - self._began,
                phase=phase,
                latency=delays.latency,
                lag=delays.lag,
                memory=usage.memory,
                cpu=(usage.cpu_s - self._usage.cpu_s) / (now - self._at),
                waited=(waited_s - self._waited_s) / (now - self._at),
                packets=packets - self._packets,
            )
        )
        self._usage, self._waited_s, self._at, self._packets = usage, waited_s, now, packets
        self._tell(self)

    async def state(self) -> State:
        """The gateway now."""
        rig = self._rig
        return State(rig.usage().memory, rig.descriptors(), rig.log_lines(), await rig.gateway.scrape())


async def run_trial(plan: Plan, rig: Rig, tell: Callable[[Watch], None]) -> Outcome:
    """All phases, one after the other.

    Args:
        plan: how long each is.
        rig: running, at rest.
        tell: is shown the watch after every look.
    """
    watch = Watch(rig, tell)
    async with TaskGroup() as tasks:
        watching = tasks.spawn("watch", watch.run())
        await asyncio.sleep(plan.warm_s)
        watch.phase = Phase.BASELINE
        await asyncio.sleep(plan.baseline_s)
        before = await watch.state()
        watch.phase = Phase.ATTACK
        await rig.hostile.ask({"do": "attack"})
        await asyncio.sleep(plan.seconds)
        attacked = await watch.state()
        await rig.hostile.ask({"do": "rest"})
        watch.phase = Phase.QUIET
        await asyncio.sleep(plan.quiet_s)
        after = await watch.state()
        rig.feeder.stop()
        await _settled(rig)
        watch.stopping = True
        await watching
    assert watch.last is not None
    accidents = rig.accidents()
    trades = rig.crowd.ledger.verdict()
    return Outcome(plan, watch.samples, before, attacked, after, watch.tolls, watch.last, trades, accidents)


async def _settled(rig: Rig) -> None:
    """Wait for the last trades; what does not come is for the ledger to say."""
    deadline = monotonic() + SETTLE_S
    while not rig.crowd.ledger.caught_up() and monotonic() < deadline:  # noqa: ASYNC110 - as the watch looks
        await asyncio.sleep(EVERY_S)
