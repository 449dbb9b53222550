"""Socket.IO above the conformance clients: packets of either parser over either transport, written by hand.

Both parsers are written here a second time, on purpose: a test that used the gateway's own would agree with its errors.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import msgpack

from tests.support.conformance_client import Poller, Wire

ParserName = Literal["json", "msgpack"]
TransportName = Literal["polling", "websocket"]
Json = Any  # what a test reads out of a packet: it says itself what it expects

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4
WITH_ATTACHMENTS: Final = 3
"""Added to EVENT or ACK where attachments follow."""

UNDEFINED: Final = msgpack.ExtType(0, b"\0")


@dataclass(frozen=True, slots=True)
class Packet:
    """One Socket.IO packet; `data` is None where there is none."""

    kind: int
    data: Json = None
    namespace: str = "/"
    ack_id: int | None = None


class Link(Protocol):
    """A transport: a `Poller` or a `Wire`."""

    async def send(self, *packets: str | bytes) -> None:
        """Send Engine.IO packets."""

    async def next(self) -> str | bytes | None:
        """The next one that is no ping; None at the end."""

    def drop(self) -> None:
        """Leave without a word."""


class SocketPeer:
    """A client that says and hears packets, and leaves all meaning to the test."""

    def __init__(self, link: Link, parser: ParserName) -> None:
        self.link = link
        self.parser = parser

    async def say(self, *packets: Packet) -> None:
        """Send packets, together where the transport can."""
        write = _write_json if self.parser == "json" else _write_msgpack
        await self.link.send(*(frame for packet in packets for frame in write(packet)))

    async def hear(self) -> Packet | None:
        """The next packet; None when the connection is over."""
        frame = await self.link.next()
        if frame is None:
            return None
        if self.parser == "msgpack":
            assert isinstance(frame, bytes), frame
            return _read_msgpack(frame)
        assert isinstance(frame, str), frame
        packet, attachments = _read_json(frame)
        parts = [await self.link.next() for _ in range(attachments)]
        if parts:
            packet = Packet(packet.kind, _fill(packet.data, parts), packet.namespace, packet.ack_id)
        return packet

    async def join(self, namespace: str = "/", auth: Json = None) -> str:
        """Connect to a namespace that is served: the id that the server gave."""
        await self.say(Packet(CONNECT, auth, namespace))
        reply, told = await self.hear(), await self.hear()
        assert reply is not None
        assert told == Packet(EVENT, ["auth", auth or {}], namespace)
        return str(reply.data["sid"])

    async def lives(self) -> bool:
        """Whether the server still answers in `/`."""
        await self.say(Packet(EVENT, ["message", "alive?"]))
        return await self.hear() == Packet(EVENT, ["message-back", "alive?"])


@asynccontextmanager
async def peer(port: int, transport: TransportName, parser: ParserName) -> AsyncIterator[SocketPeer]:
    """A client that has opened its connection and said nothing."""
    link: Link
    link = await (Poller.open(port, "/socket.io/") if transport == "polling" else Wire.connect(port, "/socket.io/"))
    try:
        yield SocketPeer(link, parser)
    finally:
        link.drop()


def _write_json(packet: Packet) -> list[str | bytes]:
    parts: list[bytes] = []

    def extract(value: Json) -> Json:
        parts.append(value)
        return {"_placeholder": True, "num": len(parts) - 1}

    data = None if packet.data is None else json.dumps(packet.data, default=extract)
    kind = f"{packet.kind + WITH_ATTACHMENTS}{len(parts)}-" if parts else str(packet.kind)
    namespace = "" if packet.namespace == "/" else f"{packet.namespace},"
    number = "" if packet.ack_id is None else packet.ack_id
    return [f"4{kind}{namespace}{number}{data or ''}", *parts]


def _read_json(frame: str) -> tuple[Packet, int]:
    assert frame.startswith("4"), frame
    kind, rest, attachments, namespace = int(frame[1]), frame[2:], 0, "/"
    if kind > CONNECT_ERROR:
        kind -= WITH_ATTACHMENTS
        count, _, rest = rest.partition("-")
        attachments = int(count)
    if rest.startswith("/"):
        namespace, _, rest = rest.partition(",")
    number = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    data = rest[len(number) :]
    return Packet(kind, json.loads(data) if data else None, namespace, int(number) if number else None), attachments


def _fill(value: Json, parts: list[Json]) -> Json:
    match value:
        case {"_placeholder": True, "num": num}:
            return parts[num]
        case dict():
            return {key: _fill(item, parts) for key, item in value.items()}
        case list():
            return [_fill(item, parts) for item in value]
        case _:
            return value


def _write_msgpack(packet: Packet) -> list[str | bytes]:
    fields = {"type": packet.kind, "nsp": packet.namespace}
    if packet.kind != DISCONNECT:
        fields["data"] = UNDEFINED if packet.data is None else packet.data
    if packet.ack_id is not None:
        fields["id"] = packet.ack_id
    return [bytes(msgpack.packb(fields))]


def _read_msgpack(frame: bytes) -> Packet:
    fields = msgpack.unpackb(frame)
    assert None not in (fields.get("data", ""), fields.get("id", "")), "stock clients refuse nil where a key may miss"
    assert fields.keys() <= {"type", "data", "nsp", "id"}, fields
    return Packet(fields["type"], fields.get("data"), fields["nsp"], fields.get("id"))
