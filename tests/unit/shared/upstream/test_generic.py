"""Hand-written publishers: flat, JSON, MessagePack, arrays, maps, envelopes."""

import json

import msgspec
import pytest

from shared.upstream import Refusal, UpstreamError, unwrap
from shared.upstream.payload import MAX_DEPTH, MAX_ITEMS

BTC = {b"symbol": b"BTC-USDT", b"price": b"64000.10"}
ETH = {b"symbol": b"ETH-USDT", b"price": b"3000"}


def of(text: str, field: str = "data") -> list[dict[bytes, bytes]]:
    return [dict(item) for item in unwrap({field.encode(): text.encode()})]


def refused(text: str) -> tuple[Refusal, str, int | None]:
    with pytest.raises(UpstreamError) as caught:
        of(text)
    return caught.value.refusal, caught.value.field, caught.value.limit


@pytest.mark.parametrize("field", ["data", "payload", "json"])
def test_one_field_may_hold_all_the_others(field: str) -> None:
    assert of('{"symbol": "BTC-USDT", "price": 64000.10}', field) == [BTC]


def test_messagepack_says_the_same() -> None:
    packed = msgspec.msgpack.encode([{"s": "BTC-USDT", "p": "64000.10"}, {"sym": "ETH-USDT", "px": 3000}])
    assert list(unwrap({b"payload": packed})) == [BTC, ETH]


def test_an_array_says_several_things_in_order_and_a_senseless_one_is_not_swallowed() -> None:
    assert of('[{"s": "BTC-USDT", "p": 64000.10}, 5, "x", null, {"s": "ETH-USDT", "p": 3000}]') == [
        BTC,
        {},
        {},
        {},
        ETH,
    ]


def test_a_map_of_symbols_to_prices() -> None:
    assert of('{"BTC-USDT": 64000.10, "ETH-USDT": "3000"}') == [BTC, ETH]
    assert of('{"T": 20.5, "E": 7}') == [{b"symbol": b"T", b"price": b"20.5"}, {b"symbol": b"E", b"price": b"7"}]


@pytest.mark.parametrize(
    "text", ['{"price": 1, "amount": 2}', '{"p": 1, "q": 2}', '{"BTC": "x"}', '{"BTC": [1]}', '{"B C": 1}', "{}"]
)
def test_an_object_without_a_symbol_is_no_map_of_prices(text: str) -> None:
    (item,) = of(text)
    assert b"symbol" not in item


@pytest.mark.parametrize(
    "text",
    [
        '{"stream": "btcusdt@trade", "data": {"s": "BTC-USDT", "p": "64000.10"}}',
        '{"channel": "trade", "type": "update", "data": [{"symbol": "BTC-USDT", "price": 64000.10}]}',
        '{"arg": {"channel": "trades", "instId": "X"}, "data": [{"instId": "BTC-USDT", "px": "64000.10"}]}',
        '[{"payload": [{"s": "BTC-USDT", "p": "64000.10"}]}]',
    ],
)
def test_envelopes_are_opened(text: str) -> None:
    assert of(text) == [BTC]


def test_frames_of_binance_have_their_own_reader() -> None:
    frame = {"e": "aggTrade", "E": 5, "s": "BNBBTC", "a": 12345, "p": "0.001", "q": "100", "T": 4, "m": True}
    trade = {
        b"symbol": b"BNBBTC",
        b"price": b"0.001",
        b"amount": b"100",
        b"id": b"12345",
        b"ts": b"4",
        b"side": b"sell",
    }
    assert of(json.dumps({"stream": "bnbbtc@aggTrade", "data": frame})) == [trade]
    assert of(json.dumps([{**frame, "e": "kline", "k": {}}, frame])) == [trade]


def test_flat_fields_come_before_a_payload() -> None:
    assert list(unwrap({b"s": b"BTC-USDT", b"p": b"64000.10", b"data": b"{"})) == [BTC]


def test_an_entry_may_hold_so_many_and_no_more() -> None:
    item = {"s": "X", "p": 1}
    assert len(of(json.dumps([item] * MAX_ITEMS))) == MAX_ITEMS
    assert refused(json.dumps([item] * (MAX_ITEMS + 1))) == (Refusal.TOO_MANY_ITEMS, "data", MAX_ITEMS)
    many = {f"S{number}": number for number in range(MAX_ITEMS + 1)}
    assert refused(json.dumps(many)) == (Refusal.TOO_MANY_ITEMS, "data", MAX_ITEMS)
    assert refused(json.dumps([0] * (MAX_ITEMS + 1))) == (Refusal.TOO_MANY_ITEMS, "data", MAX_ITEMS)


def test_so_many_envelopes_and_no_more() -> None:
    item = '{"s": "BTC-USDT", "p": 64000.10}'
    assert of("[" * (MAX_DEPTH - 1) + item + "]" * (MAX_DEPTH - 1)) == [BTC]
    assert refused("[" * MAX_DEPTH + item + "]" * MAX_DEPTH) == (Refusal.TOO_DEEP, "data", MAX_DEPTH)


def test_an_entry_that_says_nothing_known_comes_for_its_reader_to_refuse() -> None:
    assert list(unwrap({})) == [{}]
    assert list(unwrap({b"mood": b"fine"})) == [{}]
