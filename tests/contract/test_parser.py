"""One suite over both Socket.IO parsers: what the rest of the gateway may rely on, whichever a client uses."""

import json
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.packets import RESERVED_EVENTS, Ack, Connect, ConnectError, Disconnect, Event, Packet, Value
from protocol.socketio.parser import Hole, Limits, MessageData, Parser
from tests.fuzz import strategies
from tests.support.decoding import decode_all, decode_until_refused
from tests.support.shown import shown

LIMITS = Limits()
JSON = JsonParser(LIMITS)
MSGPACK = MsgpackParser(LIMITS)
PARSERS: tuple[Parser, ...] = (JSON, MSGPACK)
MAKERS: tuple[Callable[[Limits], Parser], ...] = (JsonParser, MsgpackParser)

property_test = settings(deadline=None, max_examples=150, derandomize=True)
each_parser = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
each_maker = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


class Missing:
    """No value at all."""


MISSING = Missing()


def wire(
    parser: Parser, kind: int, data: object = MISSING, *, namespace: str = "/", ack_id: object = MISSING
) -> MessageData:
    """Write a packet without bytes in it, past all checks."""
    if parser.name == "json":
        address = "" if namespace == "/" else f"{namespace},"
        number = "" if ack_id is MISSING else str(ack_id)
        return f"{kind}{address}{number}" + ("" if data is MISSING else json.dumps(data))
    fields = {"type": kind, "nsp": namespace, "data": data, "id": ack_id}
    return bytes(msgpack.packb({key: value for key, value in fields.items() if value is not MISSING}))


def refusal(parser: Parser, message: MessageData) -> PeerError:
    """Return the error that a message is refused with."""
    with pytest.raises(PeerError) as caught:
        parser.decode(message)
    return caught.value


def misuse(parser: Parser, packet: Packet) -> MisuseCode:
    """Return the code that a packet is refused with when it is to be sent."""
    with pytest.raises(UsageError) as caught:
        parser.encode(packet)
    return caught.value.code


# --- packets


@each_parser
@pytest.mark.parametrize(
    "packet",
    [
        Connect(),
        Connect("/custom"),
        Connect("/", {"token": "t"}),
        Disconnect(),
        Disconnect("/custom"),
        Event("x"),
        Event("x", (1, "two", None), "/custom", 0),
        Event("x", ({"a": [b"\x00", {"b": b""}]}, b"\xff"), "/", 2**53 - 1),
        Event(7, (1,)),
        Event(1.5),
        Ack(0),
        Ack(3, ({"ok": True},), "/custom"),
        Ack(4, (b"1", [b"2"])),
        ConnectError({"message": "no", "data": {"code": 1}}, "/x"),
        ConnectError("no"),
    ],
    ids=shown,
)
def test_every_kind_of_packet_comes_back_as_it_was_sent(parser: Parser, packet: Packet) -> None:
    assert decode_all(parser, parser.encode(packet)) == packet


@each_parser
def test_sequences_and_mappings_of_any_kind_arrive_as_lists_and_dicts(parser: Parser) -> None:
    args: tuple[Value, ...] = ((1, (2,)), MappingProxyType({"a": MappingProxyType({})}), range(3))
    assert decode_all(parser, parser.encode(Event("x", args))) == Event("x", ([1, [2]], {"a": {}}, [0, 1, 2]))


@each_parser
def test_names_from_an_enum_are_sent_as_their_text(parser: Parser) -> None:
    class Name(StrEnum):
        TICK = "tick"

    assert decode_all(parser, parser.encode(Event(Name.TICK, (Name.TICK, {Name.TICK: 1})))) == Event(
        "tick", ("tick", {"tick": 1})
    )


@each_parser
def test_a_decimal_arrives_as_the_number_it_is(parser: Parser) -> None:
    args = (Decimal("64000.10"), [Decimal(-7)], {"p": Decimal("1E-8")})
    assert decode_all(parser, parser.encode(Event("x", args))) == Event("x", (64000.10, [-7], {"p": 1e-8}))


@each_parser
@pytest.mark.parametrize("ack_id", [-1, 2**53, 2**70])
def test_an_ack_id_javascript_cannot_count_is_refused_both_ways(parser: Parser, ack_id: int) -> None:
    assert misuse(parser, Event("x", ack_id=ack_id)) is MisuseCode.BAD_ACK_ID
    assert misuse(parser, Ack(ack_id)) is MisuseCode.BAD_ACK_ID
    if ack_id < 2**64:
        code = refusal(parser, wire(parser, 2, ["x"], ack_id=ack_id)).code
        assert code in (ViolationCode.BAD_ACK_ID, ViolationCode.MALFORMED, ViolationCode.BAD_DATA)


