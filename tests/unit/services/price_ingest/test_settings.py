"""Settings of price-ingest."""

import pytest

from services.price_ingest.settings import IngestSettings
from shared.settings import SettingsError, load


def test_the_defaults_need_no_environment():
    assert load(IngestSettings, {}) == IngestSettings(price_publish_ms=10, price_max_symbols=20_000)


@pytest.mark.parametrize("text", ["0", "1001", "fast"])
def test_an_interval_that_cannot_work_is_refused_by_name(text: str):
    with pytest.raises(SettingsError, match="PRICE_PUBLISH_MS"):
        load(IngestSettings, {"PRICE_PUBLISH_MS": text})
