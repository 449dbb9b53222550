"""The msgpack parser: one packet is one binary message, a map, with bytes inline (protocol reference 4).

Its JavaScript counterpart refuses nil where a key should be missing, so keys without a value are left out (`id`, `data`
of DISCONNECT); and it writes JavaScript's `undefined`, which is read as missing. Binary is always written as bin, never
as an extension. What peers send is read by `msgpack_reader.py`.

msgpack publishes no types: this is the only file that touches it, and only to write.
"""

from collections.abc import Mapping, Sequence
from typing import Final, assert_never, cast

import msgpack

from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode
from protocol.socketio.incoming import ABSENT, MAX_ACK_ID, build_packet, check_namespace
from protocol.socketio.msgpack_reader import unpack
from protocol.socketio.outgoing import check_ack_id, check_event_name, check_no_binary, count_binary, to_plain
from protocol.socketio.outgoing import check_namespace as check_sent_namespace
from protocol.socketio.packets import ROOT, Ack, Connect, ConnectError, Disconnect, Event, EventName, Packet, Value
from protocol.socketio.parser import Field, Hole, Limits, MessageData, PacketType, Pending, Surrounding

_EVENT_HEAD: Final = b"\x83\xa4type\x02\xa4data"
_ACK_HEAD: Final = b"\x84\xa2id"
_ACK_BODY: Final = b"\xa4type\x03\xa4data"
_NSP_KEY: Final = b"\xa3nsp"
_FIXARRAY_MAX: Final = 0x0F
_UINT16_MAX: Final = 0xFFFF

_packer: Final = msgpack.Packer(default=to_plain)
"""Kept for what is written often: making one costs more than a small value does."""


