"""What cryptofeed really writes."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from shared.upstream import parse_trade, read_decimal, read_time_ns, unwrap
from shared.upstream.cryptofeed import is_entry
from tests.support.recorded_market import recorded

Fields = dict[bytes, bytes]


def dump() -> Iterator[tuple[str, str, dict[str, str]]]:
    """(kind of stream, entry id, fields)."""
    with gzip.open(recorded("upstream/cryptofeed-stream-dump.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["type"] == "stream":
                yield entry["key"].partition("-")[0], entry["id"], entry["fields"]


def as_bytes(fields: dict[str, str]) -> Fields:
    return {name.encode(): value.encode() for name, value in fields.items()}


def test_every_recorded_entry_is_a_trade_a_quote_or_none_of_ours() -> None:
    found: Counter[tuple[str, str]] = Counter()
    for kind, _, fields in dump():
        items = unwrap(as_bytes(fields))
        found[kind, ",".join(item[b"type"].decode() for item in items)] += 1
    assert found == {
        ("trades", "trade"): 93,
        ("trades_str", "trade"): 93,
        ("ticker", "quote"): 697,
        ("ticker_str", "quote"): 697,
        ("candles", ""): 69,
        ("book", ""): 30,
    }


def test_recorded_trades_keep_every_digit() -> None:
    for kind, entry_id, fields in dump():
        if kind not in ("trades", "trades_str"):
            continue
        (item,) = unwrap(as_bytes(fields))
        trade = parse_trade(item, entry_id)
        assert (trade.symbol, trade.venue, trade.side) == (fields["symbol"], fields["exchange"], fields["side"])
        assert trade.id == fields["id"]
        assert float(trade.price) == float(fields["price"])
        assert trade.price == (fields["price"] if "e" not in fields["price"] else "0.00000638")
        assert read_time_ns(item, 2**62) == nanoseconds(fields["timestamp"])


def test_recorded_quotes_have_both_sides_and_no_price() -> None:
    for kind, _, fields in dump():
        if kind not in ("ticker", "ticker_str"):
            continue
        (item,) = unwrap(as_bytes(fields))
        assert b"price" not in item
        for side in ("bid", "ask"):
            text = read_decimal(item, side.encode())
            assert text is not None
            assert float(text) == float(fields[side])
            assert "e" not in text
        assert read_time_ns(item, 2**62) == nanoseconds(fields["timestamp"])


def nanoseconds(seconds: str) -> int:
    whole, _, fraction = seconds.partition(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0"))


TRADE = {
    "exchange": "PHEMEX",
    "symbol": "ATOM-USD-PERP",
    "side": "sell",
    "amount": "312.0",
    "price": "6.38e-06",
    "id": "None",
    "type": "None",
    "timestamp": "1625342226.123456",
    "receipt_timestamp": "1625342227.5",
}


def test_a_trade_without_an_id_gets_its_entry_s() -> None:
    (item,) = unwrap(as_bytes(TRADE))
    trade = parse_trade(item, "1763800000000-5")
    assert (trade.id, trade.price, trade.amount, trade.ts) == ("1763800000000-5", "0.00000638", "312.0", 1625342226123)


@pytest.mark.parametrize("gone", ["exchange", "receipt_timestamp"])
def test_what_lacks_its_marks_is_somebody_else_s(gone: str) -> None:
    assert not is_entry(as_bytes({name: value for name, value in TRADE.items() if name != gone}))


@pytest.mark.parametrize(
    "fields", [{"open_interest": "5"}, {"mark_price": "1", "rate": "2"}, {"price": "1", "quantity": "2", "side": "buy"}]
)
def test_other_data_of_it_says_nothing(fields: dict[str, str]) -> None:
    marks = {"exchange": "X", "symbol": "BTC", "timestamp": "1", "receipt_timestamp": "2"}
    assert unwrap(as_bytes({**marks, **fields})) == ()
