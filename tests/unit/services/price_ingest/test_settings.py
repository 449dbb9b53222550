"""Settings of price-ingest."""

import pytest

from services.price_ingest.settings import IngestSettings
from shared.settings import SettingsError, load


def test_the_defaults_need_no_environment():
    assert load(IngestSettings, {}) == IngestSettings(
        price_publish_ms=10,
        price_max_symbols=20_000,
        price_stale_ms=30_000,
        quote_price="mid",
        chart_publish_ms=250,
        candle_history=1000,
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PRICE_PUBLISH_MS", "0"),
        ("PRICE_PUBLISH_MS", "1001"),
        ("PRICE_PUBLISH_MS", "fast"),
        ("PRICE_STALE_MS", "-1"),
        ("QUOTE_PRICE", "middle"),
        ("CHART_PUBLISH_MS", "0"),
        ("CANDLE_HISTORY", "0"),
    ],
)
def test_what_cannot_work_is_refused_by_name(name: str, text: str):
    with pytest.raises(SettingsError, match=name):
        load(IngestSettings, {name: text})


def test_stale_can_be_off():
    assert load(IngestSettings, {"PRICE_STALE_MS": "0"}).price_stale_ms == 0