class MsgpackParser:
    """The msgpack parser, with the limits of a process. Stateless: see `parser.Parser`, whose contract this is."""

    __slots__ = ("_limits",)

    name: Final = "msgpack"
    is_text: Final = False
    separator: Final = b""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def decode(self, data: MessageData, pending: Pending | None = None) -> Packet | Pending:
        """Read one message; see `Parser.decode`. A packet is never pending here."""
        if pending is not None or isinstance(data, str):
            raise PeerError(ViolationCode.WRONG_FRAME_KIND)
        if len(data) > self._limits.max_payload:
            raise PeerError(ViolationCode.PAYLOAD_TOO_LARGE, limit=self._limits.max_payload, actual=len(data))
        fields = unpack(data, self._limits)
        if not isinstance(fields, dict):
            raise PeerError(ViolationCode.MALFORMED)
        kind = _read_kind(fields.get("type", ABSENT))
        namespace = fields.get("nsp", ABSENT)
        if not isinstance(namespace, str):
            raise PeerError(ViolationCode.BAD_NAMESPACE)
        check_namespace(namespace, self._limits)
        ack_id = _read_ack_id(fields.get("id", ABSENT))
        content: object = fields.get("data", ABSENT)
        if kind is PacketType.DISCONNECT and content is None:  # python-socketio writes the key
            content = ABSENT
        return build_packet(kind, namespace, ack_id, content, self._limits)

    def encode(self, packet: Packet) -> tuple[MessageData, ...]:
        """Write one packet; see `Parser.encode`. The order of keys is that of the JavaScript server."""
        fields: dict[str, object]
        match packet:
            case Event(name, args, namespace, ack_id):
                check_event_name(name)
                count_binary(args)
                fields = {"type": 2, "data": (name, *args)}
                if ack_id is not None:
                    check_ack_id(ack_id)
                    fields["id"] = ack_id
            case Ack(ack_id, args, namespace):
                check_ack_id(ack_id)
                count_binary(args)
                fields = {"id": ack_id, "type": 3, "data": args}
            case Connect(namespace, data):
                fields = {"type": 0}
                if data is not None:
                    check_no_binary(data)
                    fields["data"] = data
            case Disconnect(namespace):
                fields = {"type": 1}
            case ConnectError(data, namespace):
                check_no_binary(data)
                fields = {"type": 4, "data": data}
            case _:
                assert_never(packet)
        if namespace != ROOT:
            check_sent_namespace(namespace)
        fields["nsp"] = namespace
        return (_pack(fields),)

    def encode_value(self, value: Value) -> bytes:
        """Write one argument as a fragment; see `Parser.encode_value`."""
        check_no_binary(value)
        return _pack(value)

    def encode_unchecked(self, value: Value) -> bytes:
        """Write one argument as a fragment; see `Parser.encode_unchecked`."""
        return cast("bytes", _packer.pack(value))

    def encode_array(self, fragments: Sequence[bytes]) -> bytes:
        """Join fragments into an array; see `Parser.encode_array`."""
        return _array_head(len(fragments)) + b"".join(fragments)

    def encode_object(self, fields: Sequence[tuple[str, bytes]]) -> bytes:
        """Join fragments into an object; see `Parser.encode_object`."""
        return _map_head(len(fields)) + b"".join([_pack(key) + value for key, value in fields])

    def encode_spliced(self, name: EventName, args: Sequence[bytes], namespace: str = ROOT) -> MessageData:
        """Write an event out of fragments; see `Parser.encode_spliced`."""
        check_event_name(name)
        if namespace != ROOT:
            check_sent_namespace(namespace)
        head = _EVENT_HEAD + _array_head(len(args) + 1) + _pack(name)
        return b"".join((head, *args, _NSP_KEY, _pack(namespace)))

    def encode_spliced_ack(self, ack_id: int, args: Sequence[bytes], namespace: str = ROOT) -> MessageData:
        """Write an ack out of fragments; see `Parser.encode_spliced_ack`."""
        check_ack_id(ack_id)
        if namespace != ROOT:
            check_sent_namespace(namespace)
        head = _ACK_HEAD + _pack(ack_id) + _ACK_BODY + _array_head(len(args))
        return b"".join((head, *args, _NSP_KEY, _pack(namespace)))

    def encode_around(self, name: EventName, args: Sequence[Surrounding]) -> tuple[bytes, ...]:
        """Write an event with holes; see `Parser.encode_around`."""
        check_event_name(name)
        pieces = [bytearray(_EVENT_HEAD + _array_head(len(args) + 1) + _pack(name))]
        for arg in args:
            if isinstance(arg, Mapping):
                pieces[-1] += _packer.pack_map_header(len(arg))
                for key, value in arg.items():
                    pieces[-1] += _pack(key)
                    _put(pieces, value)
            else:
                _put(pieces, arg)
        pieces[-1] += _NSP_KEY + _pack(ROOT)
        return tuple(map(bytes, pieces))


def _put(pieces: list[bytearray], value: Field) -> None:
    """Write a value into the last piece, or begin the next one where a hole is."""
    if not isinstance(value, Hole):
        pieces[-1] += _pack(value)
        return
    if value.length is not None:
        pieces[-1] += _array_head(value.length)
    pieces.append(bytearray())


def _read_kind(value: object) -> PacketType:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= max(PacketType):
        raise PeerError(ViolationCode.UNKNOWN_PACKET)
    return PacketType(value)


def _read_ack_id(value: object) -> int | None:
    if value is ABSENT:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ACK_ID:
        raise PeerError(ViolationCode.BAD_ACK_ID, limit=MAX_ACK_ID)
    return value


def _pack(value: object) -> bytes:
    try:
        return cast("bytes", msgpack.packb(value, default=to_plain))
    except UnicodeEncodeError:
        raise UsageError(MisuseCode.LONE_SURROGATE) from None
    except (ValueError, RecursionError):  # nested too deep
        raise UsageError(MisuseCode.UNSUPPORTED_VALUE) from None


def _map_head(length: int) -> bytes:
    if length <= _FIXARRAY_MAX:
        return bytes((0x80 | length,))
    if length <= _UINT16_MAX:
        return b"\xde" + length.to_bytes(2, "big")
    return b"\xdf" + length.to_bytes(4, "big")


def _array_head(length: int) -> bytes:
    if length <= _FIXARRAY_MAX:
        return bytes((0x90 | length,))
    if length <= _UINT16_MAX:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")
