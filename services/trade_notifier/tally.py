"""What this replica has done: as Prometheus counters, and as the figures of its report."""

from typing import Final

from shared.clock import Clock, SystemClock
from shared.names import metrics
from shared.names.metrics import MetricDef
from shared.telemetry import Telemetry

_COUNTED: Final = (
    metrics.TRADES,
    metrics.NOTIFICATIONS,
    metrics.DUPLICATES,
    metrics.NO_TRADES,
    metrics.REDELIVERED,
    metrics.TRIMMED,
    metrics.UNCONFIRMED,
)

_SYSTEM_CLOCK: Final = SystemClock()


class Tally:
    """Totals since the process started. Every replica counts its own work; sums are made by metrics."""

    def __init__(self, telemetry: Telemetry, clock: Clock = _SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._age = telemetry.histogram(metrics.TRADE_AGE)
        self._counters = {definition.name: telemetry.counter(definition) for definition in _COUNTED}
        self._totals = dict.fromkeys(self._counters, 0)

    def add(self, definition: MetricDef, count: int) -> None:
        """Count; `definition` is one of those above."""
        self._totals[definition.name] += count
        self._counters[definition.name].inc(count)

    def observe_age(self, oldest_ms: int) -> None:
        """Trades are in their logs now; upstream gave the oldest of them that time."""
        self._age.observe(max(0, self._clock.now_ms() - oldest_ms) / 1000)

    def figures(self) -> dict[str, float]:
        """Metric name -> total."""
        return dict(self._totals)