@each_parser
def test_an_id_where_it_has_no_meaning_is_ignored(parser: Parser) -> None:
    assert parser.decode(wire(parser, 0, {}, ack_id=1)) == Connect("/", {})
    assert parser.decode(wire(parser, 1, ack_id=1)) == Disconnect()


# --- shapes


@each_parser
@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        (0, [], ViolationCode.BAD_DATA),
        (0, None, ViolationCode.BAD_DATA),
        (0, "token", ViolationCode.BAD_DATA),
        (1, {}, ViolationCode.BAD_DATA),
        (1, "x", ViolationCode.BAD_DATA),
        (2, MISSING, ViolationCode.BAD_DATA),
        (2, None, ViolationCode.BAD_DATA),
        (2, {}, ViolationCode.BAD_DATA),
        (2, "x", ViolationCode.BAD_DATA),
        (2, [], ViolationCode.BAD_EVENT_NAME),
        (2, [None], ViolationCode.BAD_EVENT_NAME),
        (2, [True], ViolationCode.BAD_EVENT_NAME),
        (2, [["x"]], ViolationCode.BAD_EVENT_NAME),
        (2, [{}], ViolationCode.BAD_EVENT_NAME),
        (3, ["x"], ViolationCode.BAD_ACK_ID),
        (4, MISSING, ViolationCode.BAD_DATA),
        (4, [], ViolationCode.BAD_DATA),
        (4, 1, None),
        (5, ["x"], None),
        (7, ["x"], ViolationCode.UNKNOWN_PACKET),
    ],
)
def test_data_of_the_wrong_shape_are_refused(
    parser: Parser, kind: int, data: object, code: ViolationCode | None
) -> None:
    error = refusal(parser, wire(parser, kind, data))
    assert code is None or error.code is code


@each_parser
@pytest.mark.parametrize("data", [MISSING, None, {}, "x", 1])
def test_an_ack_without_an_array_is_refused(parser: Parser, data: object) -> None:
    message = wire(parser, 3, data, ack_id=1)
    # A digit behind the ack id belongs to it in JSON, and nothing is left.
    assert refusal(parser, message).code is ViolationCode.BAD_DATA


@each_parser
@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_reserved_event_names_are_refused_both_ways(parser: Parser, name: str) -> None:
    assert refusal(parser, wire(parser, 2, [name])).code is ViolationCode.RESERVED_EVENT
    assert misuse(parser, Event(name)) is MisuseCode.RESERVED_EVENT
    with pytest.raises(UsageError):
        parser.encode_spliced(name, [])
    with pytest.raises(UsageError):
        parser.encode_around(name, [])


@each_parser
@pytest.mark.parametrize("name", ["error", "__proto__", "constructor", "", "message"])
def test_other_names_are_only_names(parser: Parser, name: str) -> None:
    assert decode_all(parser, parser.encode(Event(name))) == Event(name)


# --- namespaces


@each_parser
@pytest.mark.parametrize("namespace", ["/custom", "/a/b", "/x?token=1", "/ü", "/1"])
def test_a_namespace_is_taken_literally(parser: Parser, namespace: str) -> None:
    assert decode_all(parser, parser.encode(Event("x", (1,), namespace, 5))) == Event("x", (1,), namespace, 5)


@each_parser
@pytest.mark.parametrize("namespace", ["", "custom", "/a,b"])
def test_a_namespace_json_cannot_carry_is_refused_both_ways(parser: Parser, namespace: str) -> None:
    assert misuse(parser, Event("x", (), namespace)) is MisuseCode.BAD_NAMESPACE
    with pytest.raises(UsageError):
        parser.encode_spliced("x", [], namespace)
    refusal(parser, wire(parser, 2, ["x"], namespace=namespace))


@each_maker
def test_a_namespace_may_be_as_long_as_the_limit_and_no_longer(make: Callable[[Limits], Parser]) -> None:
    parser = make(Limits(max_namespace=8))
    assert parser.decode(wire(parser, 0, namespace="/1234567")) == Connect("/1234567")
    error = refusal(parser, wire(parser, 0, namespace="/12345678"))
    assert (error.code, error.limit, error.actual) == (ViolationCode.BAD_NAMESPACE, 8, 9)


# --- limits


def nest(depth: int) -> Value:
    value: Value = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


