"""Every name that a field may have, and what the short ones mean beside each other."""

import pytest

from shared.upstream.aliases import CANONICAL, FOREIGN, is_number, rename

TABLE = {
    "symbol": ["symbol", "s", "S", "sym", "instId", "product_id", "pair"],
    "price": ["price", "p", "px", "last", "c"],
    "amount": ["amount", "size", "qty", "q", "sz", "volume", "v"],
    "id": ["id", "trade_id", "tradeId", "t", "a"],
    "ts": ["ts", "timestamp", "time", "T", "E", "ts_event"],
}
VALUES = {"symbol": b"BTC-USDT", "price": b"64000.10", "amount": b"0.5", "id": b"42", "ts": b"1763800000000"}


def renamed(**fields: str) -> dict[str, str]:
    found = rename({name.encode(): value.encode() for name, value in fields.items()})
    return {name.decode(): value.decode() for name, value in found.items()}


@pytest.mark.parametrize(("field", "name"), [(field, name) for field, names in TABLE.items() for name in names])
def test_each_name_of_the_table_is_understood(field: str, name: str) -> None:
    assert rename({name.encode(): VALUES[field]}) == {field.encode(): VALUES[field]}


@pytest.mark.parametrize(
    ("name", "value", "side"),
    [
        ("side", "buy", "buy"),
        ("S", "SELL", "sell"),
        ("S", "Buy", "buy"),
        ("m", "true", "sell"),
        ("m", "False", "buy"),
        ("aggressor_side", "BUYER", "buy"),
        ("aggressor_side", "SELLER", "sell"),
    ],
)
def test_a_side_has_many_names_and_a_maker_s_is_inverted(name: str, value: str, side: str) -> None:
    assert renamed(symbol="X", **{name: value}) == {"symbol": "X", "side": side}


def test_a_canonical_name_comes_before_every_alias() -> None:
    for field, names in TABLE.items():
        both = {names[0]: VALUES[field].decode(), **dict.fromkeys(names[1:], "1")}
        assert renamed(**both)[field] == VALUES[field].decode()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"S": "AAPL", "p": "126.55", "s": "1", "t": "2021-02-22T15:51:44.208Z", "T": "t"},
            {"symbol": "AAPL", "price": "126.55", "amount": "1", "ts": "2021-02-22T15:51:44.208Z"},
            id="alpaca",
        ),
        pytest.param(
            {"sym": "MSFT", "p": "114.125", "s": "100", "t": "1536036818784", "q": "3681328"},
            {"symbol": "MSFT", "price": "114.125", "amount": "100", "ts": "1536036818784"},
            id="polygon",
        ),
        pytest.param(
            {"s": "BINANCE:BTCUSDT", "p": "7296.89", "t": "1575526691134", "v": "0.011467"},
            {"symbol": "BINANCE:BTCUSDT", "price": "7296.89", "amount": "0.011467", "ts": "1575526691134"},
            id="finnhub",
        ),
        pytest.param(
            {"T": "1672304486865", "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "16578.50", "t": "7"},
            {
                "symbol": "BTCUSDT",
                "price": "16578.50",
                "amount": "0.001",
                "side": "buy",
                "ts": "1672304486865",
                "id": "7",
            },
            id="bybit",
        ),
        pytest.param(
            {"instId": "BTC-USDT", "tradeId": "1", "px": "42219.9", "sz": "0.1", "side": "buy", "ts": "1630048897897"},
            {
                "symbol": "BTC-USDT",
                "price": "42219.9",
                "amount": "0.1",
                "side": "buy",
                "ts": "1630048897897",
                "id": "1",
            },
            id="okx",
        ),
        pytest.param(
            {"symbol": "BTC/USD", "last": "64000.1", "bid": "64000.0", "volume": "1234.5", "timestamp": "2025-11-22"},
            {"symbol": "BTC/USD", "price": "64000.1", "bid": "64000.0", "ts": "2025-11-22"},
            id="a ticker's volume is a day's and no trade's",
        ),
        pytest.param(
            {
                "id": "9",
                "timestamp": "1763800000000",
                "symbol": "BTC/USDT",
                "side": "sell",
                "price": "1",
                "amount": "2",
            },
            {"id": "9", "ts": "1763800000000", "symbol": "BTC/USDT", "side": "sell", "price": "1", "amount": "2"},
            id="ccxt",
        ),
        pytest.param(
            {"s": "0700", "p": "500"},
            {"symbol": "0700", "price": "500"},
            id="a symbol may be a number if nothing else is",
        ),
        pytest.param(
            {"symbol": "X", "price": "cheap", "p": "1"},
            {"symbol": "X", "price": "cheap"},
            id="a bad value stays, to be refused",
        ),
        pytest.param({"pair": "X", "last": "cheap"}, {"symbol": "X", "price": "cheap"}, id="by its long name too"),
        pytest.param({"symbol": "X", "mood": "fine"}, {"symbol": "X"}, id="unknown"),
    ],
)
def test_what_publishers_really_send(fields: dict[str, str], expected: dict[str, str]) -> None:
    assert renamed(**fields) == expected


@pytest.mark.parametrize("text", ["1", "-1.5", "+.5", "5.", "6.38e-06", "1E+3"])
def test_what_is_a_number(text: str) -> None:
    assert is_number(text.encode())


@pytest.mark.parametrize("text", ["", ".", "-", "1e", "0x1", "1,5", "NaN", "1 ", "--1", "9" * 65_000 + "x"])
def test_what_is_none_and_is_told_so_at_once(text: str) -> None:
    assert not is_number(text.encode())


def test_no_canonical_name_is_foreign() -> None:
    assert FOREIGN.isdisjoint(CANONICAL)
