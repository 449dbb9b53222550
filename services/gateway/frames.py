"""Engine.IO packets as finished WebSocket frames (RFC 6455 section 5.2).

A server's frames carry no mask, so the same bytes go to every client: an update is framed once, not once a client. The
frame is also the unit that travels inside the gateway; a transport that does not speak WebSocket unwraps it.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from protocol.engineio import codec
from protocol.engineio.packets import Packet
from protocol.socketio.parser import MessageData

MESSAGE_PREFIX: Final = b"4"
"""In front of each Engine.IO message that is text."""

_FIN_TEXT: Final = 0x81
_FIN_BINARY: Final = 0x82
_SHORT: Final = 126
_MEDIUM_MARK: Final = 126
_LONG_MARK: Final = 127
_MEDIUM: Final = 0x10000
_header_16: Final = Struct("!BBH").pack
_header_64: Final = Struct("!BBQ").pack


def frame_message(data: MessageData) -> bytes:
    """One Engine.IO message, text or binary, as one frame."""
    if isinstance(data, str):
        return _frame(_FIN_TEXT, MESSAGE_PREFIX + data.encode())
    return _frame(_FIN_BINARY, data)


def frame_written(payload: bytes, *, is_text: bool) -> bytes:
    """One Engine.IO packet that is written already: `MESSAGE_PREFIX` is in it, if it is text."""
    return _frame(_FIN_TEXT if is_text else _FIN_BINARY, payload)


def frame_messages(messages: Iterable[MessageData]) -> bytes:
    """The messages of one Socket.IO packet, its attachments included, as frames in one piece."""
    return b"".join([frame_message(data) for data in messages])


def frame_packet(packet: Packet) -> bytes:
    """Any Engine.IO packet as one frame."""
    data = codec.encode(packet)
    return _frame(_FIN_TEXT, data.encode()) if isinstance(data, str) else _frame(_FIN_BINARY, data)


def _frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < _SHORT:
        return bytes((first, length)) + payload
    if length < _MEDIUM:
        return _header_16(first, _MEDIUM_MARK, length) + payload
    return _header_64(first, _LONG_MARK, length) + payload


def unframe(frames: bytes) -> Iterator[str | bytes]:
    """Take finished frames apart again: the Engine.IO packets in them, text or binary, in order."""
    at = 0
    while at < len(frames):
        start, end = _payload_of(frames, at)
        payload = frames[start:end]
        yield payload.decode() if frames[at] == _FIN_TEXT else payload
        at = end


def split_frames(frames: bytes, most: int) -> tuple[bytes, bytes]:
    """The first `most` of finished frames, and the rest."""
    at = 0
    while at < len(frames) and most > 0:
        _, at = _payload_of(frames, at)
        most -= 1
    return frames[:at], frames[at:]


def _payload_of(frames: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame that begins at `at` begins and ends."""
    length = frames[at + 1]
    start = at + 2
    if length == _MEDIUM_MARK:
        length = int.from_bytes(frames[start : start + 2], "big")
        start += 2
    elif length == _LONG_MARK:
        length = int.from_bytes(frames[start : start + 8], "big")
        start += 8
    return start, start + length
