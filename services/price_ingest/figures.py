"""What price-ingest counts: once for Prometheus, once for the service's report. Fed by the pipeline."""

from collections.abc import Mapping

from services.price_ingest.book import Verdict
from services.price_ingest.feeds import Feed, GapReason
from shared.clock import Clock
from shared.names import metrics
from shared.telemetry import Telemetry


class Figures:
    """Counts since the process began."""

    def __init__(self, telemetry: Telemetry, clock: Clock) -> None:
        self._clock = clock
        self._ticks = telemetry.counter(metrics.TICKS)
        self._accepted = telemetry.counter(metrics.TICKS_ACCEPTED)
        self._dropped = telemetry.counter(metrics.TICKS_DROPPED)
        self._published = telemetry.counter(metrics.PUBLISHED)
        self._gaps = telemetry.counter(metrics.INGEST_GAPS)
        self._symbols = telemetry.gauge(metrics.SYMBOLS)
        self._active = telemetry.gauge(metrics.INGEST_ACTIVE)
        self._last_tick = telemetry.gauge(metrics.LAST_TICK)
        self._totals: dict[str, float] = dict.fromkeys(_REPORTED, 0)
        for feed in Feed:  # shown as 0 before the first one, so that a rate can be taken
            self._ticks.labels(feed=feed)
        for reason in GapReason:
            self._gaps.labels(reason=reason)
        for verdict in Verdict:
            if verdict is not Verdict.ACCEPTED:
                self._dropped.labels(reason=verdict)

    def count_read(self, feed: Feed, entries: int) -> None:
        """So many entries came from upstream now."""
        now = self._clock.now_ms() / 1000
        self._ticks.labels(feed=feed).inc(entries)
        self._last_tick.labels(feed=feed).set(now)
        self._totals[metrics.TICKS.name] += entries
        self._totals[metrics.LAST_TICK.name] = now

    def count_outcomes(self, accepted: int, dropped: Mapping[str, int], symbols: int) -> None:
        """What became of them, dropped ones by reason, and how many symbols have a price now."""
        self._accepted.inc(accepted)
        self._totals[metrics.TICKS_ACCEPTED.name] += accepted
        for reason, number in dropped.items():
            self._dropped.labels(reason=reason).inc(number)
            self._totals[metrics.TICKS_DROPPED.name] += number
        self.set_symbols(symbols)

    def count_published(self, prices: int) -> None:
        """So many prices were published."""
        self._published.inc(prices)
        self._totals[metrics.PUBLISHED.name] += prices

    def count_gap(self, reason: GapReason) -> None:
        """A stream had lost entries."""
        self._gaps.labels(reason=reason).inc()
        self._totals[metrics.INGEST_GAPS.name] += 1

    def set_symbols(self, symbols: int) -> None:
        """Symbols with a price."""
        self._symbols.set(symbols)
        self._totals[metrics.SYMBOLS.name] = symbols

    def set_active(self, *, active: bool) -> None:
        """Whether this is the instance that writes."""
        self._active.set(active)
        self._totals[metrics.INGEST_ACTIVE.name] = float(active)

    def report(self) -> dict[str, float]:
        """All of them by metric name, as a `ServiceReport` carries them."""
        return dict(self._totals)


_REPORTED = (
    metrics.TICKS.name,
    metrics.TICKS_ACCEPTED.name,
    metrics.TICKS_DROPPED.name,
    metrics.PUBLISHED.name,
    metrics.INGEST_GAPS.name,
    metrics.SYMBOLS.name,
    metrics.INGEST_ACTIVE.name,
    metrics.LAST_TICK.name,
)
