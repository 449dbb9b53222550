"""Upstream entries as ticks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.price_ingest.normalise import Tick, read_tick, read_ticks
from shared.bus.entries import StreamEntry
from shared.upstream import Refusal, UpstreamError

WHOLE = {
    b"symbol": b"BTC-USDT",
    b"price": b"64000.10",
    b"ts": b"1763800000000",
    b"bid": b"64000.0",
    b"ask": b"64000.20",
    b"amount": b"0.500",
    b"side": b"BUY",
    b"venue": b"BINANCE",
    b"mood": b"ignored",
}


def test_every_field_keeps_the_upstreams_digits():
    assert read_tick(WHOLE, "1763800000001-0") == Tick(
        "BTC-USDT", "64000.10", 1763800000000, "64000.0", "64000.20", "0.500", "buy", "BINANCE"
    )


def test_symbol_and_price_are_enough_and_the_time_is_the_entrys():
    fields = {b"symbol": b"BTC-USDT", b"price": b"64000.10"}
    assert read_tick(fields, "1763800000001-7") == Tick("BTC-USDT", "64000.10", 1763800000001)


def test_an_exponent_becomes_digits():
    assert read_tick({b"symbol": b"SHIB", b"price": b"6.38e-06"}, "1-0").price == "0.00000638"


def test_a_price_may_be_negative_as_spreads_and_oil_have_been():
    assert read_tick({b"symbol": b"CL", b"price": b"-37.63"}, "1-0").price == "-37.63"


@pytest.mark.parametrize("absent", [b"", b"None", b"null", b"nan", b"NaN"])
def test_the_usual_words_for_nothing_count_as_absent(absent: bytes):
    optional = dict.fromkeys((b"ts", b"bid", b"ask", b"amount", b"side", b"venue"), absent)
    assert read_tick({b"symbol": b"X", b"price": b"1", **optional}, "5-0") == Tick("X", "1", 5)


@pytest.mark.parametrize(
    ("changes", "refusal", "field"),
    [
        ({b"symbol": None}, Refusal.MISSING, "symbol"),
        ({b"symbol": b""}, Refusal.BAD_SYMBOL, "symbol"),
        ({b"symbol": b"a b"}, Refusal.BAD_SYMBOL, "symbol"),
        ({b"symbol": b"A" * 33}, Refusal.BAD_SYMBOL, "symbol"),
        ({b"symbol": b"\xff\xfe"}, Refusal.NOT_TEXT, "symbol"),
        ({b"price": None}, Refusal.MISSING, "price"),
        ({b"price": b"None"}, Refusal.MISSING, "price"),
        ({b"price": b"cheap"}, Refusal.BAD_DECIMAL, "price"),
        ({b"price": b"Infinity"}, Refusal.BAD_DECIMAL, "price"),
        ({b"price": b"sNaN"}, Refusal.BAD_DECIMAL, "price"),
        ({b"price": b"1e999999"}, Refusal.BAD_DECIMAL, "price"),
        ({b"price": b"9" * 41}, Refusal.TOO_LONG, "price"),
        ({b"price": b"\x00\xff"}, Refusal.NOT_TEXT, "price"),
        ({b"bid": b"?"}, Refusal.BAD_DECIMAL, "bid"),
        ({b"ask": b"?"}, Refusal.BAD_DECIMAL, "ask"),
        ({b"amount": b"0"}, Refusal.NOT_POSITIVE, "amount"),
        ({b"amount": b"-1"}, Refusal.NOT_POSITIVE, "amount"),
        ({b"side": b"hold"}, Refusal.BAD_SIDE, "side"),
        ({b"ts": b"soon"}, Refusal.BAD_TIME, "ts"),
        ({b"ts": b"-5"}, Refusal.BAD_TIME, "ts"),
        ({b"ts": b"4102444800000"}, Refusal.FUTURE, "ts"),
        ({b"venue": b"V" * 129}, Refusal.TOO_LONG, "venue"),
    ],
)
def test_a_bad_entry_is_refused_by_field_and_reason(
    changes: dict[bytes, bytes | None], refusal: Refusal, field: str
) -> None:
    fields = {name: value for name, value in {**WHOLE, **changes}.items() if value is not None}
    with pytest.raises(UpstreamError) as caught:
        read_tick(fields, "1763800000001-0")
    assert (caught.value.refusal, caught.value.field) == (refusal, field)


def test_a_quote_without_a_price_is_no_price():
    with pytest.raises(UpstreamError) as caught:
        read_tick({b"symbol": b"X", b"bid": b"1", b"ask": b"2"}, "1-0")
    assert (caught.value.refusal, caught.value.field) == (Refusal.MISSING, "price")


def test_bad_entries_are_set_apart_and_the_others_keep_their_order():
    entries = [
        StreamEntry("1-0", {b"symbol": b"X", b"price": b"1"}),
        StreamEntry("2-0", {b"symbol": b"X"}),
        StreamEntry("3-0", {}),
        StreamEntry("4-0", {b"symbol": b"X", b"price": b"2"}),
    ]
    ticks, refused = read_ticks(entries)
    assert [tick.price for tick in ticks] == ["1", "2"]
    assert [(entry.id, error.field) for entry, error in refused] == [("2-0", "price"), ("3-0", "symbol")]


@given(
    st.dictionaries(
        st.sampled_from(list(WHOLE)),
        st.binary(max_size=50) | st.text(st.characters(categories=["N", "P", "L"]), max_size=20).map(str.encode),
    )
)
def test_whatever_comes_is_a_tick_or_the_upstreams_error(changes: dict[bytes, bytes]) -> None:
    entry = StreamEntry("1763800000001-0", {**WHOLE, **changes})
    ticks, refused = read_ticks([entry])
    assert len(ticks) + len(refused) == 1
