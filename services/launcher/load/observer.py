"""Looks at the clients and at the server's processes twice a second, and keeps what it saw.

Fed by `crew` and `/proc`; feeds `run`, which cuts windows out of it, and through `results` the report.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from services.launcher.load.crew import Counts, Crew, Tallied
from services.launcher.load.histogram import Histogram
from services.launcher.usage import Usage, read_usage
from shared.clock import Clock

EVERY_S: Final = 0.5
_NOTHING: Final = Usage(0, 0.0)


class Sample(msgspec.Struct, frozen=True):
    """One point of the plots: what happened since the point before.

    Attributes:
        at_s: since the start.
        served: clients.
        delivered_per_s: prices.
        p50_ms, p99_ms: latency; None where nothing was sampled.
        cpu: name -> share of one core.
        memory: name -> resident bytes.
    """

    at_s: float
    served: int
    delivered_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    cpu: dict[str, float]
    memory: dict[str, int]


class Mark(NamedTuple):
    """A moment: the time, what was counted until then, and what the processes had used."""

    at: float
    counts: Counts
    usage: Mapping[str, Usage]
    worker_cpu_s: list[float]

    @property
    def prices(self) -> int:
        """Delivered until then, in updates and batches."""
        return self.counts.updates + self.counts.pairs


class Observer:
    """What is seen of one run.

    Args:
        crew: the clients.
        watched: name -> pid of the server's processes.
        clock: of every time here.
    """

    def __init__(self, crew: Crew, watched: Mapping[str, int], clock: Clock) -> None:
        self._crew = crew
        self._watched = watched
        self._clock = clock
        self._began = clock.monotonic()
        self._turn = asyncio.Lock()
        self._sampled: Mark | None = None
        self._sampled_latency = Histogram()
        self.samples: list[Sample] = []
        self.latency, self.connecting, self.answers, self.lag = Histogram(), Histogram(), Histogram(), Histogram()

    async def run(self) -> None:
        """Look regularly, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> Mark:
        """Look now; histograms grow by what came since the last look."""
        async with self._turn:
            tallied = await self._crew.look()
            usage = {name: read_usage(pid) or _NOTHING for name, pid in self._watched.items()}
            mark = Mark(self._clock.monotonic(), tallied.counts, usage, tallied.cpu_s)
            self._keep(tallied, mark)
            return mark

    async def begin(self) -> Mark:
        """Look, and empty the histograms but that of connections: what they hold then belongs to a new window."""
        mark = await self.look()
        self.latency, self.answers, self.lag = Histogram(), Histogram(), Histogram()
        return mark

    def _keep(self, tallied: Tallied, mark: Mark) -> None:
        for name in ("latency", "connecting", "answers", "lag"):
            getattr(self, name).merge(getattr(tallied, name))
        self._sampled_latency.merge(tallied.latency)
        before = self._sampled
        if before is not None and mark.at - before.at < EVERY_S:
            return  # too close to the one before for rates
        latency, self._sampled_latency, self._sampled = self._sampled_latency, Histogram(), mark
        if before is None:
            return
        took = mark.at - before.at
        some = len(latency) > 0
        self.samples.append(
            Sample(
                at_s=mark.at - self._began,
                served=mark.counts.served,
                delivered_per_s=(mark.prices - before.prices) / took,
                p50_ms=latency.quantile(0.5) * 1e3 if some else None,
                p99_ms=latency.quantile(0.99) * 1e3 if some else None,
                cpu={name: (used.cpu_s - before.usage[name].cpu_s) / took for name, used in mark.usage.items()},
                memory={name: used.memory for name, used in mark.usage.items()},
            )
        )
