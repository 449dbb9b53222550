import pytest

from shared.upstream.symbols import SymbolNames, template_problem


def test_an_alias_comes_before_the_template() -> None:
    names = SymbolNames.made_from("{venue}:{symbol}", ["XBT-USD=BTC-USD", " BTC USDT = BTC-USDT "])
    assert names is not None
    assert names.rename("XBT-USD", "KRAKEN") == "KRAKEN:BTC-USD"
    assert names.rename("BTC USDT", "OKX") == "OKX:BTC-USDT"
    assert names.rename("ETH-USD", "KRAKEN") == "KRAKEN:ETH-USD"


def test_where_every_name_stays_there_is_nothing_to_do() -> None:
    assert SymbolNames.made_from("{symbol}", []) is None


def test_a_venue_that_looks_like_a_template_is_no_template() -> None:
    assert SymbolNames("{venue}:{symbol}", {}).rename("BTC", "{symbol}") == "{symbol}:BTC"


@pytest.mark.parametrize("template", ["{symbol}", "{venue}:{symbol}", "{symbol}.{venue}", "spot/{symbol}"])
def test_a_template_may_use_symbol_and_venue(template: str) -> None:
    assert template_problem(template) is None


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{venue}", "{symbol} is missing"),
        ("BTC", "{symbol} is missing"),
        ("{symbol}{", "Single '{'"),
        ("{symbol.upper}", "only {symbol} and {venue}"),
        ("{symbol!r}", "only {symbol} and {venue}"),
        ("{symbol:>9}", "only {symbol} and {venue}"),
        ("{exchange}:{symbol}", "only {symbol} and {venue}"),
        ("{}", "only {symbol} and {venue}"),
        ("{symbol} {venue}", "what it makes is no symbol"),
        ("{{{symbol}}}", "what it makes is no symbol"),
    ],
)
def test_any_other_template_is_refused_with_a_reason(template: str, problem: str) -> None:
    assert problem in (template_problem(template) or "")
