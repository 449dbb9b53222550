import pytest

from shared.settings import SettingsError, load
from shared.upstream import UpstreamSettings


def test_by_default_symbols_are_kept_and_no_further_stream_is_read() -> None:
    assert load(UpstreamSettings, {}) == UpstreamSettings((), "{symbol}", ())


def test_lists_are_written_with_commas() -> None:
    made = load(UpstreamSettings, {"UPSTREAM_STREAMS": "binance, {real-time}-*", "SYMBOL_ALIASES": "XBT=BTC,a b=AB"})
    assert made.upstream_streams == ("binance", "{real-time}-*")
    assert made.symbol_aliases == ("XBT=BTC", "a b=AB")


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"SYMBOL_TEMPLATE": "{venue}"}, "SYMBOL_TEMPLATE"),
        ({"SYMBOL_ALIASES": "XBT"}, "SYMBOL_ALIASES"),
        ({"SYMBOL_ALIASES": "=BTC"}, "SYMBOL_ALIASES"),
        ({"SYMBOL_ALIASES": "XBT=B T C"}, "SYMBOL_ALIASES"),
    ],
)
def test_what_would_make_no_symbol_is_refused_by_name(environment: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load(UpstreamSettings, environment)
