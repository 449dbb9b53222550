"""The default parser: text packets with JSON in them, binary attachments behind them (protocol reference 3.1).

    <type>[<attachments>-][<namespace>,][<ack id>][<JSON>]

Decimals are written as numbers with exactly their digits. Reading goes through msgspec, which refuses NaN, infinite
numbers and lone surrogates by itself; what it lets pass is checked in `incoming.py`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, assert_never

import msgspec

from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode
from protocol.socketio.incoming import (
    ABSENT,
    MAX_ACK_ID,
    PLACEHOLDER,
    Inspection,
    build_message,
    build_packet,
    check_event_name,
    check_namespace,
)
from protocol.socketio.outgoing import check_ack_id, check_no_binary, count_binary, to_plain
from protocol.socketio.outgoing import check_event_name as check_sent_name
from protocol.socketio.outgoing import check_namespace as check_sent_namespace
from protocol.socketio.packets import ROOT, Ack, Connect, ConnectError, Disconnect, Event, EventName, Packet, Value
from protocol.socketio.parser import Hole, Limits, MessageData, PacketType, Pending, Surrounding

_PLAIN_TYPES: Final = {str(kind.value): kind for kind in PacketType}
_BINARY_TYPES: Final = {"5": PacketType.EVENT, "6": PacketType.ACK}

_ATTACHMENTS: Final = re.compile(r"([0-9]{1,4})-")
_ADDRESS: Final = re.compile(r"(?:(/[^,]*)(?:,|\Z))?([0-9]{0,16})")
"""Namespace and ack id; both may be missing, so it always matches. 16 digits hold every id JavaScript can count."""

_encoder: Final = msgspec.json.Encoder(enc_hook=to_plain, decimal_format="number")
_decoder: Final = msgspec.json.Decoder()

_CUT: Final = b"\0"
"""Stands for a hole until the text is cut there: JSON escapes it everywhere else."""


class JsonParser:
    """The default parser, with the limits of a process. Stateless: see `parser.Parser`, whose contract this is."""

    __slots__ = ("_limits",)

    name: Final = "json"
    is_text: Final = True
    separator: Final = b","

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def decode(self, data: MessageData, pending: Pending | None = None) -> Packet | Pending:
        """Read one message; see `Parser.decode`."""
        size = len(data) if pending is None else len(data) + pending.size
        if size > self._limits.max_payload:
            raise PeerError(ViolationCode.PAYLOAD_TOO_LARGE, limit=self._limits.max_payload, actual=size)
        if isinstance(data, bytes):
            return self._take_attachment(data, pending)
        if pending is not None:
            raise PeerError(ViolationCode.ATTACHMENT_EXPECTED)
        first = data[:1]
        plain = _PLAIN_TYPES.get(first)
        if plain is not None:
            namespace, ack_id, payload = self._read(data, 1)
            return build_packet(plain, namespace, ack_id, payload, self._limits)
        binary = _BINARY_TYPES.get(first)
        if binary is None:
            raise PeerError(ViolationCode.UNKNOWN_PACKET)
        return self._start(binary, data)

    def encode(self, packet: Packet) -> tuple[MessageData, ...]:
        """Write one packet; see `Parser.encode`."""
        match packet:
            case Event(name, args, namespace, ack_id):
                check_sent_name(name)
                return _encode_message(PacketType.EVENT, namespace, ack_id, (name, *args))
            case Ack(ack_id, args, namespace):
                return _encode_message(PacketType.ACK, namespace, ack_id, args)
            case Connect(namespace, data):
                if data is None:
                    return ("0" + _address(namespace, None),)
                return ("0" + _address(namespace, None) + _encode_object(data),)
            case Disconnect(namespace):
                return ("1" + _address(namespace, None),)
            case ConnectError(data, namespace):
                return ("4" + _address(namespace, None) + _encode_object(data),)
            case _:
                assert_never(packet)

    def encode_value(self, value: Value) -> bytes:
        """Write one argument as a fragment; see `Parser.encode_value`."""
        check_no_binary(value)
        return _to_json(value)

    def encode_unchecked(self, value: Value) -> bytes:
        """Write one argument as a fragment; see `Parser.encode_unchecked`."""
        return _encoder.encode(value)

    def encode_array(self, fragments: Sequence[bytes]) -> bytes:
        """Join fragments into an array; see `Parser.encode_array`."""
        return b"[" + b",".join(fragments) + b"]"

    def encode_object(self, fields: Sequence[tuple[str, bytes]]) -> bytes:
        """Join fragments into an object; see `Parser.encode_object`."""
        return b"{" + b",".join([_to_json(key) + b":" + value for key, value in fields]) + b"}"

    def encode_spliced(self, name: EventName, args: Sequence[bytes], namespace: str = ROOT) -> MessageData:
        """Write an event out of fragments; see `Parser.encode_spliced`."""
        check_sent_name(name)
        data = b"[" + b",".join((_to_json(name), *args)) + b"]"
        return "2" + _address(namespace, None) + data.decode()

    def encode_spliced_ack(self, ack_id: int, args: Sequence[bytes], namespace: str = ROOT) -> MessageData:
        """Write an ack out of fragments; see `Parser.encode_spliced_ack`."""
        return "3" + _address(namespace, ack_id) + self.encode_array(args).decode()

    def encode_around(self, name: EventName, args: Sequence[Surrounding]) -> tuple[bytes, ...]:
        """Write an event with holes; see `Parser.encode_around`."""
        check_sent_name(name)
        return tuple((b"2" + _around_encoder.encode((name, *args))).split(_CUT))

    def _read(self, text: str, start: int) -> tuple[str, int | None, object]:
        """Read what stands behind the type and the attachment count: namespace, ack id, decoded data."""
        match = _ADDRESS.match(text, start)
        assert match is not None, "every part of it is optional"
        namespace = ROOT if match[1] is None else check_namespace(match[1], self._limits)
        ack_id = int(match[2]) if match[2] else None
        if ack_id is not None and ack_id > MAX_ACK_ID:
            raise PeerError(ViolationCode.BAD_ACK_ID, limit=MAX_ACK_ID, actual=ack_id)
        payload = text[match.end() :]
        return namespace, ack_id, _from_json(payload) if payload else ABSENT

    def _start(self, kind: PacketType, text: str) -> Pending:
        """Read the text of a packet with attachments; its shape is checked now, not when they have come."""
        limits = self._limits
        match = _ATTACHMENTS.match(text, 1)
        count = 0 if match is None else int(match[1])
        if match is None or count < 1:
            raise PeerError(ViolationCode.BAD_ATTACHMENT_COUNT)
        if count > limits.max_attachments:
            raise PeerError(ViolationCode.TOO_MANY_ATTACHMENTS, limit=limits.max_attachments, actual=count)
        namespace, ack_id, payload = self._read(text, match.end())
        inspection = Inspection(limits, attachments=count)
        data = inspection.check_array(payload)
        if kind is PacketType.EVENT:
            check_event_name(data)
        elif ack_id is None:
            raise PeerError(ViolationCode.BAD_ACK_ID)
        return Pending(kind, namespace, ack_id, data, inspection.slots(), size=len(text))

    def _take_attachment(self, data: bytes, pending: Pending | None) -> Packet | Pending:
        if pending is None:
            raise PeerError(ViolationCode.WRONG_FRAME_KIND)
        if len(data) > self._limits.max_string:
            raise PeerError(ViolationCode.STRING_TOO_LONG, limit=self._limits.max_string, actual=len(data))
        pending.received.append(data)
        pending.size += len(data)
        if len(pending.received) < len(pending.slots):
            return pending
        for (container, key), attachment in zip(pending.slots, pending.received, strict=True):
            container[key] = attachment  # type: ignore[index]  # a slot pairs a list with an int, a dict with a str
        return build_message(pending.kind, pending.namespace, pending.ack_id, pending.data)


def _cut_or_plain(value: object) -> object:
    if isinstance(value, Hole):
        return msgspec.Raw(_CUT if value.length is None else b"[" + _CUT + b"]")
    return to_plain(value)


_around_encoder: Final = msgspec.json.Encoder(enc_hook=_cut_or_plain, decimal_format="number")


def _from_json(text: str) -> object:
    try:
        value: object = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        raise PeerError(ViolationCode.MALFORMED) from None
    return value


def _to_json(value: object) -> bytes:
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        raise UsageError(MisuseCode.LONE_SURROGATE) from None
    except RecursionError:  # nested too deep
        raise UsageError(MisuseCode.UNSUPPORTED_VALUE) from None


def _encode_object(data: Value) -> str:
    check_no_binary(data)
    return _to_json(data).decode()


def _encode_message(
    kind: PacketType,
    namespace: str,
    ack_id: int | None,
    data: Sequence[Value],
) -> tuple[MessageData, ...]:
    if count_binary(data):
        attachments: list[bytes] = []
        stripped = [_strip(item, attachments) for item in data]
        head = f"{kind + 3}{len(attachments)}-{_address(namespace, ack_id)}"
        return (head + _to_json(stripped).decode(), *attachments)
    return (str(kind.value) + _address(namespace, ack_id) + _to_json(data).decode(),)


def _address(namespace: str, ack_id: int | None) -> str:
    """Write namespace and ack id; the comma is always there, as JavaScript does it."""
    address = ""
    if namespace != ROOT:
        check_sent_namespace(namespace)
        address = namespace + ","
    if ack_id is not None:
        check_ack_id(ack_id)
        address += str(ack_id)
    return address


def _strip(value: Value, attachments: list[bytes]) -> Value:
    """Copy a checked value with placeholders for the bytes in it, depth first, and collect those."""
    if isinstance(value, bytes):
        attachments.append(value)
        return {PLACEHOLDER: True, "num": len(attachments) - 1}
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {key: _strip(item, attachments) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_strip(item, attachments) for item in value]
    return value
