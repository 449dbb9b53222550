"""What one load test found, and what follows from it in words. Pure; this is also what the JSON file holds.

Fed by `run`; feeds `report`, `page` and the comparison with other servers.
"""

from typing import Final

import msgspec

from services.launcher.load.crew import Counts
from services.launcher.load.histogram import Histogram, Quantiles
from services.launcher.load.observer import Mark, Sample
from services.launcher.load.scenario import Scenario

BUSY: Final = 0.85
"""Share of a core above which a worker may have delayed what it measured."""

LATE_S: Final = 0.05
"""So much too late, one time in a hundred, a worker may not wake up."""

_ENOUGH: Final = 0.999


class Process(msgspec.Struct, frozen=True):
    """What one process of the server used while it was measured: s, share of one core, bytes."""

    name: str
    cpu_s: float
    cpu_share: float
    memory_before: int
    memory_after: int
    memory_peak: int


class Generator(msgspec.Struct, frozen=True):
    """How well the generator kept up: shares of a core, seconds too late.

    `bursty`: it had to connect all clients in one moment, which is late by nature.
    """

    cpu_shares: list[float]
    lag_p99_s: float
    lag_max_s: float
    publisher_late_s: float
    bursty: bool = False

    @property
    def saturated(self) -> bool:
        """Whether the figures may say more about the generator than about the server."""
        late = self.lag_p99_s > LATE_S and not self.bursty
        return max(self.cpu_shares, default=0.0) > BUSY or late


class Spread(msgspec.Struct, frozen=True):
    """Durations in ms, and the counts behind them for a plot: [[ms, count], ...]."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    classes: list[tuple[float, int]]

    @classmethod
    def of(cls, histogram: Histogram) -> "Spread":
        """What a histogram holds."""
        found: Quantiles = histogram.quantiles()
        thousand = [(seconds * 1e3, count) for seconds, count in histogram.classes()]
        return cls(found.count, found.p50 * 1e3, found.p90 * 1e3, found.p99 * 1e3, found.max * 1e3, thousand)


class Storm(msgspec.Struct, frozen=True):
    """How a server took all of its clients back: s until all were served (None: never), and how many were not."""

    all_served_s: float | None
    unserved: int
    refusals: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        started: ms since the epoch.
        seconds: measured.
        counts: what clients saw in that time; `served` is how many at its end.
        published: ticks.
        delivered, expected: prices, of the kind that the scenario asks for, and how many there were if none stood for
            several ticks; None where clients come and go.
        latency, answers, connecting: tick to client; request to answer; begin of a connection to its last answer.
        before: latency before readers stalled, of kind `slow`.
        bytes_per_connection: of the server's memory, of kind `idle`.
    """

    scenario: Scenario
    url: str
    started: int
    seconds: float
    counts: Counts
    published: int
    delivered: int
    expected: int | None
    latency: Spread
    answers: Spread
    connecting: Spread
    generator: Generator
    processes: list[Process]
    samples: list[Sample]
    before: Spread | None = None
    storm: Storm | None = None
    bytes_per_connection: float | None = None

    @property
    def delivered_per_s(self) -> float:
        """Prices a second."""
        return self.delivered / self.seconds if self.seconds else 0.0

    @property
    def cpu_us(self) -> float | None:
        """The server's processor time for each price delivered, in µs."""
        if not self.processes or not self.delivered:
            return None
        return self.processes[0].cpu_s / self.delivered * 1e6

    def remarks(self) -> list[str]:
        """What a reader of the figures has to know."""
        said = []
        if self.generator.saturated:
            said.append(
                f"generator saturated: workers at {max(self.generator.cpu_shares):.0%} of a core, "
                f"{self.generator.lag_p99_s * 1e3:.0f} ms late; give more --workers or fewer clients"
            )
        if self.generator.publisher_late_s > LATE_S:
            said.append(f"the publisher was up to {self.generator.publisher_late_s * 1e3:.0f} ms late")
        unserved = self.scenario.clients - self.counts.served
        if unserved > 0:
            said.append(f"{unserved:,} clients were not served at the end")
        if self.counts.lost:
            said.append(f"{self.counts.lost:,} clients lost their connection")
        if self.counts.rejected:
            said.append(f"{self.counts.rejected:,} subscriptions were answered with an error")
        if self.counts.gaps:
            said.append(f"{self.counts.gaps:,} sampled prices did not follow the one before by seq and n")
        said += self._delivery_remarks()
        return said

    def _delivery_remarks(self) -> list[str]:
        if self.expected is None or self.delivered >= self.expected * _ENOUGH:
            return []
        missing = f"{self.delivered / self.expected:.1%} of what was published arrived as prices of their own"
        if self.counts.sampled and not self.counts.gaps:
            folded = self.counts.represented / self.counts.sampled
            return [f"{missing}; by seq and n nothing is missing: one price stands for {folded:.2f} ticks"]
        return [missing]


def processes_between(first: Mark, last: Mark, samples: list[Sample]) -> list[Process]:
    """What each watched process used between two marks; the peak is that of the samples given."""
    took = max(last.at - first.at, 1e-9)
    found = []
    for name, after in last.usage.items():
        before = first.usage[name]
        cpu_s = after.cpu_s - before.cpu_s
        seen = [sample.memory[name] for sample in samples]
        peak = max([before.memory, after.memory, *seen])
        found.append(Process(name, cpu_s, cpu_s / took, before.memory, after.memory, peak))
    return found
