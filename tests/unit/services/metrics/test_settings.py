import pytest

from services.metrics.settings import MetricsSettings
from shared.settings import SettingsError, load


def test_the_admin_room_hears_every_five_seconds_unless_told_otherwise() -> None:
    assert load(MetricsSettings, {}).metrics_interval_ms == 5000
    assert load(MetricsSettings, {"METRICS_INTERVAL_MS": "100"}).metrics_interval_ms == 100


@pytest.mark.parametrize("text", ["99", "60001", "often"])
def test_an_interval_out_of_range_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match="METRICS_INTERVAL_MS"):
        load(MetricsSettings, {"METRICS_INTERVAL_MS": text})