BOUNDS: list[tuple[Limits, Value, Value, ViolationCode]] = [
    (Limits(max_depth=3), nest(3), nest(4), ViolationCode.TOO_DEEP),
    (Limits(max_array=4), [0] * 4, [0] * 5, ViolationCode.TOO_MANY_ELEMENTS),
    (Limits(max_map=4), {str(n): n for n in range(4)}, {str(n): n for n in range(5)}, ViolationCode.TOO_MANY_ELEMENTS),
    (Limits(max_elements=10), [[0, 1, 2], [0, 1, 2]], [[0, 1, 2], [0, 1, 2, 3]], ViolationCode.TOO_MANY_ELEMENTS),
    (Limits(max_string=4), "€" * 4, "€" * 5, ViolationCode.STRING_TOO_LONG),
    (Limits(max_string=4), {"abcd": 1}, {"abcde": 1}, ViolationCode.STRING_TOO_LONG),
    (Limits(max_string=4), b"abcd", b"abcde", ViolationCode.STRING_TOO_LONG),
]


@each_maker
@pytest.mark.parametrize(("limits", "within", "beyond", "code"), BOUNDS)
def test_what_is_within_a_limit_passes_and_one_more_is_refused(
    make: Callable[[Limits], Parser],
    limits: Limits,
    within: Value,
    beyond: Value,
    code: ViolationCode,
) -> None:
    parser = make(limits)
    assert decode_all(parser, parser.encode(Event("x", (within,)))) == Event("x", (within,))
    with pytest.raises(PeerError) as caught:
        decode_all(parser, parser.encode(Event("x", (beyond,))))
    assert caught.value.code is code


@each_parser
def test_an_auth_object_is_held_to_the_same_limits(parser: Parser) -> None:
    assert parser.decode(wire(parser, 0, {"a": nest(5)})) == Connect("/", {"a": nest(5)})
    assert refusal(parser, wire(parser, 0, {"a": nest(6)})).code is ViolationCode.TOO_DEEP


@each_parser
def test_the_default_depth_is_six_containers_in_an_argument(parser: Parser) -> None:
    assert parser.decode(wire(parser, 2, ["x", nest(6)])) == Event("x", (nest(6),))
    assert refusal(parser, wire(parser, 2, ["x", nest(7)])).code is ViolationCode.TOO_DEEP


@each_parser
def test_nesting_beyond_any_stack_is_refused(parser: Parser) -> None:
    message: MessageData = "2" + "[" * 100_000 if parser.name == "json" else b"\x82\xa4data" + b"\x91" * 100_000
    assert refusal(parser, message).code in (ViolationCode.MALFORMED, ViolationCode.TOO_DEEP)


@each_maker
def test_a_packet_larger_than_the_payload_limit_is_refused_unread(make: Callable[[Limits], Parser]) -> None:
    parser = make(Limits(max_payload=40))
    fill = 40 - len(wire(parser, 2, ["x", ""]))
    assert parser.decode(wire(parser, 2, ["x", "a" * fill])) == Event("x", ("a" * fill,))
    error = refusal(parser, wire(parser, 2, ["x", "a" * (fill + 1)]))
    assert (error.code, error.limit, error.actual) == (ViolationCode.PAYLOAD_TOO_LARGE, 40, 41)


# --- numbers and text


@each_parser
@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, -(2**63), 2**64 - 1, 0.1, -1e308, 5e-324, 1.0])
def test_numbers_in_range_survive(parser: Parser, number: float) -> None:
    assert decode_all(parser, parser.encode(Event("x", (number,)))) == Event("x", (number,))


@each_parser
@pytest.mark.parametrize(
    "number",
    [
        2**64,
        -(2**63) - 1,
        float("nan"),
        float("inf"),
        float("-inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1e400"),
    ],
    ids=shown,
)
def test_numbers_clients_cannot_read_are_not_sent(parser: Parser, number: float) -> None:
    for value in (number, [number], {"a": number}):
        assert misuse(parser, Event("x", (value,))) is MisuseCode.NUMBER_OUT_OF_RANGE
    with pytest.raises(UsageError):
        parser.encode_value(number)


@each_parser
@pytest.mark.parametrize("name", [float("nan"), 2**64, True, None, b"x", ("x",)])
def test_an_event_name_is_text_or_a_finite_number(parser: Parser, name: str) -> None:
    assert misuse(parser, Event(name)) in (MisuseCode.NUMBER_OUT_OF_RANGE, MisuseCode.UNSUPPORTED_VALUE)


@each_parser
@pytest.mark.parametrize(
    "packet",
    [
        Event("x", ("\ud800",)),
        Event("x", ({"\udfff": 1},)),
        Event("\ud800"),
        Event("x", (), "/\ud800"),
        Connect("/", {"a": "\ud800"}),
        ConnectError("\ud800"),
    ],
    ids=ascii,
)
def test_lone_surrogates_are_not_sent(parser: Parser, packet: Packet) -> None:
    assert misuse(parser, packet) is MisuseCode.LONE_SURROGATE


