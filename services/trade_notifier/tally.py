"""What this replica has done: as Prometheus counters, and as the figures of its report."""

from typing import Final

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


class Tally:
    """Totals since the process started. Every replica counts its own work; sums are made by metrics."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._counters = {definition.name: telemetry.counter(definition) for definition in _COUNTED}
        self._totals = dict.fromkeys(self._counters, 0)

    def add(self, definition: MetricDef, count: int) -> None:
        """Count; `definition` is one of those above."""
        self._totals[definition.name] += count
        self._counters[definition.name].inc(count)

    def figures(self) -> dict[str, float]:
        """Metric name -> total."""
        return dict(self._totals)
