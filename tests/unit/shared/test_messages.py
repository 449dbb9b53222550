"""What services tell each other."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import (
    VERSION,
    Candle,
    Chart,
    ChartBatch,
    ClusterMetrics,
    DecodeError,
    Price,
    PriceBatch,
    ServiceReport,
    Trade,
    decode_candle,
    decode_chart,
    decode_chart_batch,
    decode_cluster_metrics,
    decode_price,
    decode_price_batch,
    decode_report,
    decode_trade,
    encode,
    encode_json,
)

TEXT = st.text(max_size=20)
DECIMAL = st.decimals(allow_nan=False, allow_infinity=False, places=8).map("{:f}".format)
NUMBER = st.integers(0, 2**62)
MAYBE_DECIMAL = st.none() | DECIMAL
SIDE = st.sampled_from([None, "buy", "sell"])
PRICES = st.builds(
    Price, DECIMAL, NUMBER, NUMBER, NUMBER, MAYBE_DECIMAL, MAYBE_DECIMAL, MAYBE_DECIMAL, SIDE, st.none() | TEXT
)
CANDLES = st.builds(
    Candle, NUMBER, DECIMAL, DECIMAL, DECIMAL, DECIMAL, DECIMAL, st.integers(0, 2**31), st.booleans(), NUMBER
)
CHARTS = st.builds(
    Chart, st.integers(-(2**40), 2**40), st.dictionaries(st.sampled_from(["1s", "1m"]), st.lists(CANDLES, max_size=3))
)
SYMBOL = st.text(min_size=1, max_size=32)
TRADES = st.builds(Trade, TEXT, SYMBOL, DECIMAL, DECIMAL, SIDE, NUMBER, st.none() | TEXT)
REPORT = ServiceReport("gateway", "gateway-1", "0.1.0", 5, 1, True, 9090, 2**40, 0.25, {"x": 1.5}, {"y": 2}, "h:1", 7)  # noqa: FBT003
CLUSTER = ClusterMetrics(1, 2, 3.5, 0.5, 4, {"subscribe:price": 5}, [{"gateway": "a", "ready": True}], [])

DECODERS: list[Callable[[bytes], Any]] = [
    decode_price,
    decode_price_batch,
    decode_trade,
    decode_candle,
    decode_chart,
    decode_chart_batch,
    decode_report,
    decode_cluster_metrics,
]


@given(PRICES)
def test_a_price_arrives_as_it_was(price: Price):
    assert decode_price(encode(price)) == price


@given(st.dictionaries(TEXT, CHARTS, max_size=3), TEXT)
def test_a_chart_batch_carries_charts_that_need_not_be_decoded(charts: dict[str, Chart], epoch: str):
    batch = ChartBatch(VERSION, epoch, 7, {symbol: msgspec.Raw(encode(chart)) for symbol, chart in charts.items()})
    arrived = decode_chart_batch(encode(batch))
    assert arrived.epoch == epoch
    assert {symbol: decode_chart(raw) for symbol, raw in arrived.charts.items()} == charts


@given(CANDLES)
def test_a_candle_is_read_without_the_state_that_follows_it(candle: Candle):
    fields = [getattr(candle, name) for name in Candle.__struct_fields__]
    assert decode_candle(encode([*fields, 1, [2]])) == candle


@given(TRADES)
def test_a_trade_arrives_as_it_was(trade: Trade):
    assert decode_trade(encode(trade)) == trade


@given(st.dictionaries(TEXT, PRICES, max_size=5), TEXT)
def test_a_batch_carries_prices_that_need_not_be_decoded(prices: dict[str, Price], epoch: str):
    raw = {symbol: msgspec.Raw(encode(price)) for symbol, price in prices.items()}
    batch = decode_price_batch(encode(PriceBatch(VERSION, epoch, 5, raw)))
    assert (batch.version, batch.epoch, batch.published) == (VERSION, epoch, 5)
    assert {symbol: decode_price(each) for symbol, each in batch.prices.items()} == prices


def test_reports_and_cluster_figures_are_json_that_people_can_read():
    assert decode_report(encode_json(REPORT)) == REPORT
    assert decode_cluster_metrics(encode_json(CLUSTER)) == CLUSTER
    assert b'"service":"gateway"' in encode_json(REPORT)


def test_a_report_of_a_newer_release_with_more_fields_is_still_read():
    more = encode_json(REPORT).replace(b'{"service"', b'{"colour":"red","service"', 1)
    assert decode_report(more) == REPORT


@pytest.mark.parametrize("decode", DECODERS)
@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_garbage_is_refused_with_the_one_error(decode: Callable[[bytes], Any], garbage: bytes):
    with pytest.raises(DecodeError):
        decode(garbage)


@pytest.mark.parametrize(
    ("decode", "wrong"),
    [
        (decode_price, msgspec.msgpack.encode([1.5, 5, 1])),
        (decode_price, msgspec.msgpack.encode(["1", 5])),
        (decode_price, msgspec.msgpack.encode(["1", "now", 1])),
        (decode_price, msgspec.msgpack.encode(["1", 5, 1, 1, None, None, None, "hold"])),
        (decode_price, encode(Trade("1", "X", "1", "2", None, 5))),
        (decode_trade, encode(Price("1", 5, 1))),
        (decode_price_batch, msgspec.msgpack.encode([VERSION, "e", 5, ["X"]])),
        (decode_price, b"\x93\xa1\x80\x05\x01"),
        (decode_price_batch, b"\x94\x01\xa1e\x05\x81\xa1X" + b"\x91" * 100_000 + b"\xc0"),
        (decode_report, b'{"service": "gateway"}'),
        (decode_report, b'{"x":' + b"[" * 100_000),
        (decode_cluster_metrics, encode_json(REPORT)),
    ],
)
def test_well_formed_bytes_of_another_shape_are_refused_too(decode: Callable[[bytes], Any], wrong: bytes):
    with pytest.raises(DecodeError):
        decode(wrong)
