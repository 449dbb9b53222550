"""What is particular to the msgpack parser: missing keys, `undefined`, extensions and lying headers."""

from decimal import Decimal

import msgpack
import pytest

from protocol.errors import PeerError, ViolationCode
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.packets import Ack, Connect, ConnectError, Disconnect, Event, Packet
from protocol.socketio.parser import Limits, MessageData, PacketType, Pending

PARSER = MsgpackParser(Limits())
UNDEFINED = msgpack.ExtType(0, b"\x00")
UNDEFINED_BYTES = b"\xd4\x00\x00"
NSP = b"\xa3nsp\xa1/"


def pack(**fields: object) -> bytes:
    return bytes(msgpack.packb(fields))


def refusal(data: MessageData, pending: Pending | None = None) -> ViolationCode:
    with pytest.raises(PeerError) as caught:
        PARSER.decode(data, pending)
    return caught.value.code


@pytest.mark.parametrize(
    ("packet", "fields"),
    [
        (Connect("/", {"sid": "s"}), {"type": 0, "data": {"sid": "s"}, "nsp": "/"}),
        (Connect(), {"type": 0, "nsp": "/"}),
        (Disconnect("/custom"), {"type": 1, "nsp": "/custom"}),
        (Event("x", (1,)), {"type": 2, "data": ["x", 1], "nsp": "/"}),
        (Event("x", (), "/", 0), {"type": 2, "data": ["x"], "id": 0, "nsp": "/"}),
        (Ack(3, ()), {"id": 3, "type": 3, "data": [], "nsp": "/"}),
        (ConnectError({"message": "no"}), {"type": 4, "data": {"message": "no"}, "nsp": "/"}),
    ],
)
def test_a_packet_is_a_map_with_only_the_keys_that_have_a_value(packet: Packet, fields: dict[str, object]) -> None:
    (data,) = PARSER.encode(packet)
    assert data == pack(**fields)
    assert isinstance(data, bytes)
    assert list(msgpack.unpackb(data)) == list(fields)


def test_a_decimal_is_written_as_a_float64() -> None:
    assert PARSER.encode_value(Decimal("0.1")) == b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"
    assert PARSER.encode_value(Decimal(1)) == b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"


def test_binary_is_written_as_bin_never_as_an_extension() -> None:
    assert PARSER.encode(Event("x", (b"\x00",))) == (b"\x83\xa4type\x02\xa4data\x92\xa1x\xc4\x01\x00" + NSP,)


# --- undefined and nil


@pytest.mark.parametrize("kind", [0, 1])
def test_undefined_data_is_no_data(kind: int) -> None:
    assert PARSER.decode(pack(type=kind, data=UNDEFINED, nsp="/")) == (Connect() if kind == 0 else Disconnect())


def test_the_bytes_a_stock_client_connects_with_are_understood() -> None:
    assert PARSER.decode(b"\x83\xa4type\x00\xa4data\xd4\x00\x00" + NSP) == Connect()


def test_undefined_ids_are_no_ids() -> None:
    assert PARSER.decode(pack(type=2, data=["x"], id=UNDEFINED, nsp="/")) == Event("x")


def test_undefined_inside_values_becomes_what_json_makes_of_it() -> None:
    data = ["x", UNDEFINED, [1, UNDEFINED], {"a": UNDEFINED, "b": {"c": UNDEFINED, "d": 1}}]
    assert PARSER.decode(pack(type=2, data=data, nsp="/")) == Event("x", (None, [1, None], {"b": {"d": 1}}))
    assert PARSER.decode(pack(type=0, data={"pid": "p", "offset": UNDEFINED}, nsp="/")) == Connect("/", {"pid": "p"})


def test_nil_data_in_a_disconnect_is_no_data() -> None:
    assert PARSER.decode(pack(type=1, data=None, nsp="/")) == Disconnect()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"type": 0, "data": None, "nsp": "/"}, ViolationCode.BAD_DATA),
        ({"type": 2, "data": ["x"], "id": None, "nsp": "/"}, ViolationCode.BAD_ACK_ID),
        ({"type": 2, "data": ["x"], "id": 1.5, "nsp": "/"}, ViolationCode.BAD_ACK_ID),
        ({"type": 2, "data": ["x"], "id": True, "nsp": "/"}, ViolationCode.BAD_ACK_ID),
        ({"type": 2, "data": ["x"], "id": "1", "nsp": "/"}, ViolationCode.BAD_ACK_ID),
        ({"type": 2, "data": [UNDEFINED], "nsp": "/"}, ViolationCode.BAD_EVENT_NAME),
        ({"type": 2, "data": UNDEFINED, "nsp": "/"}, ViolationCode.BAD_DATA),
        ({"type": True, "nsp": "/"}, ViolationCode.UNKNOWN_PACKET),
        ({"type": 1.0, "nsp": "/"}, ViolationCode.UNKNOWN_PACKET),
        ({"type": -1, "nsp": "/"}, ViolationCode.UNKNOWN_PACKET),
        ({"type": 5, "nsp": "/"}, ViolationCode.UNKNOWN_PACKET),
        ({"type": UNDEFINED, "nsp": "/"}, ViolationCode.UNKNOWN_PACKET),
        ({"nsp": "/"}, ViolationCode.UNKNOWN_PACKET),
        ({"type": 1}, ViolationCode.BAD_NAMESPACE),
        ({"type": 1, "nsp": None}, ViolationCode.BAD_NAMESPACE),
        ({"type": 1, "nsp": b"/"}, ViolationCode.BAD_NAMESPACE),
        ({"type": 1, "nsp": UNDEFINED}, ViolationCode.BAD_NAMESPACE),
        ({"type": 0, "data": {"a": b"x"}, "nsp": "/"}, ViolationCode.UNSUPPORTED_VALUE),
        ({"type": 2, "data": ["x", {b"a": 1}], "nsp": "/"}, ViolationCode.UNSUPPORTED_VALUE),
        ({"type": 2, "data": ["x", float("nan")], "nsp": "/"}, ViolationCode.NUMBER_OUT_OF_RANGE),
        ({"type": 2, "data": ["x", float("inf")], "nsp": "/"}, ViolationCode.NUMBER_OUT_OF_RANGE),
        ({"type": 2, "data": ["x", float("-inf")], "nsp": "/"}, ViolationCode.NUMBER_OUT_OF_RANGE),
    ],
)
def test_fields_of_the_wrong_kind_are_refused(fields: dict[str, object], code: ViolationCode) -> None:
    assert refusal(pack(**fields)) is code


def test_keys_come_in_any_order_and_unknown_ones_are_ignored() -> None:
    data = pack(nsp="/", options={"compress": True}, id=4, data=["x"], type=2, query=None)
    assert PARSER.decode(data) == Event("x", (), "/", 4)


@pytest.mark.parametrize("data", [b"\xc0", b"\x90", b"\x01", b"\xa0", UNDEFINED_BYTES])
def test_a_packet_is_a_map(data: bytes) -> None:
    assert refusal(data) is ViolationCode.MALFORMED


def test_text_is_refused() -> None:
    assert refusal('2["x"]') is ViolationCode.WRONG_FRAME_KIND


def test_nothing_is_ever_pending_here() -> None:
    assert refusal(pack(type=1, nsp="/"), Pending(PacketType.ACK, "/", 1, [], (), 0)) is ViolationCode.WRONG_FRAME_KIND
