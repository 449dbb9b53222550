"""What price-ingest counts: once for Prometheus, once for the service's report. Fed by the pipelines of a replica."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from services.price_ingest.book import Verdict
from services.price_ingest.feeds import GapReason, Lane
from shared.clock import Clock
from shared.names import metrics
from shared.telemetry import Telemetry
from shared.upstream.sources import Holds


class Figures:
    """Counts since the process began."""

    def __init__(self, telemetry: Telemetry, clock: Clock) -> None:
        self._clock = clock
        self._ticks = telemetry.counter(metrics.TICKS)
        self._accepted = telemetry.counter(metrics.TICKS_ACCEPTED)
        self._dropped = telemetry.counter(metrics.TICKS_DROPPED)
        self._published = telemetry.counter(metrics.PUBLISHED)
        self._forwarded = telemetry.counter(metrics.FORWARDED)
        self._gaps = telemetry.counter(metrics.INGEST_GAPS)
        self._symbols = telemetry.gauge(metrics.SYMBOLS)
        self._stale = telemetry.gauge(metrics.STALE_SYMBOLS)
        self._owned = telemetry.gauge(metrics.OWNED_UNITS)
        self._closed = telemetry.counter(metrics.CANDLES_CLOSED)
        self._commits = telemetry.histogram(metrics.COMMIT_SECONDS)
        self._last_tick = telemetry.gauge(metrics.LAST_TICK)
        self._age = telemetry.histogram(metrics.TICK_AGE)
        self._publication = telemetry.histogram(metrics.READ_TO_PUBLISH)
        self._totals: dict[str, float] = dict.fromkeys(_REPORTED, 0)
        self._units: dict[int, tuple[int, int]] = {}
        for feed in Holds:  # shown as 0 before the first one, so that a rate can be taken
            self._ticks.labels(feed=feed)
            self._age.labels(feed=feed)
        for reason in GapReason:
            self._gaps.labels(reason=reason)
        for verdict in Verdict:
            if verdict is not Verdict.ACCEPTED:
                self._dropped.labels(reason=verdict)

    def count_read(self, feed: Holds, entries: int) -> None:
        """So many entries came from upstream now."""
        now = self._clock.now_ms() / 1000
        self._ticks.labels(feed=feed).inc(entries)
        self._last_tick.labels(feed=feed).set(now)
        self._totals[metrics.TICKS.name] += entries
        self._totals[metrics.LAST_TICK.name] = now

    def observe_age(self, feed: Holds, oldest_ms: int) -> None:
        """The oldest tick that was read now is of that time."""
        self._age.labels(feed=feed).observe(max(0, self._clock.now_ms() - oldest_ms) / 1000)

    def observe_publication(self, read_at: float) -> None:
        """Prices were published now whose first tick was read at that moment of the service's clock."""
        self._publication.observe(self._clock.monotonic() - read_at)

    def count_outcomes(self, accepted: int, dropped: Mapping[str, int]) -> None:
        """What became of them, dropped ones by reason."""
        self._accepted.inc(accepted)
        self._totals[metrics.TICKS_ACCEPTED.name] += accepted
        for reason, number in dropped.items():
            self._dropped.labels(reason=reason).inc(number)
            self._totals[metrics.TICKS_DROPPED.name] += number

    def count_forwarded(self, ticks: int) -> None:
        """So many ticks were handed to other units."""
        self._forwarded.inc(ticks)
        self._totals[metrics.FORWARDED.name] += ticks

    def count_published(self, prices: int) -> None:
        """So many prices were published."""
        self._published.inc(prices)
        self._totals[metrics.PUBLISHED.name] += prices

    def count_closed(self, candles: int) -> None:
        """So many closed candles were written."""
        self._closed.inc(candles)
        self._totals[metrics.CANDLES_CLOSED.name] += candles

    def count_gap(self, reason: GapReason) -> None:
        """A stream had lost entries."""
        self._gaps.labels(reason=reason).inc()
        self._totals[metrics.INGEST_GAPS.name] += 1

    @contextmanager
    def timed_commit(self, lane: Lane) -> Iterator[None]:
        """Measure how long Redis takes."""
        began = self._clock.monotonic()
        yield
        self._commits.labels(what=lane).observe(self._clock.monotonic() - began)

    def show_unit(self, unit: int, symbols: int, stale: int) -> None:
        """An owned unit has so many symbols, and so many of them are stale."""
        self._units[unit] = (symbols, stale)
        self._show_units()

    def hide_unit(self, unit: int) -> None:
        """A unit is owned no more."""
        self._units.pop(unit, None)
        self._show_units()

    def _show_units(self) -> None:
        symbols = sum(symbols for symbols, _ in self._units.values())
        stale = sum(stale for _, stale in self._units.values())
        self._symbols.set(symbols)
        self._stale.set(stale)
        self._owned.set(len(self._units))
        self._totals[metrics.SYMBOLS.name] = symbols
        self._totals[metrics.STALE_SYMBOLS.name] = stale
        self._totals[metrics.OWNED_UNITS.name] = len(self._units)

    def report(self) -> dict[str, float]:
        """All of them by metric name, as a `ServiceReport` carries them."""
        return dict(self._totals)


_REPORTED = (
    metrics.TICKS.name,
    metrics.TICKS_ACCEPTED.name,
    metrics.TICKS_DROPPED.name,
    metrics.PUBLISHED.name,
    metrics.FORWARDED.name,
    metrics.INGEST_GAPS.name,
    metrics.CANDLES_CLOSED.name,
    metrics.SYMBOLS.name,
    metrics.STALE_SYMBOLS.name,
    metrics.OWNED_UNITS.name,
    metrics.LAST_TICK.name,
)
