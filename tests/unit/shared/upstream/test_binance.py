import pytest

from shared.upstream.binance import is_frame, unwrap

TRADE = {b"e": b"trade", b"E": b"1763800000100", b"T": b"1763800000000", b"s": b"BNBBTC", b"p": b"0.001", b"q": b"100"}


def test_a_trade_of_either_kind_has_the_trade_s_time_and_the_taker_s_side() -> None:
    expected = {b"symbol": b"BNBBTC", b"price": b"0.001", b"amount": b"100", b"ts": b"1763800000000", b"side": b"sell"}
    orders = {b"b": b"88", b"a": b"50"}  # order ids, which older trades have
    assert unwrap({**TRADE, **orders, b"t": b"12345", b"m": b"true"}) == ({**expected, b"id": b"12345"},)
    aggregate = {**TRADE, b"e": b"aggTrade", b"a": b"26129", b"m": b"true"}
    assert unwrap(aggregate) == ({**expected, b"id": b"26129"},)
    assert unwrap({**TRADE, b"m": b"false"})[0][b"side"] == b"buy"


def test_a_book_ticker_is_a_quote_with_or_without_its_type() -> None:
    quote = {b"u": b"400900217", b"s": b"BNBUSDT", b"b": b"25.35", b"B": b"31.21", b"a": b"25.36", b"A": b"40.66"}
    expected = {b"symbol": b"BNBUSDT", b"bid": b"25.35", b"bid_size": b"31.21", b"ask": b"25.36", b"ask_size": b"40.66"}
    assert is_frame(quote)
    assert unwrap(quote) == (expected,)
    assert unwrap({**quote, b"e": b"bookTicker", b"E": b"1763800000100"}) == ({**expected, b"ts": b"1763800000100"},)


def test_a_ticker_has_a_last_price_and_no_amount() -> None:
    ticker = {b"e": b"24hrTicker", b"E": b"5", b"s": b"BNBBTC", b"p": b"-0.0015", b"c": b"0.0025", b"Q": b"10"}
    day = {b"b": b"0.0024", b"B": b"10", b"a": b"0.0026", b"A": b"100", b"v": b"10000", b"q": b"18"}
    (found,) = unwrap({**ticker, **day})
    assert (found[b"price"], found[b"bid"], found[b"ask"], found[b"ts"]) == (b"0.0025", b"0.0024", b"0.0026", b"5")
    assert b"amount" not in found


@pytest.mark.parametrize("event", [b"kline", b"depthUpdate", b"markPriceUpdate", b"forceOrder"])
def test_any_other_frame_says_nothing(event: bytes) -> None:
    assert unwrap({**TRADE, b"e": event}) == ()
