"""What a hostile client holds: one raw TCP connection from an address of its own, and what it has counted.

Used by the kinds of attack; feeds their `Toll`. Every byte is written by hand: no library stands between an attack and
the port, and nothing is read unless the attack says so.
"""

import asyncio
import random
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Final

from services.launcher.load import wire

CONNECT_S: Final = 5.0
READ_BYTES: Final = 65_536
SMALL_BUFFER: Final = 4_096
"""Receive buffer of a client that does not read: the kernel is not to hide what waits for it, in bytes."""

_ABORT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets. It leaves no socket in TIME_WAIT, of which a flood would soon have too many."""

_HEAD: Final = "GET /socket.io/?EIO=4&transport={query} HTTP/1.1\r\nHost: soak\r\n{more}\r\n"
_UPGRADE: Final = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


class CutError(Exception):
    """The gateway has ended the connection."""


class RefusedError(CutError):
    """The gateway has answered a handshake with anything but yes."""


@dataclass(slots=True)
class Toll:
    """What one kind has done so far, and what became of it.

    Attributes:
        lives: connections begun.
        packets: frames, packets, requests or pieces of them that were sent.
        sent_bytes: all together.
        refused: lives that ended in a refused handshake or connection.
        cut: lives that the gateway ended.
    """

    lives: int = 0
    packets: int = 0
    sent_bytes: int = 0
    refused: int = 0
    cut: int = 0

    def plain(self) -> dict[str, int]:
        """As JSON can carry it."""
        return asdict(self)


class Line:
    """One connection of an attacker.

    Args:
        raw: connected, not blocking.
        toll: of its kind.
    """

    def __init__(self, raw: socket.socket, toll: Toll) -> None:
        self._raw = raw
        self._toll = toll
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, source: str, target: tuple[str, int], toll: Toll, *, small: bool = False) -> "Line":
        """Connect from an address of one's own; `small`: with hardly any receive buffer.

        Raises:
            RefusedError: nobody takes the connection.
        """
        raw = socket.socket()
        raw.setblocking(False)  # noqa: FBT003 - its own interface
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if small:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        raw.bind((source, 0))
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().sock_connect(raw, target)
        except (OSError, TimeoutError) as error:
            raw.close()
            raise RefusedError from error
        except asyncio.CancelledError:
            raw.close()
            raise
        return cls(raw, toll)

    def close(self) -> None:
        """Reset."""
        self._raw.close()

    async def send(self, data: bytes, packets: int = 1) -> None:
        """Write it all; waits while the gateway does not read.

        Raises:
            CutError: the gateway has ended the connection.
        """
        try:
            await self._loop.sock_sendall(self._raw, data)
        except OSError as error:
            raise CutError from error
        self._toll.packets += packets
        self._toll.sent_bytes += len(data)

    async def drip(self, data: bytes, every_s: float) -> None:
        """Write it byte by byte."""
        for byte in data:
            await self.send(bytes((byte,)))
            await asyncio.sleep(every_s)

    async def read(self) -> bytes:
        """What comes next.

        Raises:
            CutError: nothing more will come.
        """
        try:
            data = await self._loop.sock_recv(self._raw, READ_BYTES)
        except OSError as error:
            raise CutError from error
        if not data:
            raise CutError
        return data

    async def read_until(self, token: bytes) -> bytes:
        """Everything up to the read that holds `token`."""
        data = b""
        while token not in data:
            data = data[-READ_BYTES:] + await self.read()
        return data

    async def read_on(self) -> None:
        """Read until the gateway ends it: the only way out is `CutError`."""
        while True:
            await self.read()

    # Handshakes, as far as an attack wants to go

    async def upgrade(self) -> None:
        """Become a WebSocket that Engine.IO has opened."""
        await self.send(head("websocket", _UPGRADE))
        answer = await self.read_until(b"\r\n\r\n")
        if not answer.startswith(wire.SWITCHED):
            raise RefusedError
        if b'"sid"' not in answer:
            await self.read_until(b'"sid"')

    async def join(self) -> None:
        """Become a client of the namespace; the answer is a yes."""
        await self.upgrade()
        await self.text("40")
        await self.read_until(b'40{"sid"')

    async def poll(self) -> str:
        """Open a long-polling session: its id."""
        await self.send(head("polling"))
        answer = await self.read_until(b"}")
        if b" 200 " not in answer[:16]:
            raise RefusedError
        return answer.partition(b'"sid":"')[2].partition(b'"')[0].decode()

    # Frames

    async def text(self, payload: str, times: int = 1) -> None:
        """One text frame, or the same again in one write."""
        await self.send(wire.frame(wire.TEXT, payload.encode()) * times, times)

    async def binary(self, payload: bytes) -> None:
        """One binary frame."""
        await self.send(wire.frame(wire.BINARY, payload))


def head(query: str, more: str = "", method: str = "GET") -> bytes:
    """A request head; `query` begins with the transport, `more` are lines."""
    return (method + _HEAD.format(query=query, more=more)[3:]).encode()


def post(sid: str, length: int, kind: str = "text/plain;charset=UTF-8") -> bytes:
    """The head of a POST to a long-polling session."""
    return head(f"polling&sid={sid}", f"Content-Type: {kind}\r\nContent-Length: {length}\r\n", "POST")


def word(chance: random.Random, length: int = 12) -> str:
    """A name that nobody has used before."""
    return "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=length))
