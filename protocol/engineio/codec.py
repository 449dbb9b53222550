"""One Engine.IO packet to one frame and back (protocol reference 2.1).

A frame is what one WebSocket message or one part of a polling payload holds: text, or bytes for a binary message. Which
of the two a packet is follows from its content, not from the WebSocket opcode: a text frame that starts with `b` is a
binary message in base64.
"""

import binascii
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, assert_never, overload

import msgspec

from protocol.engineio.packets import Close, Message, Noop, Open, Packet, Ping, Pong, Upgrade
from protocol.errors import PeerError, ViolationCode

_BARE_PACKETS: Final[Mapping[str, Packet]] = MappingProxyType(
    {
        "1": Close(),
        "2": Ping(),
        "2probe": Ping(probe=True),
        "3": Pong(),
        "3probe": Pong(probe=True),
        "5": Upgrade(),
        "6": Noop(),
    },
)
"""Whole frames: these packets carry nothing else."""


class _Handshake(msgspec.Struct, rename="camel"):
    """The JSON inside an open packet, with exactly these keys (2.2)."""

    sid: str
    upgrades: tuple[str, ...]
    ping_interval: int
    ping_timeout: int
    max_payload: int


_handshake_decoder: Final = msgspec.json.Decoder(_Handshake)


@overload
def encode(packet: Packet, *, binary_as_text: Literal[True]) -> str: ...
@overload
def encode(packet: Packet, *, binary_as_text: bool = False) -> str | bytes: ...
def encode(packet: Packet, *, binary_as_text: bool = False) -> str | bytes:
    """Write a packet as a frame.

    Args:
        packet: any packet.
        binary_as_text: for a carrier of text only: polling, or a WebSocket client that said `b64=1`.

    Returns:
        The frame: bytes only for a binary message and without `binary_as_text`.
    """
    frame: str
    match packet:
        case Message(data):
            if isinstance(data, bytes) and not binary_as_text:
                return data
            frame = "4" + data if isinstance(data, str) else "b" + _encode_base64(data)
        case Ping(probe):
            frame = "2probe" if probe else "2"
        case Pong(probe):
            frame = "3probe" if probe else "3"
        case Open():
            frame = "0" + _encode_handshake(packet)
        case Close():
            frame = "1"
        case Upgrade():
            frame = "5"
        case Noop():
            frame = "6"
        case _:
            assert_never(packet)
    return frame


def decode(frame: str | bytes) -> Packet:
    """Read a frame.

    Args:
        frame: text (valid Unicode, as the carrier has checked) or bytes, within the carrier's size limit.

    Raises:
        PeerError: it is no packet. On the transport in use that ends the connection, on a probing one only the probe.
    """
    if isinstance(frame, bytes):
        return Message(frame)
    if frame.startswith("4"):
        return Message(frame[1:])
    bare = _BARE_PACKETS.get(frame)
    if bare is not None:
        return bare
    if frame.startswith("b"):
        return Message(_decode_base64(frame[1:]))
    if frame.startswith("0"):
        return _decode_handshake(frame[1:])
    raise PeerError(_name_violation(frame))


def _name_violation(frame: str) -> ViolationCode:
    if not frame:
        return ViolationCode.EMPTY_PACKET
    return ViolationCode.UNEXPECTED_DATA if frame[0] in _BARE_PACKETS else ViolationCode.UNKNOWN_PACKET


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


def _encode_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _decode_base64(data: str) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError:  # binascii.Error is one, and text beyond ASCII another
        raise PeerError(ViolationCode.BAD_BASE64) from None
