"""Rights, and patterns of symbols."""

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rights import MAX_PATTERN_LENGTH, MAX_PATTERNS, Rights, SymbolPatterns


@pytest.mark.parametrize(
    ("pattern", "granted", "refused"),
    [
        ("BTC-USDT", ["BTC-USDT"], ["BTC-USDTX", "XBTC-USDT", "btc-usdt", ""]),
        ("BTC-*", ["BTC-USDT", "BTC-"], ["BTC", "ABTC-USDT"]),
        ("*-USDT", ["BTC-USDT", "-USDT"], ["BTC-USD", "BTC-USDT.P"]),
        ("B*C*T", ["BTC-USDT", "BCT"], ["BT", "BTC"]),
        ("A*A", ["AA", "ABA"], ["A", "AB"]),
        ("*AB*AB*", ["ABAB", "xABxABx"], ["AB", "ABA", "xABx"]),
        ("*", ["", "ANY"], []),
        ("**", ["", "ANY"], []),
        ("A.C", ["A.C"], ["ABC"]),
    ],
)
def test_a_star_stands_for_any_number_of_characters(pattern: str, granted: list[str], refused: list[str]):
    patterns = SymbolPatterns([pattern])
    assert [symbol for symbol in granted if not patterns.match(symbol)] == []
    assert [symbol for symbol in refused if patterns.match(symbol)] == []


@given(st.text("AB*", min_size=1, max_size=8), st.text("AB", max_size=8))
def test_patterns_match_as_a_shells_do(pattern: str, symbol: str):
    assert SymbolPatterns([pattern]).match(symbol) == fnmatch.fnmatchcase(symbol, pattern)


def test_any_of_several_patterns_is_enough_and_none_grants_nothing():
    rights = Rights(SymbolPatterns(["BTC-USDT", "ETH-*"]))
    assert [rights.allows(symbol) for symbol in ("BTC-USDT", "ETH-BTC", "SOL-USDT")] == [True, True, False]
    assert not Rights(SymbolPatterns([])).allows("BTC-USDT")
    assert Rights().allows("BTC-USDT")


def test_rights_that_grant_the_same_are_equal_however_they_are_written():
    assert Rights(SymbolPatterns(["B", "A", "A"])) == Rights(SymbolPatterns(["A", "B"]))
    assert Rights(SymbolPatterns(["A"])) != Rights(SymbolPatterns(["A*"]))
    assert len({Rights(SymbolPatterns(["A"]), 1.0), Rights(SymbolPatterns(["A"]), 1.0), Rights()}) == 2


def test_the_whole_market_is_what_nothing_is_kept_from():
    restricted = [Rights(SymbolPatterns(["*"])), Rights(max_hz=1.0), Rights(delay_s=1)]
    assert Rights(connections=1).whole_market
    assert not any(rights.whole_market for rights in restricted)


@pytest.mark.parametrize("pattern", ["", "A B", "A+", "(A", "A\n", "ä", "A" * (MAX_PATTERN_LENGTH + 1)])
def test_what_is_no_pattern_is_refused(pattern: str):
    with pytest.raises(ValueError, match=re.escape(repr(pattern[:MAX_PATTERN_LENGTH]))):
        SymbolPatterns([pattern])


def test_too_many_patterns_are_refused():
    with pytest.raises(ValueError, match=f"at most {MAX_PATTERNS}"):
        SymbolPatterns(f"S{number}" for number in range(MAX_PATTERNS + 1))


@pytest.mark.threat("T18")
def test_the_worst_patterns_cost_no_more_than_their_length():
    """Nested repetitions of a regular expression would take longer than the universe is old."""
    patterns = SymbolPatterns("*A" * 24 + "*B" + str(number) for number in range(MAX_PATTERNS))
    began = time.perf_counter()
    assert not patterns.match("A" * 32)
    assert time.perf_counter() - began < 1
