"""Runs one load test against one target: ramps, warms, measures, and says what it found.

Fed by `scenario` and `target`; drives `crew` and the publisher through `observer`; feeds `results`.
"""

import asyncio
import resource
from contextlib import AsyncExitStack
from typing import Final, Protocol

import msgspec

from services.launcher.errors import LauncherError
from services.launcher.load.crew import Counts, Crew
from services.launcher.load.helper import ANSWER_S, Helper
from services.launcher.load.histogram import Histogram
from services.launcher.load.observer import Mark, Observer
from services.launcher.load.results import Generator, Result, Spread, Storm, processes_between
from services.launcher.load.scenario import Scenario
from services.launcher.load.target import Target
from shared.clock import Clock
from shared.tasks import TaskGroup

QUIET_S: Final = 1.0
"""Nothing more arrives for so long: all that was published is there."""

MOST_DRAIN_S: Final = 5.0
FIRST_PRICE_S: Final = 15.0
PRIMER: Final = 200
"""Idle clients that come first: what a server allocates once is not a connection's cost."""

_POLL_S: Final = 0.1
_TRY_S: Final = 0.5
_SPARE_FILES: Final = 200


class Progress(Protocol):
    """Whom a run tells how far it is."""

    def stage(self, what: str, total: float) -> None:
        """Something begins that ends at `total`."""

    def reach(self, value: float, note: str = "") -> None:
        """So far."""


async def run_scenario(scenario: Scenario, target: Target, clock: Clock, progress: Progress) -> Result:
    """Run it from the first connection to the last figure.

    Raises:
        LauncherError: too few open files allowed, a helper died, clients were not served, or no price came.
    """
    allow_files(scenario)
    async with AsyncExitStack() as stack:
        crew = await Crew.start(scenario, target)
        stack.push_async_callback(crew.end)
        publisher = await Helper.start("publisher", target.publisher) if scenario.ticks_per_s else None
        if publisher is not None:
            stack.push_async_callback(publisher.end)
        observer = Observer(crew, target.watched, clock)
        run = _Run(scenario, target, crew, publisher, observer, clock, progress)
        async with TaskGroup() as tasks:
            tasks.spawn("observer", observer.run())
            return await run.work(tasks)
    raise AssertionError("a run returns")  # the exit stack swallows nothing


