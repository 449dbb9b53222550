"""Clients for the conformance tests that hide nothing: HTTP requests byte by byte, polls, WebSockets, the app itself.

`serving` runs the app as a process of its own; `Http`, `Poller` and `Wire` speak to it. Nothing is retried, decoded
or answered unless a test says so, but pings where it says `next`.
"""

import asyncio
import base64
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support.waiting import PATIENCE_S
from tests.support.wire_client import Op, WireClient, upgrade_head

ROOT: Final = Path(__file__).parents[2]
SEPARATOR: Final = "\x1e"
SUITE_PINGS_MS: Final = (300, 200)
"""Ping interval and timeout of the official suites."""

NO_PINGS_MS: Final = (25_000, 20_000)
"""For all tests but those of the heartbeat: no ping comes between, a slow machine is forgiven."""

Json = Any  # what a test reads out of an answer: it says itself what it expects


@contextmanager
def serving(pings_ms: tuple[int, int] = SUITE_PINGS_MS) -> Iterator[int]:
    """The conformance app on a free port, until the end."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = int(reserved.getsockname()[1])
    interval, timeout = map(str, pings_ms)
    command = [sys.executable, "-m", "tests.interop.conformance_app", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--ping-interval", interval, "--ping-timeout", timeout], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n", "the app did not start; its errors are on stderr"
            yield port
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Json:
        """The body, read."""
        return json.loads(self.body)


class Http:
    """One TCP connection for HTTP requests, one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect."""
        async with asyncio.timeout(PATIENCE_S):
            return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()

    def abort(self) -> None:
        """Go away without a word."""
        self._writer.transport.abort()

    def close(self) -> None:
        """Go away as a client does that cancels a request: FIN."""
        self._writer.close()

    def send(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request."""
        fields = {"Host": "127.0.0.1", **(headers or {})}
        if body is not None and "Transfer-Encoding" not in fields:
            fields.setdefault("Content-Length", str(len(body)))
        lines = [f"{name}: {value}" for name, value in fields.items()]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
        self.send_bytes(head.encode("latin-1") + (body or b""))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes of a request."""
        self._writer.write(data)

    async def answer(self) -> Answer:
        """Read the next answer."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            fields = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in fields}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split()[1]), headers, body)

    async def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request, read its answer."""
        self.send(method, target, body, headers)
        return await self.answer()

    async def at_end(self) -> bool:
        """Whether the server closes the connection now."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read(1) == b""


async def request(
    port: int, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a TCP connection of its own."""
    async with await Http.open(port) as http:
        return await http.ask(method, target, body, headers)


class Poller:
    """One polling connection; each request has a TCP connection of its own.

    Attributes:
        handshake: what the open packet said.
        received: packets that a GET brought and `next` has not returned, oldest first.
    """

    def __init__(self, port: int, path: str, handshake: Json) -> None:
        self._port = port
        self.handshake = handshake
        self.target = f"{path}?EIO=4&transport=polling&sid={handshake['sid']}"
        self.websocket_target = f"{path}?EIO=4&transport=websocket&sid={handshake['sid']}"
        self.received: list[str] = []

    @classmethod
    async def open(cls, port: int, path: str = "/engine.io/") -> Self:
        """Make the handshake."""
        opened = await request(port, "GET", f"{path}?EIO=4&transport=polling")
        assert opened.status == 200, opened
        assert opened.text.startswith("0"), opened
        return cls(port, path, json.loads(opened.text[1:]))

    async def get(self, headers: Mapping[str, str] | None = None) -> Answer:
        """Poll once."""
        return await request(self._port, "GET", self.target, headers=headers)

    async def post(self, body: str | bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a payload."""
        data = body.encode() if isinstance(body, str) else body
        return await request(self._port, "POST", self.target, data, headers)

    async def parked(self) -> Http:
        """A GET that the server has read and keeps: a request sent after it on any connection comes later."""
        http = await Http.open(self._port)
        http.send("GET", self.target)
        await self.settle()
        return http

    async def settle(self) -> None:
        """Wait until the server has read all that was sent before."""
        for _ in range(2):  # it accepts in one turn and reads in another
            await request(self._port, "GET", "/")

    # As a transport of Socket.IO

    async def send(self, *packets: str | bytes) -> None:
        """Send packets in one payload; bad ones may be refused at once, or taken and the connection closed."""
        body = SEPARATOR.join(p if isinstance(p, str) else "b" + base64.b64encode(p).decode() for p in packets)
        answer = await self.post(body)
        assert answer.status == 400 or (answer.status, answer.text) == (200, "ok"), answer

    async def next(self) -> str | bytes | None:
        """The next packet, polling as long as needed and answering pings; None when the connection is over."""
        while True:
            if not self.received:
                answer = await self.get()
                if answer.status == 400:
                    return None
                assert answer.status == 200, answer
                self.received = answer.text.split(SEPARATOR)
            packet = self.received.pop(0)
            if packet == "1":
                return None
            if packet == "2":
                await self.post("3")
            else:
                return base64.b64decode(packet[1:], validate=True) if packet.startswith("b") else packet

    def drop(self) -> None:
        """Nothing is held between requests."""


class Wire:
    """One WebSocket.

    Attributes:
        head: the 101.
        client: below, for frames of all kinds.
    """

    def __init__(self, head: str, client: WireClient) -> None:
        self.head = head
        self.client = client

    @classmethod
    async def open(cls, port: int, target: str, headers: Mapping[str, str | None] | None = None) -> Self:
        """Make the handshake of RFC 6455 and no other."""
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 21)
            writer.write(upgrade_head(target, headers))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        assert head.startswith("HTTP/1.1 101 "), head
        return cls(head, WireClient(reader, writer))

    @classmethod
    async def connect(cls, port: int, path: str = "/engine.io/", query: str = "") -> Self:
        """Open a connection by WebSocket alone, and drop the open packet."""
        wire = await cls.open(port, f"{path}?EIO=4&transport=websocket{query}")
        opened = await wire.frame()
        assert isinstance(opened, str), opened
        assert opened.startswith("0{"), opened
        return wire

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.drop()

    async def send(self, *packets: str | bytes) -> None:
        """Send packets, each in a frame."""
        for packet in packets:
            self.client.send(Op.TEXT if isinstance(packet, str) else Op.BINARY, packet)

    async def frame(self) -> str | bytes:
        """The next message, whatever it is."""
        received = await self.client.receive()
        assert received is not None, "the server closed the TCP connection"
        assert received.op in (Op.TEXT, Op.BINARY), received
        return received.payload.decode() if received.op is Op.TEXT else received.payload

    async def next(self) -> str | bytes | None:
        """The next packet, answering pings; None when the server says goodbye."""
        while True:
            received = await self.client.receive()
            if received is None or received.op is Op.CLOSE:
                return None
            packet = received.payload.decode() if received.op is Op.TEXT else received.payload
            if packet != "2":
                return packet
            self.client.text("3")

    async def goodbye(self) -> int | None:
        """Read until the close frame, and return its code; None where it is empty."""
        code, said = await self.client.ended()
        assert said, "the server closed without a close frame"
        return code

    def drop(self) -> None:
        """Go away without a word."""
        self.client.writer.transport.abort()
