"""The few bytes of HTTP, WebSocket (RFC 6455), Engine.IO 4 and Socket.IO 5 that a load client needs. Pure.

Feeds `clients`. Both of Socket.IO's formats: text, and the msgpack parser's. A client's frame must carry a mask; one of
zeros leaves the payload as it is.
"""

import json
import struct
from typing import Any, Final, NamedTuple, cast

import msgpack
import msgspec

from shared.names.events import NAMESPACE, ServerEvent

UPGRADE: Final = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHED: Final = b"HTTP/1.1 101"
TEXT: Final = 0x81
BINARY: Final = 0x82
CLOSE: Final = 0x88
PING: Final = 0x89
_PONG: Final = 0x8A
_MASKED: Final = 0x80
_SHORT: Final = 125
"""Longest payload whose length stands in the second byte."""

_MEDIUM: Final = 0xFFFF
_MASK: Final = b"\0\0\0\0"

UPDATE: Final = ServerEvent.PRICE_UPDATE.encode()
BATCH: Final = ServerEvent.PRICE_BATCH.encode()
HEAD: Final = 64
"""The event's name stands within so many bytes of a packet's begin, in either format."""

ENGINE_OPEN: Final = b"0{"
ENGINE_PING: Final = b"2"
_CONNECTED: Final = b"40"
_ACK: Final = b"43"
_PACKED_CONNECT: Final = b"\xa4type\x00"
_PACKED_ACK: Final = b"\xa4type\x03"


class Price(NamedTuple):
    """One price in an update or a batch.

    Attributes:
        symbol: whose.
        value: the number itself: when it was sent, in seconds since the epoch (see `publish`).
        seq: number of the newest tick folded in; 0 where the server gives none.
        n: how many ticks it stands for.
        restated: it was known before: a snapshot.
    """

    symbol: str
    value: float
    seq: int
    n: int
    restated: bool


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame."""
    length = len(payload)
    if length <= _SHORT:
        return bytes((opcode, _MASKED | length)) + _MASK + payload
    if length > _MEDIUM:
        return bytes((opcode, 0xFF)) + struct.pack("!Q", length) + _MASK + payload
    return bytes((opcode, 0xFE)) + struct.pack("!H", length) + _MASK + payload


ENGINE_PONG: Final = frame(TEXT, b"3")


def pong(payload: bytes) -> bytes:
    """The answer to a WebSocket ping."""
    return frame(_PONG, payload)


def connect(*, packed: bool) -> bytes:
    """Join the namespace."""
    return _packed(0) if packed else frame(TEXT, _CONNECTED)


def event(name: str, arguments: list[Any], ack_id: int, *, packed: bool) -> bytes:
    """An event that wants an answer."""
    if packed:
        return _packed(2, data=[str(name), *arguments], id=ack_id)
    return frame(TEXT, f"42{ack_id}{json.dumps([name, *arguments], separators=(',', ':'))}".encode())


def _packed(kind: int, **fields: Any) -> bytes:  # noqa: ANN401 - whatever msgpack takes
    return frame(BINARY, cast("bytes", msgpack.packb({"type": kind, "nsp": NAMESPACE, **fields})))


def is_connected(payload: bytes, *, packed: bool) -> bool:
    """Whether it is the answer to `connect`."""
    return _PACKED_CONNECT in payload[:HEAD] if packed else payload.startswith(_CONNECTED)


def acked(payload: bytes, *, packed: bool) -> bool:
    """Whether it is the answer to an event."""
    return _PACKED_ACK in payload[:HEAD] if packed else payload.startswith(_ACK)


def is_refusal(payload: bytes, *, packed: bool) -> bool:
    """Whether an answer says no, as Tickwire does."""
    return (b"\xa2ok\xc2" if packed else b'"ok":false') in payload[:HEAD]


def ack_id_of(payload: bytes, *, packed: bool) -> int:
    """Which event an answer is for."""
    if packed:
        return int(msgpack.unpackb(payload)["id"])
    return int(payload[len(_ACK) : payload.index(b"[")])


def prices_of(payload: bytes, *, packed: bool) -> list[Price]:
    """What an update or a batch says.

    Raises:
        ValueError: it is neither, or not of the shape that clients are promised.
    """
    try:
        data = msgpack.unpackb(payload)["data"] if packed else msgspec.json.decode(payload[len(_ACK) :])
        name, content, *more = data
        if name == ServerEvent.PRICE_UPDATE:
            return [_one(content)]
        return _many(content, more[0] if more else {})
    except (KeyError, TypeError, IndexError, msgpack.UnpackException) as error:
        raise ValueError(f"no price: {payload[:HEAD]!r}") from error


def _one(content: dict[str, Any]) -> Price:
    return Price(
        content["symbol"],
        float(content["price"]),
        content.get("seq", 0),
        content.get("n", 1),
        bool(content.get("snap")),
    )


def _many(pairs: list[list[Any]], extras: dict[str, Any]) -> list[Price]:
    seqs = extras.get("seqs") or [0] * len(pairs)
    counts = extras.get("ns") or [1] * len(pairs)
    restated = bool(extras.get("snap"))
    return [
        Price(symbol, float(price), seq, n, restated)
        for (symbol, price), seq, n in zip(pairs, seqs, counts, strict=True)
    ]
