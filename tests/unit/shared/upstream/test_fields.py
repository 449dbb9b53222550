"""What upstreams write, read with suspicion."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstream import (
    Refusal,
    SymbolNames,
    UpstreamError,
    read_decimal,
    read_side,
    read_state,
    read_symbol,
    read_text,
)


def decimal(raw: bytes) -> str | None:
    return read_decimal({b"price": raw}, b"price")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"64000.10", "64000.10"),
        (b"64000", "64000"),
        (b"0.00", "0.00"),
        (b"-1.50", "-1.50"),
        (b"6.38e-06", "0.00000638"),
        (b"1E+3", "1000"),
        (b"+5", "5"),
        (b"007.5", "7.5"),
        (b".5", "0.5"),
        (b"5.", "5"),
        (b" 5 ", "5"),
        (b"9" * 40, "9" * 40),
    ],
)
def test_a_decimal_keeps_its_digits_and_loses_its_exponent(raw: bytes, text: str):
    assert decimal(raw) == text


@pytest.mark.parametrize("raw", [b"", b"None", b"null", b"nan", b"NaN"])
def test_the_words_for_nothing_count_as_absent_everywhere(raw: bytes):
    assert decimal(raw) is None
    assert read_side({b"side": raw}) is None
    assert read_text({b"venue": raw}, b"venue") is None
    assert read_state({b"state": raw}) is None


@pytest.mark.parametrize(
    "raw", [b"x", b"1,5", b"0x10", b"inf", b"-Infinity", b"sNaN", b"1e41", b"1e-41", b"--1", b"1 2"]
)
def test_what_is_no_finite_number_of_sane_size_is_refused(raw: bytes):
    with pytest.raises(UpstreamError) as caught:
        decimal(raw)
    assert caught.value.refusal is Refusal.BAD_DECIMAL


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=12))
def test_every_decimal_keeps_its_value_and_canonical_text_reads_as_itself(value: Decimal):
    text = decimal(str(value).encode())
    assert text is not None
    assert Decimal(text) == value
    assert "E" not in text.upper()
    assert decimal(text.encode()) == text


@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?\Z"))
def test_canonical_text_is_what_a_decimal_of_it_prints(text: str):
    assert decimal(text.encode()) == text == format(Decimal(text), "f")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-10, max_value=10, places=3), st.booleans())
def test_only_what_is_above_nought_is_positive(value: Decimal, scientific: bool):  # noqa: FBT001 - a given value
    raw = f"{value:E}" if scientific else str(value)
    try:
        read_decimal({b"amount": raw.encode()}, b"amount", positive=True)
    except UpstreamError as error:
        refusal: Refusal | None = error.refusal
    else:
        refusal = None
    assert refusal == (None if value > 0 else Refusal.NOT_POSITIVE)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-30, max_value=1e30))
def test_a_float_as_python_prints_it_keeps_its_value(value: float):
    text = decimal(repr(value).encode())
    assert text is not None
    assert float(text) == value


@pytest.mark.parametrize(("raw", "side"), [(b"buy", "buy"), (b"SELL", "sell"), (b"Buy", "buy")])
def test_a_side_is_buy_or_sell_in_either_case(raw: bytes, side: str):
    assert read_side({b"side": raw}) == side


@pytest.mark.parametrize("raw", [b"b", b"long", b"\xff", b"buy "])
def test_any_other_side_is_refused(raw: bytes):
    with pytest.raises(UpstreamError) as caught:
        read_side({b"side": raw})
    assert caught.value.refusal is Refusal.BAD_SIDE


def test_a_symbol_is_kept_as_upstream_writes_it():
    assert read_symbol({b"symbol": b"btc/usdt:PERP"}) == "btc/usdt:PERP"


@pytest.mark.parametrize(("raw", "state"), [(b"halted", "halted"), (b"Live", "live")])
def test_a_feed_is_live_or_halted(raw: bytes, state: str):
    assert read_state({b"state": raw}) == state


@pytest.mark.parametrize("raw", [b"stale", b"closed", b"\xff"])
def test_any_other_state_is_refused(raw: bytes):
    with pytest.raises(UpstreamError) as caught:
        read_state({b"state": raw})
    assert (caught.value.refusal, caught.value.field) == (Refusal.BAD_STATE, "state")


def test_a_template_with_a_venue_needs_one():
    names = SymbolNames("{venue}:{symbol}", {})
    assert read_symbol({b"symbol": b"BTC", b"venue": b"KRAKEN"}, names) == "KRAKEN:BTC"
    with pytest.raises(UpstreamError) as caught:
        read_symbol({b"symbol": b"BTC", b"venue": b"None"}, names)
    assert (caught.value.refusal, caught.value.field) == (Refusal.MISSING, "venue")


def test_what_a_template_makes_must_be_a_symbol_too():
    with pytest.raises(UpstreamError) as caught:
        read_symbol({b"symbol": b"BTC", b"venue": b"V" * 32}, SymbolNames("{venue}:{symbol}", {}))
    assert caught.value.refusal is Refusal.BAD_SYMBOL


def test_an_error_names_the_limit_that_was_passed():
    with pytest.raises(UpstreamError, match="price: too_long, at most 40"):
        decimal(b"1" * 41)
