"""What NautilusTrader really writes, in four set-ups."""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from shared.upstream import Refusal, UpstreamError, parse_trade, read_time_ns, unwrap
from tests.support.recorded_market import recorded

Fields = dict[bytes, bytes]
FIRST_TRADE = {
    b"symbol": b"BTCUSDT",
    b"venue": b"BINANCE",
    b"price": b"61685.99",
    b"amount": b"0.00017",
    b"side": b"sell",
    b"id": b"3735693016",
    b"type": b"trade",
}


def dump() -> Iterator[tuple[str, Fields]]:
    """(set-up, fields)."""
    with gzip.open(recorded("upstream/nautilus-stream-dump.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            fields = {name.encode(): (value or "").encode() for name, value in entry["fields"].items()}
            if "payload_hex" in entry:
                fields[b"payload"] = bytes.fromhex(entry["payload_hex"])
            yield json.dumps(entry["config"]), fields


def test_every_recorded_entry_is_used_but_for_the_bars() -> None:
    found: Counter[str] = Counter()
    for _, fields in dump():
        assert fields[b"type"] == b"", "the header trap"
        found[",".join(item[b"type"].decode() for item in unwrap(fields))] += 1
    assert found == {"trade": 40, "quote": 40, "": 4}


def test_the_four_set_ups_say_the_same_to_the_nanosecond() -> None:
    by_set_up: dict[str, list[Any]] = defaultdict(list)
    for set_up, fields in dump():
        for item in unwrap(fields):
            at = read_time_ns(item, 2**62)
            by_set_up[set_up].append(({**item, b"ts": b""}, at))
    trades, *others = ([item for item in items if item[0][b"type"] == b"trade"] for items in by_set_up.values())
    assert trades[0] == ({**FIRST_TRADE, b"ts": b""}, 1_723_161_601_437_000_000)
    assert len(trades) == 10
    assert others == [trades] * 3
    quotes, *others = ([item for item in items if item[0][b"type"] == b"quote"] for items in by_set_up.values())
    assert quotes[0][0][b"bid"] == b"61685.99"
    assert quotes[0][0][b"ask_size"] == b"2.44816"
    assert quotes[0][1] == 1_723_161_600_001_692_584
    assert others == [quotes] * 3


TICK = {
    "type": "TradeTick",
    "instrument_id": "ES.FUT-2024.XCME",
    "price": "5",
    "size": "1",
    "aggressor_side": "NO_AGGRESSOR",
    "trade_id": "7",
    "ts_event": "1723161601437000001",
}


def entry(payload: object, **more: bytes) -> Fields:
    return {
        b"topic": b"data.trades.X",
        b"payload": json.dumps(payload).encode(),
        **{k.encode(): v for k, v in more.items()},
    }


def test_the_venue_is_what_follows_the_last_dot_and_nobody_may_have_been_the_taker() -> None:
    (item,) = unwrap(entry(TICK))
    trade = parse_trade(item, "1763800000000-0")
    assert (trade.symbol, trade.venue, trade.side, trade.id) == ("ES.FUT-2024", "XCME", None, "7")


@pytest.mark.parametrize("kind", ["Bar", "OrderBookDelta", "OrderFilled", "CurrencyPair"])
def test_other_messages_of_it_say_nothing(kind: str) -> None:
    assert unwrap(entry({**TICK, "type": kind})) == ()


def test_an_instrument_without_a_venue_is_a_symbol() -> None:
    (item,) = unwrap(entry({**TICK, "instrument_id": "BTCUSDT"}))
    assert item[b"symbol"] == b"BTCUSDT"
    assert b"venue" not in item


def test_a_payload_that_cannot_be_read_is_named() -> None:
    with pytest.raises(UpstreamError) as caught:
        unwrap({b"topic": b"data.trades.X", b"payload": b"\x88\xa4type"})
    assert (caught.value.refusal, caught.value.field) == (Refusal.BAD_PAYLOAD, "payload")


def test_somebody_else_s_fields_of_the_same_names_are_read_as_generic() -> None:
    expected = [{b"symbol": b"BTC", b"price": b"1.50", b"type": b"trade"}]
    assert unwrap(entry({"type": "trade", "s": "BTC", "p": "1.50"})) == expected
    assert unwrap(entry([{"type": "trade", "s": "BTC", "p": "1.50"}])) == expected


def test_messagepack_with_an_honest_header_is_read_the_same_way() -> None:
    fields = {b"topic": b"data.trades.X", b"payload": msgspec.msgpack.encode(TICK), b"encoding": b"msgpack"}
    assert unwrap(fields) == unwrap(entry(TICK))
