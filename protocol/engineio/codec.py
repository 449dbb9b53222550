"""One Engine.IO packet to one frame and back (protocol reference 2.1).

A frame is what one WebSocket message or one part of a polling payload holds: text, or bytes for a binary message. Which
of the two a packet is follows from its content, not from the WebSocket opcode: a text frame that starts with `b` is a
binary message in base64.
"""

import binascii
from typing import Final, assert_never

import msgspec

from protocol.engineio.packets import Close, Message, Noop, Open, Packet, Ping, Pong, Upgrade
from protocol.errors import PeerError, ViolationCode

_PROBE: Final = "probe"


class _Handshake(msgspec.Struct, rename="camel"):
    """The JSON inside an open packet, with exactly these keys (2.2)."""

    sid: str
    upgrades: tuple[str, ...]
    ping_interval: int
    ping_timeout: int
    max_payload: int


_handshake_decoder: Final = msgspec.json.Decoder(_Handshake)


def encode(packet: Packet, *, binary_as_text: bool = False) -> str | bytes:
    """Write a packet as a frame.

    Args:
        packet: any packet.
        binary_as_text: for a carrier of text only: polling, or a WebSocket client that said `b64=1`.

    Returns:
        The frame: bytes only for a binary message and without `binary_as_text`.
    """
    match packet:
        case Message(data):
            if isinstance(data, str):
                return "4" + data
            return "b" + binascii.b2a_base64(data, newline=False).decode("ascii") if binary_as_text else data
        case Ping(probe):
            return "2probe" if probe else "2"
        case Pong(probe):
            return "3probe" if probe else "3"
        case Open():
            return "0" + _encode_handshake(packet)
        case Close():
            return "1"
        case Upgrade():
            return "5"
        case Noop():
            return "6"
        case _:
            assert_never(packet)


def decode(frame: str | bytes) -> Packet:
    """Read a frame.

    Args:
        frame: text (valid Unicode, as the carrier has checked) or bytes, within the carrier's size limit.

    Raises:
        PeerError: it is no packet. On the transport in use that ends the connection, on a probing one only the probe.
    """
    if isinstance(frame, bytes):
        return Message(frame)
    data = frame[1:]
    match frame[:1]:
        case "4":
            return Message(data)
        case "b":
            return Message(_decode_base64(data))
        case "2":
            return Ping(probe=_decode_probe(data))
        case "3":
            return Pong(probe=_decode_probe(data))
        case "0":
            return _decode_handshake(data)
        case "1":
            return _without_data(Close(), data)
        case "5":
            return _without_data(Upgrade(), data)
        case "6":
            return _without_data(Noop(), data)
        case "":
            raise PeerError(ViolationCode.EMPTY_PACKET)
        case _:
            raise PeerError(ViolationCode.UNKNOWN_PACKET)


def _encode_handshake(packet: Open) -> str:
    handshake = _Handshake(
        sid=packet.sid,
        upgrades=packet.upgrades,
        ping_interval=packet.ping_interval,
        ping_timeout=packet.ping_timeout,
        max_payload=packet.max_payload,
    )
    return msgspec.json.encode(handshake).decode()


def _decode_handshake(data: str) -> Open:
    try:
        handshake = _handshake_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        raise PeerError(ViolationCode.BAD_HANDSHAKE) from None
    return Open(
        sid=handshake.sid,
        upgrades=handshake.upgrades,
        ping_interval=handshake.ping_interval,
        ping_timeout=handshake.ping_timeout,
        max_payload=handshake.max_payload,
    )


def _decode_base64(data: str) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError:  # binascii.Error is one, and text beyond ASCII another
        raise PeerError(ViolationCode.BAD_BASE64) from None


def _decode_probe(data: str) -> bool:
    if data not in ("", _PROBE):
        raise PeerError(ViolationCode.UNEXPECTED_DATA)
    return data == _PROBE


def _without_data(packet: Packet, data: str) -> Packet:
    if data:
        raise PeerError(ViolationCode.UNEXPECTED_DATA)
    return packet
