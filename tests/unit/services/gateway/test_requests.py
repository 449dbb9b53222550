"""Arguments are read with suspicion: the right ones pass, every other one is told what was expected."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.socketio.happenings import EventReceived
from protocol.socketio.packets import Value
from services.gateway.client import Client
from services.gateway.payloads import Payload
from services.gateway.requests import Request, RequestError, check_symbol, shown_symbol
from shared.names import error_codes
from shared.names.error_codes import ErrorCode

KNOWN = frozenset({"deliver", "max_hz"})


def request(*args: Value, name: str | float = "subscribe:price", ack_id: int | None = None) -> Request:
    received = EventReceived("/", name, args, ack_id)
    return Request(cast("Client", None), received, lambda _error: None)


class Recorder:
    """A client that notes what it is told."""

    def __init__(self) -> None:
        self.acks: list[Payload] = []
        self.events: list[tuple[str, Payload]] = []

    def acknowledge(self, _received: EventReceived, payload: Payload) -> None:
        self.acks.append(payload)

    def emit(self, _namespace: str, event: str, payload: Payload) -> None:
        self.events.append((str(event), payload))


def recorded(ack_id: int | None) -> tuple[Request, Recorder, list[ErrorCode]]:
    recorder, counted = Recorder(), list[ErrorCode]()
    received = EventReceived("/", "subscribe:price", (), ack_id)
    return Request(cast("Client", recorder), received, counted.append), recorder, counted


def expect(error: ErrorCode, call: Any, *args: Any) -> Payload:
    with pytest.raises(RequestError) as caught:
        call(*args)
    assert caught.value.error is error
    assert caught.value.payload["code"] == error.code
    return caught.value.payload


def test_an_argument_that_is_not_there_is_none() -> None:
    assert [request("a").argument(index) for index in (0, 1)] == ["a", None]


@pytest.mark.parametrize("value", [None, 1, True, b"x", [], {}])
def test_a_text_that_is_none_is_refused_by_its_name(value: Value) -> None:
    assert expect(error_codes.BAD_ARGUMENT, request(value).text, 0, "token")["field"] == "token"


def test_options_may_be_left_out() -> None:
    assert request("a").options(1, KNOWN) == {}
    assert request("a", None).options(1, KNOWN) == {}
    assert request("a", {"max_hz": 1}).options(1, KNOWN) == {"max_hz": 1}


@pytest.mark.parametrize("value", ["batch", 1, [], b"x"])
def test_options_that_are_no_object_are_refused(value: Value) -> None:
    assert expect(error_codes.BAD_ARGUMENT, request("a", value).options, 1, KNOWN)["field"] == "opts"


def test_an_unknown_option_is_named_and_cut_short() -> None:
    payload = expect(error_codes.BAD_ARGUMENT, request("a", {"x" * 1000: 1}).options, 1, KNOWN)
    assert payload["field"] == "x" * 64
    assert payload["expected"] == "one of deliver, max_hz"


def test_one_symbol_and_many_are_told_apart() -> None:
    assert request("A").symbols(3) == (["A"], False)
    assert request(["A"]).symbols(3) == (["A"], True)
    assert request(["A", 5, None]).symbols(3) == (["A", 5, None], True)


@pytest.mark.parametrize("value", [None, 1, {}, [], b"A", True])
def test_what_is_neither_is_refused(value: Value) -> None:
    assert expect(error_codes.BAD_ARGUMENT, request(value).symbols, 3)["field"] == "symbol"


def test_too_many_symbols_are_refused_with_the_limit() -> None:
    payload = expect(error_codes.TOO_MANY_ITEMS, request(["A"] * 4).symbols, 3)
    assert (payload["limit"], payload["actual"]) == (3, 4)


@given(st.text(alphabet=st.sampled_from("AZaz09._:/-"), min_size=1, max_size=32))
def test_every_documented_symbol_passes(symbol: str) -> None:
    assert check_symbol(symbol) == symbol


@pytest.mark.parametrize("value", ["", "x" * 33, "A B", "Ä", "A\n", "a*b", None, 5, ["A"]])
def test_what_is_no_symbol_is_refused(value: Value) -> None:
    expect(error_codes.INVALID_SYMBOL, check_symbol, value)


def test_a_refused_item_is_echoed_cut_short_or_not_at_all() -> None:
    assert shown_symbol("x" * 1000) == "x" * 64
    assert shown_symbol({"a": 1}) is None


def test_the_event_s_name_is_text_and_cut_short() -> None:
    assert request(name="x" * 1000).event == "x" * 64
    assert request(name=5).event == "5"


def test_an_ack_is_answered_and_not_told_twice() -> None:
    asked, recorder, counted = recorded(ack_id=0)
    asked.succeed({"symbol": "A"})
    asked.fail(RequestError(error_codes.INVALID_SYMBOL))
    assert recorder.acks[0] == {"ok": True, "symbol": "A"}
    assert recorder.acks[1] == {"ok": False, "error": {"code": 201, "message": "Invalid symbol"}}
    assert recorder.events == []
    assert counted == [error_codes.INVALID_SYMBOL]


def test_without_an_ack_a_failure_is_an_error_event() -> None:
    told, recorder, counted = recorded(ack_id=None)
    told.fail(RequestError(error_codes.INVALID_SYMBOL))
    assert recorder.events == [("error", {"code": 201, "message": "Invalid symbol", "event": "subscribe:price"})]
    assert counted == [error_codes.INVALID_SYMBOL]


def test_items_are_answered_together_or_each_failed_one_by_an_error_event() -> None:
    results: list[Payload] = [
        {"symbol": "A", "ok": True},
        {"symbol": "b b", "ok": False, "error": RequestError(error_codes.INVALID_SYMBOL).payload},
    ]
    asked, recorder, _ = recorded(ack_id=3)
    asked.answer_items(results)
    assert recorder.acks == [{"ok": True, "results": results}]
    told, recorder, _ = recorded(ack_id=None)
    told.answer_items(results)
    assert [payload["symbol"] for _, payload in recorder.events] == ["b b"]
