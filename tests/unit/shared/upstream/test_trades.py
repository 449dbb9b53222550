"""What an upstream trade must hold."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstream import FUTURE_MS, MAX_USERS, Refusal, SymbolNames, UpstreamError, UpstreamTrade, parse_trade

MS = 1_763_800_000_000
ENTRY = f"{MS}-0"
TRADE = {b"id": b"42", b"symbol": b"BTC-USDT", b"amount": b"0.500", b"price": b"64000.10", b"ts": str(MS).encode()}


def refused(fields: dict[bytes, bytes], entry_id: str = ENTRY) -> tuple[Refusal, str]:
    with pytest.raises(UpstreamError) as caught:
        parse_trade(fields, entry_id)
    return caught.value.refusal, caught.value.field


def test_a_whole_trade():
    fields = TRADE | {b"side": b"sell", b"venue": b"BINANCE", b"user_id": b"ann, bob,ann,"}
    expected = UpstreamTrade("42", "BTC-USDT", "0.500", "64000.10", "sell", MS, "BINANCE", ("ann", "bob"))
    assert parse_trade(fields, ENTRY) == expected


def test_the_least_trade_takes_id_and_time_from_its_entry():
    fields = {b"symbol": b"X", b"amount": b"1", b"price": b"2"}
    assert parse_trade(fields, f"{MS}-7") == UpstreamTrade(f"{MS}-7", "X", "1", "2", None, MS, None, ())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({b"price": b""}, (Refusal.MISSING, "price")),
        ({b"amount": b"None"}, (Refusal.MISSING, "amount")),
        ({b"amount": b"-1"}, (Refusal.NOT_POSITIVE, "amount")),
        ({b"amount": b"0.000"}, (Refusal.NOT_POSITIVE, "amount")),
        ({b"id": b"1" * 129}, (Refusal.TOO_LONG, "id")),
        ({b"id": b"\xff"}, (Refusal.NOT_TEXT, "id")),
        ({b"user_id": b"\xff"}, (Refusal.NOT_TEXT, "user_id")),
        ({b"user_id": b"u" * 129}, (Refusal.TOO_LONG, "user_id")),
        ({b"user_id": b",".join(b"%d" % n for n in range(MAX_USERS + 1))}, (Refusal.TOO_MANY_USERS, "user_id")),
    ],
)
def test_a_trade_that_cannot_be_used_names_field_and_reason(
    changes: dict[bytes, bytes], expected: tuple[Refusal, str]
) -> None:
    assert refused(TRADE | changes) == expected


@pytest.mark.parametrize("raw", [b"", b"None", b"null", b"nan", b"NaN"])
def test_the_words_for_nothing_name_no_user(raw: bytes):
    assert parse_trade(TRADE | {b"user_id": raw}, ENTRY).users == ()


def test_an_item_of_several_is_known_by_its_place_and_has_its_entry_s_time():
    fields = {b"symbol": b"X", b"amount": b"1", b"price": b"2"}
    assert parse_trade(fields, f"{MS}-7/3") == UpstreamTrade(f"{MS}-7/3", "X", "1", "2", None, MS, None, ())


def test_a_symbol_gets_the_name_that_it_has_here():
    names = SymbolNames("{venue}:{symbol}", {"BTC-USDT": "BTC-USD"})
    assert parse_trade(TRADE | {b"venue": b"KRAKEN"}, ENTRY, names).symbol == "KRAKEN:BTC-USD"


@given(
    st.dictionaries(
        st.sampled_from([b"id", b"symbol", b"amount", b"price", b"side", b"ts", b"venue", b"user_id"]),
        st.binary(max_size=200) | st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass")),
    )
)
def test_whatever_comes_is_a_trade_or_the_one_error(changes: dict[bytes, bytes]):
    try:
        trade = parse_trade(TRADE | changes, ENTRY)
    except UpstreamError:
        return
    assert Decimal(trade.amount) > 0
    assert 0 <= trade.ts <= MS + FUTURE_MS
    assert len(trade.users) <= MAX_USERS
