"""The walk over received values and the typing of packets, apart from any parser."""

import pytest

from protocol.errors import PeerError, ViolationCode
from protocol.socketio.incoming import (
    ABSENT,
    MAX_ACK_ID,
    Inspection,
    build_message,
    build_packet,
    check_event_name,
    check_namespace,
)
from protocol.socketio.packets import RESERVED_EVENTS, Ack, Connect, ConnectError, Disconnect, Event, Value
from protocol.socketio.parser import Limits, PacketType
from tests.support.shown import shown

LIMITS = Limits()


def placeholder(num: object) -> dict[str, object]:
    return {"_placeholder": True, "num": num}


def test_the_walk_changes_nothing_but_absent_values() -> None:
    data: list[object] = ["x", [1, {"a": None}], 2.5, True]
    assert Inspection(LIMITS).check_array(data) is data
    assert data == ["x", [1, {"a": None}], 2.5, True]
    assert Inspection(LIMITS).check_array([ABSENT, {"a": ABSENT, "b": [ABSENT]}]) == [None, {"b": [None]}]


def test_slots_tell_where_each_attachment_belongs_by_number() -> None:
    inner: dict[str, object] = {"k": placeholder(0)}
    data = ["x", placeholder(1), inner]
    inspection = Inspection(LIMITS, attachments=2)
    inspection.check_array(data)
    (first, first_key), (second, second_key) = inspection.slots()
    assert (first is inner, first_key) == (True, "k")
    assert (second is data, second_key) == (True, 1)


def test_an_attachment_without_a_placeholder_is_refused() -> None:
    inspection = Inspection(LIMITS, attachments=2)
    inspection.check_array([placeholder(1)])
    with pytest.raises(PeerError) as caught:
        inspection.slots()
    assert caught.value.code is ViolationCode.BAD_PLACEHOLDER


@pytest.mark.parametrize("value", [object(), {1}, (1,), 1j, bytearray(b"x")], ids=shown)
def test_kinds_no_parser_makes_are_refused(value: object) -> None:
    with pytest.raises(PeerError) as caught:
        Inspection(LIMITS).check_array([value])
    assert caught.value.code is ViolationCode.UNSUPPORTED_VALUE


def test_errors_tell_the_limit() -> None:
    with pytest.raises(PeerError) as caught:
        Inspection(Limits(max_array=2)).check_array([1, 2, 3])
    assert (caught.value.limit, caught.value.actual) == (2, 3)


def test_elements_are_counted_over_all_containers_of_a_packet() -> None:
    inspection = Inspection(Limits(max_elements=4))
    inspection.check_array([[1], {"a": 1}])
    with pytest.raises(PeerError) as caught:
        inspection.check_array([1])
    assert (caught.value.code, caught.value.actual) == (ViolationCode.TOO_MANY_ELEMENTS, 5)


@pytest.mark.parametrize("namespace", ["/", "/a", "/" + "x" * 127])
def test_a_proper_namespace_is_returned(namespace: str) -> None:
    assert check_namespace(namespace, LIMITS) == namespace


@pytest.mark.parametrize("namespace", ["", "a", "/a,b", "/\ud800", "/" + "x" * 128], ids=ascii)
def test_an_improper_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(PeerError) as caught:
        check_namespace(namespace, LIMITS)
    assert caught.value.code is ViolationCode.BAD_NAMESPACE


@pytest.mark.parametrize("name", ["x", "", 0, 1.5])
def test_names_are_text_or_numbers(name: Value) -> None:
    assert check_event_name([name]) == name


@pytest.mark.parametrize("data", [[], [None], [True], [[]], [b"x"]])
def test_other_names_are_refused(data: list[Value]) -> None:
    with pytest.raises(PeerError) as caught:
        check_event_name(data)
    assert caught.value.code is ViolationCode.BAD_EVENT_NAME


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_names_that_mean_something_to_libraries_are_refused(name: str) -> None:
    with pytest.raises(PeerError) as caught:
        check_event_name([name])
    assert caught.value.code is ViolationCode.RESERVED_EVENT


def test_every_type_has_its_packet() -> None:
    built = [
        build_packet(PacketType.CONNECT, "/", None, ABSENT, LIMITS),
        build_packet(PacketType.CONNECT, "/", None, {"a": 1}, LIMITS),
        build_packet(PacketType.DISCONNECT, "/n", None, ABSENT, LIMITS),
        build_packet(PacketType.EVENT, "/", MAX_ACK_ID, ["x", 1], LIMITS),
        build_packet(PacketType.ACK, "/", 0, [], LIMITS),
        build_packet(PacketType.CONNECT_ERROR, "/", None, "no", LIMITS),
        build_packet(PacketType.CONNECT_ERROR, "/", None, {}, LIMITS),
    ]
    assert built == [
        Connect(),
        Connect("/", {"a": 1}),
        Disconnect("/n"),
        Event("x", (1,), "/", MAX_ACK_ID),
        Ack(0),
        ConnectError("no"),
        ConnectError({}),
    ]


def test_an_error_text_is_held_to_the_length_of_a_string() -> None:
    with pytest.raises(PeerError):
        build_packet(PacketType.CONNECT_ERROR, "/", None, "xxx", Limits(max_string=2))


def test_an_ack_needs_an_id() -> None:
    with pytest.raises(PeerError) as caught:
        build_message(PacketType.ACK, "/", None, [])
    assert caught.value.code is ViolationCode.BAD_ACK_ID
