"""What a symbol may look like."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.symbols import MAX_SYMBOL_LENGTH, is_symbol

ALLOWED = string.ascii_letters + string.digits + "._:/-"


@pytest.mark.parametrize("text", ["BTC-USDT", "BTC/USD", "ES.c.0", "BINANCE:BTCUSDT", "a_b", "1", "-", "A" * 32])
def test_the_symbols_of_real_venues_pass(text: str):
    assert is_symbol(text)


@pytest.mark.parametrize("text", ["", " ", "A" * 33, "A B", "BTC\n", "\x00", "Ä", "\uff11", "BTC*", "{a}", "a,b"])
def test_anything_else_does_not(text: str):
    assert not is_symbol(text)


@given(st.text(max_size=40))
def test_the_rule_is_the_alphabet_and_the_length(text: str):
    expected = 1 <= len(text) <= MAX_SYMBOL_LENGTH and set(text) <= set(ALLOWED + "_")
    assert is_symbol(text) == expected
