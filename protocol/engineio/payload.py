r"""Many packets to one long-polling body and back (protocol reference 2.1, 2.4).

Polling carries text only: binary messages travel as base64, packets are joined by `\x1e` without a trailing one. The
bodies of POST requests go in at `decode_payload`; what a GET answers is made by `encode_payload` out of packets, or by
`join_frames` out of frames that were encoded once for many clients.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from protocol.engineio import codec
from protocol.engineio.packets import Packet
from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode

SEPARATOR: Final = "\x1e"
_SEPARATOR_BYTE: Final = b"\x1e"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadLimits:
    """Bounds on one POST body.

    Attributes:
        max_bytes: of the whole body, as told to the client in the handshake.
        max_packets: in it; a client sends all that it has buffered in one body, so do not be tight.
    """

    max_bytes: int = 1_000_000
    max_packets: int = 4_096


def decode_payload(body: bytes, limits: PayloadLimits) -> Iterator[Packet]:
    """Read a POST body, packet by packet: take each one in before asking for the next.

    Returns:
        The packets in order. The iterator raises `PeerError` at the first bad one; those before it count.

    Raises:
        PeerError: the body as a whole is too large (413, the connection may stay), too many packets, or not UTF-8.
    """
    if len(body) > limits.max_bytes:
        raise PeerError(ViolationCode.PAYLOAD_TOO_LARGE, limit=limits.max_bytes, actual=len(body))
    count = body.count(_SEPARATOR_BYTE) + 1
    if count > limits.max_packets:
        raise PeerError(ViolationCode.TOO_MANY_PACKETS, limit=limits.max_packets, actual=count)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise PeerError(ViolationCode.BAD_UTF8) from None
    return map(codec.decode, text.split(SEPARATOR))


def encode_payload(packets: Iterable[Packet]) -> bytes:
    """Write the body of a GET response. Bounding what is buffered for a client is the caller's task.

    Raises:
        UsageError: there is no packet, or a text message holds the separator and would fall apart.
    """
    return join_frames(encode_frame(packet) for packet in packets)


def encode_frame(packet: Packet) -> bytes:
    """Write one packet as a part of a payload, for `join_frames`.

    Raises:
        UsageError: it holds the separator, or is no Unicode.
    """
    text = codec.encode(packet, binary_as_text=True)
    if SEPARATOR in text:
        raise UsageError(MisuseCode.SEPARATOR_IN_PACKET)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UsageError(MisuseCode.LONE_SURROGATE) from None


def join_frames(frames: Iterable[bytes]) -> bytes:
    """Join what `encode_frame` made into a body.

    Raises:
        UsageError: there is nothing to join; an empty body is no payload.
    """
    body = _SEPARATOR_BYTE.join(frames)
    if not body:
        raise UsageError(MisuseCode.EMPTY_PAYLOAD)
    return body