@each_parser
@pytest.mark.parametrize(
    "value", [object(), {1, 2}, {1: 2}, {b"a": 1}, bytearray(b"x"), memoryview(b"x"), 1j, [object()]], ids=shown
)
def test_values_of_other_kinds_are_not_sent(parser: Parser, value: Value) -> None:
    assert misuse(parser, Event("x", (value,))) is MisuseCode.UNSUPPORTED_VALUE


@each_parser
def test_a_value_without_end_is_not_sent(parser: Parser) -> None:
    endless: list[Value] = []
    endless.append(endless)
    assert misuse(parser, Event("x", (endless,))) is MisuseCode.UNSUPPORTED_VALUE
    with pytest.raises(UsageError):
        parser.encode_value(nest(700))


# --- binary


@each_parser
def test_ten_binary_parts_are_sent_and_eleven_are_not(parser: Parser) -> None:
    packet = Event("x", tuple(bytes([n]) for n in range(10)))
    assert decode_all(parser, parser.encode(packet)) == packet
    assert misuse(parser, Event("x", (b"",) * 11)) is MisuseCode.TOO_MANY_ATTACHMENTS


@each_maker
def test_more_binary_parts_than_the_limit_are_refused(make: Callable[[Limits], Parser]) -> None:
    parser = make(Limits(max_attachments=2))
    assert decode_all(parser, parser.encode(Ack(1, (b"1", b"2")))) == Ack(1, (b"1", b"2"))
    with pytest.raises(PeerError) as caught:
        decode_all(parser, parser.encode(Ack(1, (b"1", b"2", b"3"))))
    assert caught.value.code is ViolationCode.TOO_MANY_ATTACHMENTS


@each_parser
def test_auth_and_error_objects_cannot_hold_binary(parser: Parser) -> None:
    assert misuse(parser, Connect("/", {"a": b"x"})) is MisuseCode.BINARY_NOT_ALLOWED
    assert misuse(parser, ConnectError({"a": b"x"})) is MisuseCode.BINARY_NOT_ALLOWED


@each_parser
@pytest.mark.parametrize("lookalike", [{"_placeholder": True, "num": 0}, {"_placeholder": True}])
def test_an_object_that_looks_like_a_placeholder_is_refused_both_ways(
    parser: Parser, lookalike: dict[str, Value]
) -> None:
    for arg in (lookalike, [lookalike], {"a": lookalike}):
        assert refusal(parser, wire(parser, 2, ["x", arg])).code is ViolationCode.BAD_PLACEHOLDER
        assert misuse(parser, Event("x", (arg,))) is MisuseCode.RESERVED_KEY
    assert refusal(parser, wire(parser, 0, lookalike)).code is ViolationCode.BAD_PLACEHOLDER
    assert refusal(parser, wire(parser, 0, {"a": lookalike})).code is ViolationCode.BAD_PLACEHOLDER


@each_parser
@pytest.mark.parametrize("value", [False, 1, "true", None])
def test_a_placeholder_key_that_is_not_true_is_data(parser: Parser, value: Value) -> None:
    packet = Event("x", ({"_placeholder": value},))
    assert decode_all(parser, parser.encode(packet)) == packet


# --- fragments


@each_parser
@property_test
@given(args=st.lists(strategies.PLAIN_VALUES, max_size=20), name=strategies.NAMES, namespace=strategies.NAMESPACES)
def test_a_spliced_event_is_byte_for_byte_the_encoded_one(
    parser: Parser, args: list[Value], name: str, namespace: str
) -> None:
    whole = parser.encode(Event(name, tuple(args), namespace))
    assert (parser.encode_spliced(name, [parser.encode_value(arg) for arg in args], namespace),) == whole
    listed = parser.encode_array([parser.encode_value(arg) for arg in args])
    assert (parser.encode_spliced(name, [listed], namespace),) == parser.encode(Event(name, (args,), namespace))


@each_parser
@property_test
@given(args=st.lists(strategies.PLAIN_VALUES, max_size=20), namespace=strategies.NAMESPACES)
def test_a_spliced_ack_is_byte_for_byte_the_encoded_one(parser: Parser, args: list[Value], namespace: str) -> None:
    for ack_id in (0, 7, 300, 70_000):
        whole = parser.encode(Ack(ack_id, tuple(args), namespace))
        assert (parser.encode_spliced_ack(ack_id, [parser.encode_value(arg) for arg in args], namespace),) == whole


