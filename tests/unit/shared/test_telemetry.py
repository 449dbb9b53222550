"""Prometheus objects."""

import pytest

from shared.names import metrics
from shared.names.metrics import Kind, MetricDef
from shared.telemetry import Telemetry

HISTOGRAM = MetricDef("test_seconds", Kind.HISTOGRAM, "A test.", buckets=(0.1, 1.0))


def test_asking_twice_for_a_metric_gives_the_same_object():
    telemetry = Telemetry()
    assert telemetry.counter(metrics.PUBLISHED) is telemetry.counter(metrics.PUBLISHED)
    assert telemetry.gauge(metrics.SYMBOLS) is telemetry.gauge(metrics.SYMBOLS)
    assert telemetry.histogram(HISTOGRAM) is telemetry.histogram(HISTOGRAM)


def test_a_metric_asked_for_as_another_kind_is_a_defect():
    with pytest.raises(AssertionError):
        Telemetry().counter(metrics.SYMBOLS)


def test_the_exposition_holds_what_was_counted():
    telemetry = Telemetry()
    telemetry.counter(metrics.TICKS).labels(feed="prices").inc(3)
    telemetry.gauge(metrics.SYMBOLS).set(7)
    telemetry.histogram(HISTOGRAM).observe(0.5)
    body, content_type = telemetry.exposition("")
    text = body.decode()
    assert content_type.startswith("text/plain")
    assert 'tickwire_ingest_ticks_total{feed="prices"} 3.0' in text
    assert "tickwire_ingest_symbols 7.0" in text
    assert 'test_seconds_bucket{le="0.1"} 0.0' in text
    assert 'test_seconds_bucket{le="1.0"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_a_scraper_that_asks_for_openmetrics_gets_it():
    body, content_type = Telemetry().exposition("application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_numbers_counted_elsewhere_are_copied_when_somebody_looks():
    telemetry = Telemetry()
    counted = [0]
    telemetry.before_exposition(lambda: telemetry.gauge(metrics.SYMBOLS).set(counted[0]))
    counted[0] = 5
    assert b"tickwire_ingest_symbols 5.0" in telemetry.exposition("")[0]


def test_two_services_in_one_process_do_not_share_counts():
    one, other = Telemetry(), Telemetry()
    one.counter(metrics.PUBLISHED).inc()
    assert b"tickwire_ingest_published_total" not in other.exposition("")[0]
