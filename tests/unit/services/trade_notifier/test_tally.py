import pytest

from services.trade_notifier.tally import Tally
from shared.names import metrics
from shared.telemetry import Telemetry
from tests.support.manual_clock import ManualClock


def test_what_is_counted_shows_in_figures_and_in_prometheus() -> None:
    telemetry = Telemetry()
    tally = Tally(telemetry)
    tally.add(metrics.TRADES, 3)
    tally.add(metrics.TRADES, 4)
    assert tally.figures()[metrics.TRADES.name] == 7
    assert tally.figures()[metrics.DUPLICATES.name] == 0
    assert b"tickwire_notifier_trades_total 7.0" in telemetry.exposition("")[0]


def test_the_age_of_what_was_logged_is_a_histogram_in_seconds() -> None:
    telemetry, clock = Telemetry(), ManualClock(1000.0)
    Tally(telemetry, clock).observe_age(998_000)
    assert b'tickwire_notifier_trade_age_seconds_bucket{le="2.5"} 1.0' in telemetry.exposition("")[0]
    assert b'tickwire_notifier_trade_age_seconds_bucket{le="1.0"} 0.0' in telemetry.exposition("")[0]


def test_a_metric_of_another_service_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Tally(Telemetry()).add(metrics.TICKS, 1)
