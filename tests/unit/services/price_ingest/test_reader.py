"""Entries of source and forward streams as ticks."""

import pytest

from services.price_ingest.normalise import Kind, Tick
from services.price_ingest.reader import FORWARD_FIELD, Reader, encode_forward
from shared.bus.entries import StreamEntry
from shared.names import redis_keys
from shared.upstream import Refusal, SymbolNames
from shared.upstream.sources import Holds, Source

PRICE = {b"symbol": b"X", b"price": b"1"}


def test_entries_of_a_source_are_read_with_its_kind_and_the_names_here():
    reader = Reader(SymbolNames("{symbol}", {"X": "Y"}))
    reader.learn([Source("binance", Holds.MIXED)])
    reading = reader.read("binance", [StreamEntry("5-0", PRICE), StreamEntry("6-0", {b"symbol": b"X"})])
    assert (reading.holds, reading.entries) == (Holds.MIXED, 2)
    assert [tick.symbol for tick in reading.ticks] == ["Y"]
    ((entry, error),) = reading.refused
    assert (entry.id, error.refusal) == ("6-0", Refusal.MISSING)


@pytest.mark.parametrize(
    ("stream", "keeps"), [(redis_keys.FEED_PRICES, True), (redis_keys.FEED_TRADES, False), ("binance", True)]
)
def test_refused_trades_are_the_trade_notifiers_to_keep(stream: str, keeps: bool):  # noqa: FBT001 - a parameter
    reader = Reader(None)
    reader.learn([Source("binance", Holds.MIXED)])
    assert reader.read(stream, [StreamEntry("5-0", {})]).keeps_refused is keeps


def test_prices_and_quotes_alone_are_nobody_elses_to_read():
    reader = Reader(None)
    reader.learn([Source("binance", Holds.MIXED), Source("ticker-x", Holds.QUOTES)])
    streams = (redis_keys.FEED_PRICES, "ticker-x", redis_keys.FEED_TRADES, "binance", redis_keys.price_forward(0), "?")
    assert [stream for stream in streams if reader.reads_alone(stream)] == [redis_keys.FEED_PRICES, "ticker-x"]


def test_a_forwarded_tick_keeps_its_time_its_rank_and_all_else():
    ticks = [
        Tick("X", Kind.TRADE, "1.50", 5, 5_000_001, 7 << 20, "42", amount="2", side="sell", venue="V"),
        Tick("X", Kind.QUOTE, None, 5, 5_000_001, 7 << 20 | 1, bid="1", ask="2", state="halted"),
    ]
    entry = StreamEntry("9-0", {FORWARD_FIELD: encode_forward(ticks)})
    reading = Reader(None).read(redis_keys.price_forward(4), [entry, entry])
    assert reading.ticks == ticks * 2
    assert reading.ticks[0].kind is Kind.TRADE
    assert reading.holds is None


def test_a_damaged_forward_is_refused_and_the_others_are_read():
    good = Tick("X", Kind.PRICE, "1.50", 5, 5_000_001, 7)
    no_text = b"\x91\x81\xa6symbol\xa1\xff"
    damaged = [{FORWARD_FIELD: raw} for raw in (b"", b"\xc1", b"\x91\x80", no_text)]
    entries = [StreamEntry("8-0", fields) for fields in damaged]
    entries.append(StreamEntry("9-0", {FORWARD_FIELD: encode_forward([good])}))
    reading = Reader(None).read(redis_keys.price_forward(4), entries)
    assert reading.ticks == [good]
    assert [error.refusal for _, error in reading.refused] == [Refusal.BAD_PAYLOAD] * len(damaged)
    assert reading.keeps_refused
