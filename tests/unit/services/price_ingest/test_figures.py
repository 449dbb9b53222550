"""What price-ingest counts."""

from services.price_ingest.feeds import GapReason, Lane
from services.price_ingest.figures import Figures
from shared.names import metrics
from shared.telemetry import Telemetry
from shared.upstream.sources import Holds
from tests.support.manual_clock import ManualClock


def test_prometheus_and_the_report_tell_the_same():
    telemetry = Telemetry()
    figures = Figures(telemetry, ManualClock(1_763_800_000.5))
    figures.count_read(Holds.TRADES, 7)
    figures.count_outcomes(3, {"unchanged": 2, "out_of_date": 1, "bad_decimal": 1})
    figures.count_forwarded(6)
    figures.count_closed(8)
    figures.show_unit(3, 4, 1)
    figures.show_unit(4, 1, 0)
    figures.show_unit(5, 99, 99)
    figures.hide_unit(5)
    with figures.timed_commit(Lane.CHARTS):
        pass
    figures.count_published(2)
    figures.count_gap(GapReason.TRIMMED)
    assert figures.report() == {
        metrics.OWNED_UNITS.name: 2,
        metrics.FORWARDED.name: 6,
        metrics.CANDLES_CLOSED.name: 8,
        metrics.STALE_SYMBOLS.name: 1,
        metrics.TICKS.name: 7,
        metrics.TICKS_ACCEPTED.name: 3,
        metrics.TICKS_DROPPED.name: 4,
        metrics.PUBLISHED.name: 2,
        metrics.INGEST_GAPS.name: 1,
        metrics.SYMBOLS.name: 5,
        metrics.LAST_TICK.name: 1_763_800_000.5,
    }
    assert {type(value) for value in figures.report().values()} <= {int, float}  # a report refuses anything else
    text = telemetry.exposition("")[0].decode()
    for line in (
        'tickwire_ingest_ticks_total{feed="trades"} 7.0',
        'tickwire_ingest_dropped_total{reason="unchanged"} 2.0',
        'tickwire_ingest_dropped_total{reason="bad_decimal"} 1.0',
        'tickwire_ingest_gaps_total{reason="trimmed"} 1.0',
        "tickwire_ingest_symbols 5.0",
        "tickwire_ingest_units_owned 2.0",
        'tickwire_ingest_commit_seconds_count{what="charts"} 1.0',
    ):
        assert line in text


def test_the_age_of_ticks_and_the_time_to_their_publication_are_histograms():
    telemetry, clock = Telemetry(), ManualClock(1_763_800_000.5)
    figures = Figures(telemetry, clock)
    figures.observe_age(Holds.TRADES, 1_763_799_999_500)
    figures.observe_age(Holds.TRADES, 1_763_800_009_999)  # a clock that is ahead
    figures.observe_publication(clock.monotonic() - 0.04)
    text = telemetry.exposition("")[0].decode()
    for line in (
        'tickwire_ingest_tick_age_seconds_bucket{feed="trades",le="0.5"} 1.0',
        'tickwire_ingest_tick_age_seconds_bucket{feed="trades",le="1.0"} 2.0',
        'tickwire_ingest_tick_age_seconds_count{feed="prices"} 0.0',
        'tickwire_ingest_publish_seconds_bucket{le="0.05"} 1.0',
        'tickwire_ingest_publish_seconds_bucket{le="0.025"} 0.0',
    ):
        assert line in text


def test_every_series_stands_at_nought_before_the_first_tick():
    telemetry = Telemetry()
    Figures(telemetry, ManualClock(1_763_800_000.5))
    text = telemetry.exposition("")[0].decode()
    assert 'tickwire_ingest_ticks_total{feed="prices"} 0.0' in text
    assert 'tickwire_ingest_dropped_total{reason="too_many_symbols"} 0.0' in text
    assert 'reason="accepted"' not in text
