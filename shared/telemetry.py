"""Prometheus objects, made from `shared.names.metrics`: the only file that knows the client library."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as _OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as _openmetrics

from shared.names.metrics import Kind, MetricDef


class Telemetry:
    """One service's registry. Asking twice for a metric gives the same object."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        self._refreshers: list[Callable[[], None]] = []
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def counter(self, definition: MetricDef) -> Counter:
        """The counter of this definition."""
        made = self._made.get(definition.name)
        if made is None:
            assert definition.kind is Kind.COUNTER, definition
            made = self._made[definition.name] = Counter(
                definition.name, definition.help, definition.labels, registry=self._registry
            )
        assert isinstance(made, Counter)
        return made

    def gauge(self, definition: MetricDef) -> Gauge:
        """The gauge of this definition."""
        made = self._made.get(definition.name)
        if made is None:
            assert definition.kind is Kind.GAUGE, definition
            made = self._made[definition.name] = Gauge(
                definition.name, definition.help, definition.labels, registry=self._registry
            )
        assert isinstance(made, Gauge)
        return made

    def histogram(self, definition: MetricDef) -> Histogram:
        """The histogram of this definition."""
        made = self._made.get(definition.name)
        if made is None:
            assert definition.kind is Kind.HISTOGRAM, definition
            made = self._made[definition.name] = Histogram(
                definition.name,
                definition.help,
                definition.labels,
                buckets=definition.buckets,
                registry=self._registry,
            )
        assert isinstance(made, Histogram)
        return made

    def before_exposition(self, refresh: Callable[[], None]) -> None:
        """Have `refresh` copy numbers that are counted elsewhere, each time somebody looks."""
        self._refreshers.append(refresh)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """What `/metrics` answers, and its content type: OpenMetrics where the scraper asks for it."""
        for refresh in self._refreshers:
            refresh()
        if "application/openmetrics-text" in accept:
            return _openmetrics(self._registry), _OPENMETRICS  # type: ignore[no-untyped-call]  # the library left it out
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
