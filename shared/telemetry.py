"""Prometheus objects, made from `shared.names.metrics`: the only file that knows the client library."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as _OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as _openmetrics

from shared.names.metrics import Kind, MetricDef

T = TypeVar("T", Counter, Gauge, Histogram)


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
        assert definition.kind is Kind.COUNTER, definition
        return self._once(definition, Counter)

    def gauge(self, definition: MetricDef) -> Gauge:
        """The gauge of this definition."""
        assert definition.kind is Kind.GAUGE, definition
        return self._once(definition, Gauge)

    def histogram(self, definition: MetricDef) -> Histogram:
        """The histogram of this definition."""
        assert definition.kind is Kind.HISTOGRAM, definition
        return self._once(definition, partial(Histogram, buckets=definition.buckets))

    def _once(self, definition: MetricDef, make: Callable[..., T]) -> T:
        made = self._made.get(definition.name)
        if made is None:
            made = make(definition.name, definition.help, definition.labels, registry=self._registry)
            self._made[definition.name] = made
        return cast("T", made)

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
