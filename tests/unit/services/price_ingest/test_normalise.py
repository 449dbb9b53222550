"""Upstream entries as ticks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.price_ingest.normalise import Kind, Tick, read_tick, read_ticks
from shared.bus.entries import StreamEntry
from shared.upstream import Refusal, SymbolNames, UpstreamError

MS = 1763800000000

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


def tick(fields: dict[bytes, bytes], number: int = 0) -> Tick:
    return read_tick(fields, MS + 1, number)


def test_every_field_keeps_the_upstreams_digits():
    assert tick(WHOLE | {b"id": b"42"}, 7) == Tick(
        "BTC-USDT",
        Kind.TRADE,
        "64000.10",
        MS,
        MS * 10**6,
        (MS + 1) << 20 | 7,
        "42",
        "64000.0",
        "64000.20",
        "0.500",
        "buy",
        "BINANCE",
    )


def test_symbol_and_price_are_enough_and_the_time_is_the_entrys():
    fields = {b"symbol": b"BTC-USDT", b"price": b"64000.10"}
    rank = (MS + 1) << 20 | 7
    assert tick(fields, 7) == Tick("BTC-USDT", Kind.PRICE, "64000.10", MS + 1, (MS + 1) * 10**6, rank)


def test_an_event_time_is_kept_to_the_nanosecond():
    found = tick({b"symbol": b"X", b"price": b"1", b"ts": b"1763800000000123456"})
    assert (found.ts, found.at) == (MS, MS * 10**6 + 123456)


def test_arrival_is_ordered_also_where_one_millisecond_holds_more_than_there_is_room_for():
    price = {b"symbol": b"X", b"price": b"1"}
    ranks = [read_tick(price, ms, number).rank for ms, number in ((5, 0), (5, 2**20 - 1), (5, 2**21), (6, 0))]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 3


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({b"price": b"1", b"amount": b"2"}, Kind.TRADE),
        ({b"price": b"1", b"amount": b"2", b"type": b"trade", b"bid": b"1"}, Kind.TRADE),
        ({b"price": b"1", b"amount": b"2", b"type": b"limit"}, Kind.TRADE),
        ({b"price": b"1", b"amount": b"2", b"type": b"quote"}, Kind.PRICE),
        ({b"price": b"1"}, Kind.PRICE),
        ({b"price": b"1", b"bid": b"1", b"ask": b"2"}, Kind.PRICE),
        ({b"bid": b"1", b"ask": b"2"}, Kind.QUOTE),
        ({b"bid": b"1", b"price": b"None"}, Kind.QUOTE),
        ({b"ask": b"1", b"amount": b"3", b"type": b"quote"}, Kind.QUOTE),
        ({b"state": b"halted"}, Kind.QUOTE),
    ],
)
def test_what_an_entry_is_follows_from_what_it_has(fields: dict[bytes, bytes], kind: Kind):
    found = tick({b"symbol": b"X", **fields})
    assert found.kind is kind
    assert (found.price is None) == (kind is Kind.QUOTE)
    assert (found.amount is None) == (kind is not Kind.TRADE)


def test_an_upstream_can_halt_a_symbol_and_let_it_go_on():
    assert tick({b"symbol": b"X", b"state": b"halted"}).state == "halted"
    assert tick({b"symbol": b"X", b"state": b"live", b"price": b"1"}).state == "live"
    assert tick(WHOLE).state is None


def test_an_exponent_becomes_digits():
    assert read_tick({b"symbol": b"SHIB", b"price": b"6.38e-06"}, 1, 0).price == "0.00000638"


def test_a_price_may_be_negative_as_spreads_and_oil_have_been():
    assert read_tick({b"symbol": b"CL", b"price": b"-37.63"}, 1, 0).price == "-37.63"


@pytest.mark.parametrize("absent", [b"", b"None", b"null", b"nan", b"NaN"])
def test_the_usual_words_for_nothing_count_as_absent(absent: bytes):
    optional = dict.fromkeys((b"ts", b"bid", b"ask", b"amount", b"side", b"venue", b"id", b"state"), absent)
    expected = Tick("X", Kind.PRICE, "1", 5, 5_000_000, 5 << 20)
    assert read_tick({b"symbol": b"X", b"price": b"1", **optional}, 5, 0) == expected


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
        ({b"state": b"stale"}, Refusal.BAD_STATE, "state"),
        ({b"price": None, b"amount": None, b"bid": None, b"ask": None}, Refusal.MISSING, "price"),
    ],
)
def test_a_bad_entry_is_refused_by_field_and_reason(
    changes: dict[bytes, bytes | None], refusal: Refusal, field: str
) -> None:
    fields = {name: value for name, value in {**WHOLE, **changes}.items() if value is not None}
    with pytest.raises(UpstreamError) as caught:
        tick(fields)
    assert (caught.value.refusal, caught.value.field) == (refusal, field)


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


def test_an_entry_of_several_items_is_one_rank_and_a_bad_one_loses_nothing_else():
    items = [{"s": "X", "p": 1}, {"s": "Y", "p": "cheap", "price": "cheap"}, 5, {"s": "Z", "p": "64000.10", "q": 2}]
    entry = StreamEntry("5-1", {b"data": json.dumps(items).encode()})
    ticks, refused = read_ticks([entry, StreamEntry("6-0", {b"data": b"{"})])
    assert [(tick.symbol, tick.kind, tick.price, tick.rank) for tick in ticks] == [
        ("X", Kind.PRICE, "1", 5 << 20 | 1),
        ("Z", Kind.TRADE, "64000.10", 5 << 20 | 1),
    ]
    assert [(entry.id, error.refusal, error.field) for entry, error in refused] == [
        ("5-1", Refusal.BAD_DECIMAL, "price"),
        ("5-1", Refusal.MISSING, "symbol"),
        ("6-0", Refusal.BAD_PAYLOAD, "data"),
    ]
    assert refused[0][0].fields == {b"symbol": b"Y", b"price": b"cheap"}


def test_what_holds_neither_price_nor_quote_is_no_fault():
    bar = {b"topic": b"data.bars.X", b"payload": b'{"type":"Bar"}'}
    assert read_ticks([StreamEntry("5-1", bar)]) == ([], [])


def test_symbols_get_the_names_that_they_have_here():
    entry = StreamEntry("5-1", {b"symbol": b"XBT", b"price": b"1", b"venue": b"KRAKEN"})
    ((found,), _) = read_ticks([entry], SymbolNames("{venue}:{symbol}", {"XBT": "BTC"}))
    assert found.symbol == "KRAKEN:BTC"


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
