"""A client below all libraries: HTTP heads and WebSocket frames made by hand, so that illegal ones can be sent.

`ask` sends one HTTP request as it is; `connect` does the handshakes of HTTP and Engine.IO; `WireClient` then speaks
WebSocket frame by frame. `wire_socket.py` has the Socket.IO on top.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any, Final, Self

from tests.support.waiting import PATIENCE_S

PATH: Final = "/socket.io/?EIO=4&transport=websocket"
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="

Json = Any  # what a test reads out of a packet: it says itself what it expects


class Op(IntEnum):
    """WebSocket opcodes (RFC 6455 section 5.2)."""

    CONT = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: str

    def json(self) -> Json:
        """Its body, read."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame from the server."""

    op: Op
    payload: bytes

    @property
    def close_code(self) -> int | None:
        """Of a close frame; None where it is empty."""
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None


def upgrade_head(target: str = PATH, headers: Mapping[str, str | None] | None = None, method: str = "GET") -> bytes:
    """The head of a WebSocket handshake; `headers` replaces or, with None, leaves out."""
    fields: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        **(headers or {}),
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


async def ask(port: int, request: bytes, patience: float = PATIENCE_S) -> Reply:
    """Send bytes, read until the server closes. It may close before it has read them all."""
    loop = asyncio.get_running_loop()
    answer = bytearray()
    with _open_socket() as raw:
        async with asyncio.timeout(patience):
            await loop.sock_connect(raw, ("127.0.0.1", port))
            with suppress(ConnectionError):
                await loop.sock_sendall(raw, request)
            with suppress(ConnectionError):
                while received := await loop.sock_recv(raw, 65_536):
                    answer += received
    return _reply(bytes(answer))


def frame(op: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """A client's frame, legal or not."""
    first = (0x80 if fin else 0) | rsv << 4 | op
    bit = 0x80 if masked else 0
    length = len(payload)
    if length < 126:
        head = bytes((first, bit | length))
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, length)
    else:
        head = struct.pack("!BBQ", first, bit | 127, length)
    if not masked:
        return head + payload
    key = os.urandom(4)
    stream = (key * (length // 4 + 1))[:length]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(length, "big")


class WireClient:
    """One WebSocket, after its 101.

    Attributes:
        writer: for bytes that are no frame.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._begun = b""
        self.writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    def send(self, op: int, payload: bytes | str = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> None:
        """Send one frame."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.writer.write(frame(op, data, fin=fin, masked=masked, rsv=rsv))

    def text(self, packet: str) -> None:
        """Send one Engine.IO packet as text."""
        self.send(Op.TEXT, packet)

    def stall(self) -> None:
        """Read nothing more from the socket, until `resume`."""
        self._transport().pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._transport().resume_reading()

    async def receive(self, patience: float | None = PATIENCE_S) -> Frame | None:
        """The next frame; None when the server has closed the TCP connection."""
        async with asyncio.timeout(patience):
            try:
                head = await self._first(2)
                length, start = head[1] & 0x7F, 2
                if length == 126:
                    start = 4
                    (length,) = struct.unpack("!H", (await self._first(start))[2:])
                elif length == 127:
                    start = 10
                    (length,) = struct.unpack("!Q", (await self._first(start))[2:])
                whole = await self._first(start + length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        self._begun = b""
        return Frame(Op(whole[0] & 0x0F), whole[start:])

    async def _first(self, size: int) -> bytes:
        """The first bytes of a frame; kept for the next reader if this one is cancelled in the middle."""
        if len(self._begun) < size:
            self._begun += await self._reader.readexactly(size - len(self._begun))
        return self._begun

    async def ended(self, patience: float = PATIENCE_S) -> tuple[int | None, bool]:
        """Read until the end, answering a goodbye: the code of the close frame, and whether there was one."""
        code, said = None, False
        async with asyncio.timeout(patience):
            while (received := await self.receive()) is not None:
                if received.op is Op.CLOSE:
                    code, said = received.close_code, True
                    self.send(Op.CLOSE, received.payload)
        return code, said

    def _transport(self) -> asyncio.Transport:
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        return transport


async def connect(
    port: int,
    target: str = PATH,
    headers: Mapping[str, str | None] | None = None,
    receive_buffer: int | None = None,
    *,
    opens: bool = True,
) -> WireClient:
    """Open a WebSocket and take the Engine.IO handshake packet, unless it `opens` none because it upgrades.

    `receive_buffer` is the kernel's, in bytes.
    """
    raw = _open_socket()
    if receive_buffer is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=4096 if receive_buffer else 65_536)
        writer.write(upgrade_head(target, headers))
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    client = WireClient(reader, writer)
    if not opens:
        return client
    opened = await client.receive()
    assert opened is not None
    assert opened.payload.startswith(b'0{"sid"'), opened
    return client


def _open_socket() -> socket.socket:
    raw = socket.socket()
    raw.setblocking(False)  # noqa: FBT003 - its own interface
    return raw


def _reply(answer: bytes) -> Reply:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    return Reply(int(status.split()[1]) if status else 0, headers, body.decode("latin-1"))