class _Run:
    """The phases of one run."""

    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        crew: Crew,
        publisher: Helper | None,
        observer: Observer,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._scenario = scenario
        self._target = target
        self._crew = crew
        self._publisher = publisher
        self._observer = observer
        self._clock = clock
        self._progress = progress
        self._started = clock.now_ms()
        self._late_s = 0.0
        self._published = 0
        self._before: Spread | None = None
        self._storm: Storm | None = None
        self._idle_bytes: float | None = None

    async def work(self, tasks: TaskGroup) -> Result:
        """All phases of the scenario's kind."""
        if self._scenario.kind == "idle":
            return await self._idle()
        await self._ramp(0, self._scenario.clients)
        await self._warm()
        match self._scenario.kind:
            case "storm":
                return await self._take_back(tasks)
            case "slow":
                await self._measure()
                self._before = Spread.of(self._observer.latency)
                await self._crew.tell({"do": "stall"})
            case "churn":
                await self._crew.tell({"do": "churn", "per_s": self._scenario.churn_per_s / self._scenario.workers})
            case _:
                pass
        return self._result(*await self._measure())

    # Phases

    async def _ramp(self, first: int, stop: int) -> None:
        """Connect clients; return when all are served, or `patience_s` after the last began."""
        scenario = self._scenario
        self._progress.stage(f"ramping {stop:,} clients", stop)
        await self._crew.tell({"do": "ramp", "first": first, "stop": stop, "per_s": scenario.ramp_per_s})
        patience = (stop - first) / scenario.ramp_per_s + scenario.patience_s
        if not await self._until_served(stop, patience):
            counts = (await self._observer.look()).counts
            if not counts.served:
                raise LauncherError(
                    f"no client was served at {self._target.url} within {patience:.0f} s: "
                    f"{counts.refused} refused, {counts.failed} failed",
                    "is it a Socket.IO server, and does it know subscribe:price with an ack?",
                )

    async def _until_served(self, wanted: int, patience: float) -> bool:
        deadline = self._clock.monotonic() + patience
        while True:
            counts = (await self._observer.look()).counts
            note = f"{counts.refused:,} refused" if counts.refused else ""
            self._progress.reach(counts.served, note)
            if counts.served >= wanted:
                return True
            if self._clock.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_S)

    async def _warm(self) -> None:
        """Publish until prices arrive, and on for `warm_s`.

        Raises:
            LauncherError: none arrives.
        """
        if self._publisher is None:
            return
        self._progress.stage("waiting for the first price", 1)
        deadline = self._clock.monotonic() + FIRST_PRICE_S
        before = (await self._observer.look()).prices
        while (await self._observer.look()).prices == before:
            if self._clock.monotonic() > deadline:
                raise LauncherError(
                    f"ticks are published, but no client got a price within {FIRST_PRICE_S:.0f} s",
                    "is price-ingest running, on the Redis that --redis-url names?",
                )
            await self._publish(_TRY_S, tell=False)
        self._progress.stage("warming", self._scenario.warm_s)
        first = await self._observer.look()
        await self._publish(self._scenario.warm_s)
        await self._drain(first)

    async def _measure(self) -> tuple[Mark, Mark]:
        """Publish for `seconds`; what happens between the marks is all of it and nothing else."""
        self._progress.stage("measuring", self._scenario.seconds)
        first = await self._observer.begin()
        await self._publish(self._scenario.seconds)
        await self._crew.tell({"do": "calm"})
        return first, await self._drain(first)

    async def _take_back(self, tasks: TaskGroup) -> Result:
        """Drop all clients at once and wait until they are back."""
        scenario = self._scenario
        self._progress.stage(f"{scenario.clients:,} clients come back", scenario.clients)
        first = await self._observer.begin()
        self._observer.connecting = Histogram()
        tasks.spawn("ticks", self._publish(scenario.patience_s, tell=False))
        await self._crew.tell({"do": "storm"})
        began = self._clock.monotonic()
        back = await self._until_served(scenario.clients, scenario.patience_s)
        took = self._clock.monotonic() - began
        last = await self._observer.look()
        refusals = last.counts.refused - first.counts.refused
        self._storm = Storm(took if back else None, scenario.clients - last.counts.served, refusals)
        return self._result(first, last)

    async def _idle(self) -> Result:
        clients = self._scenario.clients
        primer = min(PRIMER, clients // 2)
        await self._ramp(0, primer)
        await self._wait(1.0, "settling")
        few = await self._observer.begin()
        await self._ramp(primer, clients)
        await self._wait(self._scenario.seconds, "settling")
        many = await self._observer.look()
        server = next(iter(many.usage), None)
        added = many.counts.served - few.counts.served
        if server is not None and added:
            self._idle_bytes = (many.usage[server].memory - few.usage[server].memory) / added
        return self._result(few, many)

    # Steps

    async def _publish(self, seconds: float, *, tell: bool = True) -> None:
        if self._publisher is None or not seconds:
            return
        scenario = self._scenario
        order = {"symbols": scenario.symbol_names(), "per_s": scenario.ticks_per_s, "seconds": seconds}
        async with TaskGroup() as tasks:
            if tell:
                tasks.spawn("progress", self._count_seconds(seconds))
            answer = await self._publisher.ask(order, seconds * 2 + ANSWER_S)
        self._published = answer["published"]
        self._late_s = answer.get("late_s", 0.0)

    async def _drain(self, first: Mark) -> Mark:
        """Wait until all that was published since `first` is there, or no more comes; return the moment of the last."""
        expected = _expected(self._scenario, self._published)
        last = await self._observer.look()
        deadline = last.at + MOST_DRAIN_S
        before = _delivered(self._scenario, first.counts)
        while expected is None or _delivered(self._scenario, last.counts) - before < expected:
            await asyncio.sleep(_POLL_S)
            mark = await self._observer.look()
            if mark.prices > last.prices:
                last = mark
            if mark.at - last.at > QUIET_S or mark.at > deadline:
                break
        return last

    async def _wait(self, seconds: float, what: str) -> None:
        self._progress.stage(what, seconds)
        async with TaskGroup() as tasks:
            tasks.spawn("progress", self._count_seconds(seconds))
            await asyncio.sleep(seconds)

    async def _count_seconds(self, seconds: float) -> None:
        began = self._clock.monotonic()
        while True:
            self._progress.reach(min(self._clock.monotonic() - began, seconds))
            await asyncio.sleep(_POLL_S)

    # The end

    def _result(self, first: Mark, last: Mark) -> Result:
        scenario = self._scenario
        took = last.at - first.at
        counts = _counted(first, last)
        observer = self._observer
        spent = [after - before for before, after in zip(first.worker_cpu_s, last.worker_cpu_s, strict=True)]
        lag = observer.lag.quantiles()
        return Result(
            scenario=scenario,
            url=self._target.url,
            started=self._started,
            seconds=took,
            counts=counts,
            published=self._published if scenario.kind in _PACED else 0,
            delivered=_delivered(scenario, counts),
            expected=_expected(scenario, self._published),
            latency=Spread.of(observer.latency if scenario.kind != "storm" else Histogram()),
            answers=Spread.of(observer.answers),
            connecting=Spread.of(observer.connecting),
            generator=Generator([cpu / took for cpu in spent], lag.p99, lag.max, self._late_s, self._storm is not None),
            processes=processes_between(first, last, observer.samples),
            samples=observer.samples,
            before=self._before,
            storm=self._storm,
            bytes_per_connection=self._idle_bytes,
        )


_PACED: Final = ("steady", "slow", "churn")


def _counted(first: Mark, last: Mark) -> Counts:
    counts = last.counts.combine(first.counts, -1)
    return msgspec.structs.replace(counts, served=last.counts.served)


def _delivered(scenario: Scenario, counts: Counts) -> int:
    """Prices of the kind that clients asked for; a server may send others besides."""
    return counts.pairs if scenario.deliver == "batch" else counts.updates


def _expected(scenario: Scenario, published: int) -> int | None:
    """Prices that clients should have got, each tick by itself; unknown where they come, go or stall."""
    if scenario.kind != "steady":
        return None
    return round(published * scenario.clients * scenario.symbols_per_client / scenario.symbols)


def allow_files(scenario: Scenario) -> None:
    """Let this process and its children have a file for each client; call it before starting a server too.

    Raises:
        LauncherError: the system does not allow so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = scenario.clients + _SPARE_FILES
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise LauncherError(
                f"{needed:,} open files are needed, {hard:,} allowed",
                "raise it with ulimit -n, or take fewer --clients",
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