@each_parser
def test_a_spliced_ack_with_an_id_that_no_client_has_is_refused(parser: Parser) -> None:
    with pytest.raises(UsageError) as caught:
        parser.encode_spliced_ack(-1, [])
    assert caught.value.code is misuse(parser, Ack(-1, ()))


@each_parser
@pytest.mark.parametrize("length", [0, 1, 15, 16, 70_000])
def test_an_object_of_any_length_can_be_spliced(parser: Parser, length: int) -> None:
    value: dict[str, Value] = {f"key {number}": [number] for number in range(length)}
    assert parser.encode_object([(key, parser.encode_value(item)) for key, item in value.items()]) == (
        parser.encode_value(value)
    )


@each_parser
@pytest.mark.parametrize("length", [0, 1, 15, 16, 70_000])
def test_an_array_of_any_length_can_be_spliced(parser: Parser, length: int) -> None:
    assert parser.encode_array([parser.encode_value(1)] * length) == parser.encode_value([1] * length)


@each_parser
@pytest.mark.parametrize("value", [b"x", [b"x"], {"a": b"x"}])
def test_a_fragment_cannot_hold_binary(parser: Parser, value: Value) -> None:
    with pytest.raises(UsageError) as caught:
        parser.encode_value(value)
    assert caught.value.code is MisuseCode.BINARY_NOT_ALLOWED


@each_parser
@property_test
@given(value=strategies.PLAIN_VALUES)
def test_the_checks_change_no_byte_of_a_fragment(parser: Parser, value: Value) -> None:
    assert parser.encode_unchecked(value) == parser.encode_value(value)


def fill(parser: Parser, pieces: tuple[bytes, ...], fragments: list[bytes]) -> MessageData:
    """Put fragments into the holes."""
    message = b"".join(part for pair in zip(pieces, [*fragments, b""], strict=True) for part in pair)
    return message.decode() if parser.is_text else message


@each_parser
@property_test
@given(name=strategies.NAMES, values=st.lists(strategies.PLAIN_VALUES, max_size=20), other=strategies.PLAIN_VALUES)
def test_an_event_with_its_holes_filled_is_byte_for_byte_the_encoded_one(
    parser: Parser, name: str, values: list[Value], other: Value
) -> None:
    array = Hole(len(values))
    pieces = parser.encode_around(name, (array, other, {"one": Hole(), "\0": other, "all": array}, Hole()))
    one, elements = parser.encode_value(other), parser.separator.join(map(parser.encode_value, values))
    whole = Event(name, (values, other, {"one": other, "\0": other, "all": values}, other))
    assert (fill(parser, pieces, [elements, one, elements, one]),) == parser.encode(whole)


@each_parser
def test_an_event_without_holes_is_one_piece(parser: Parser) -> None:
    (piece,) = parser.encode_around("x", (1, {"a": [2]}))
    assert (fill(parser, (piece,), []),) == parser.encode(Event("x", (1, {"a": [2]})))


# --- properties


@each_parser
@property_test
@given(packet=strategies.PACKETS)
def test_any_packet_comes_back_as_it_was_sent(parser: Parser, packet: Packet) -> None:
    assert decode_all(parser, parser.encode(packet)) == packet


def assert_accepted_can_be_sent_by_both(messages: list[MessageData]) -> None:
    for parser in PARSERS:
        for packet in decode_until_refused(parser, messages):
            for other in PARSERS:
                assert decode_all(other, other.encode(packet)) == packet


@property_test
@given(messages=st.lists(st.binary(max_size=60) | st.text(max_size=60), max_size=4))
def test_arbitrary_messages_are_packets_or_peer_errors(messages: list[MessageData]) -> None:
    assert_accepted_can_be_sent_by_both(messages)


@settings(deadline=None, max_examples=400, derandomize=True)
@given(messages=st.lists(strategies.RAW_BYTES | strategies.RAW_TEXT | st.binary(max_size=4), max_size=4))
def test_nearly_right_messages_are_packets_or_peer_errors(messages: list[MessageData]) -> None:
    assert_accepted_can_be_sent_by_both(messages)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    texts=st.lists(strategies.mutated_text(strategies.RAW_TEXT), max_size=3),
    blobs=st.lists(strategies.mutated(strategies.RAW_BYTES), max_size=3),
)
def test_mutated_messages_are_packets_or_peer_errors(texts: list[str], blobs: list[bytes]) -> None:
    assert_accepted_can_be_sent_by_both([*texts, *blobs])
    assert_accepted_can_be_sent_by_both([*blobs])
