"""Payloads have the documented shapes, and decimals the upstream's own digits."""

import json
from decimal import Decimal

import msgspec
import pytest

from protocol.socketio.packets import Value
from services.gateway.encoding import Encoder
from services.gateway.payloads import Payload, Payloads, batch_extras, error_payload, identity_payload
from shared.identity import Identity
from shared.messages import Candle, Price, Trade
from shared.names import error_codes
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import PARSERS

FULL = Price("64000.10", 1_763_800_000_000, 9, 2, "63999.90", "64000.20", "0.50", "buy", "binance")
BARE = Price("0.00000001", 1, 1)
TRADE = Trade("42", "BTC-USDT", "0.50", "64000.10", "sell", 7)


def json_of(payload: Value) -> str:
    frame = Encoder(PARSERS).event(ServerEvent.ERROR, payload).frame(0)
    return frame[frame.index(b"{") : -1].decode()


def test_json_has_the_upstream_s_digits() -> None:
    payload = Payloads("number").price_update("BTC-USDT", FULL, 2, snapshot=False)
    assert json_of(payload) == (
        '{"symbol":"BTC-USDT","price":64000.10,"ts":1763800000000,"seq":9,"n":2,'
        '"bid":63999.90,"ask":64000.20,"amount":0.50,"side":"buy","venue":"binance"}'
    )


@pytest.mark.parametrize(
    "digits", ["0.00000001", "0.1", "100", "64000.10", "123456789012345678901234567890.123456789", "0", "-1.50"]
)
def test_any_number_of_digits_survives(digits: str) -> None:
    written = json_of({"price": Payloads("number").decimal(digits)})
    assert json.loads(written, parse_float=Decimal, parse_int=Decimal)["price"].as_tuple() == Decimal(digits).as_tuple()
    assert json_of({"price": Payloads("string").decimal(digits)}) == f'{{"price":"{digits}"}}'


def test_the_string_mode_writes_every_decimal_as_a_string() -> None:
    payloads = Payloads("string")
    update = payloads.price_update("A", FULL, 2, snapshot=False)
    assert {name: update[name] for name in ("price", "bid", "ask", "amount")} == {
        "price": "64000.10",
        "bid": "63999.90",
        "ask": "64000.20",
        "amount": "0.50",
    }
    assert payloads.price_pair("A", FULL) == ["A", "64000.10"]
    assert (payloads.trade(TRADE)["price"], payloads.trade(TRADE)["amount"]) == ("64000.10", "0.50")


def test_what_the_upstream_did_not_say_is_left_out() -> None:
    assert set(Payloads("number").price_update("A", BARE, 1, snapshot=False)) == {"symbol", "price", "ts", "seq", "n"}
    assert set(Payloads("number").trade(TRADE)) == {"id", "symbol", "amount", "price", "side", "ts"}


def test_a_snapshot_says_so() -> None:
    assert Payloads("number").price_update("A", BARE, 0, snapshot=True)["snap"] == 1
    assert batch_extras(5, [1], [0], snapshot=True) == {"ts": 5, "seqs": [1], "ns": [0], "snap": 1}
    assert batch_extras(5, [1], [1]) == {"ts": 5, "seqs": [1], "ns": [1]}


def test_the_state_of_the_feed_is_told_where_it_is_not_live_and_in_what_restates() -> None:
    payloads = Payloads("number")
    stale = msgspec.structs.replace(BARE, state="stale", since=77)
    assert payloads.price_update("A", BARE, 0, snapshot=True)["state"] == "live"
    assert "since" not in payloads.price_update("A", BARE, 0, snapshot=True)
    for snapshot in (True, False):
        update = payloads.price_update("A", stale, 1, snapshot=snapshot)
        assert (update["state"], update["since"]) == ("stale", 77)
    assert "states" not in batch_extras(5, [1], [1], ["live"])
    assert batch_extras(5, [1, 1], [1, 1], ["live", "halted"])["states"] == ["live", "halted"]
    assert batch_extras(5, [1], [0], ["live"], snapshot=True)["states"] == ["live"]


def test_a_bar_has_the_documented_fields_and_the_upstream_s_digits() -> None:
    candle = Candle(120_000, "1.10", "3.00", "1.00", "2.50", "7.0", 4, closed=True, rev=9)
    assert json_of(Payloads("number").chart_update("A", "1m", candle)) == (
        '{"symbol":"A","interval":"1m","start":120000,"end":180000,"open":1.10,"high":3.00,"low":1.00,"close":2.50,'
        '"volume":7.0,"trades":4,"closed":true,"rev":9}'
    )
    assert Payloads("string").bar("1h", candle)["close"] == "2.50"


def test_only_a_notification_names_a_user() -> None:
    payloads = Payloads("number")
    trade: Payload = payloads.trade(TRADE)
    assert "user_id" not in trade
    assert payloads.trade_notification(TRADE, "alice") == {**trade, "user_id": "alice"}


def test_errors_and_identities_have_the_documented_shape() -> None:
    assert error_payload(error_codes.RATE_LIMITED, retry_after_ms=5) == {
        "code": 101,
        "message": "Rate limit exceeded",
        "retry_after_ms": 5,
    }
    assert identity_payload(Identity("alice", None, 9)) == {"sub": "alice", "role": None, "exp": 9}
