"""Clients of many addresses and of ill will, in pieces: loopback has sixteen million addresses to come from."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from shared.tasks import TaskGroup
from tests.support.cluster import Service
from tests.support.waiting import PATIENCE_S
from tests.support.wire_client import PATH, WireClient, upgrade_head

POLLING: Final = PATH.replace("websocket", "polling")
SWITCHED: Final = 101
OK: Final = 200


@dataclass(frozen=True, slots=True)
class Opened:
    """One handshake: its answer's status (0: the line was cut), what followed, and the connection."""

    status: int
    body: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def client(self) -> WireClient:
        """The WebSocket, once it was switched to."""
        return WireClient(self.reader, self.writer)


def polling_head(headers: Mapping[str, str] | None = None, target: str = POLLING, method: str = "GET") -> bytes:
    """A request of long-polling."""
    fields = {"Host": "h", "Connection": "close", **(headers or {})}
    return "\r\n".join([f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]).encode()


async def dial(port: int, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TCP connection from one of loopback's addresses."""
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def handshake(
    port: int,
    source: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    *,
    polls: bool = False,
    before: bytes = b"",
) -> Opened:
    """Try to become a client; `before` is what a proxy writes first. The caller closes WebSockets."""
    head = polling_head(headers) if polls else upgrade_head(headers=dict(headers or {}))
    reader, writer = await dial(port, source)
    body = ""
    try:
        writer.write(before + head)
        async with asyncio.timeout(PATIENCE_S):
            line = await reader.readline()
            while (await reader.readline()).strip():
                pass
            status = int(line.split()[1]) if line else 0
            if status != SWITCHED:
                body = (await reader.read()).decode()
    except ConnectionError:
        status = 0
    if status != SWITCHED:
        writer.transport.abort()
    return Opened(status, body, reader, writer)


@asynccontextmanager
async def clients(
    port: int, count: int, source: str = "127.0.0.1", headers: Mapping[str, str] | None = None
) -> AsyncIterator[list[Opened]]:
    """So many handshakes one after another, all left open until the end."""
    opened: list[Opened] = []
    try:
        for _ in range(count):
            opened += [await handshake(port, source, headers)]
        yield opened
    finally:
        for one in opened:
            one.writer.transport.abort()


async def admits(port: int, source: str = "127.0.0.1", headers: Mapping[str, str] | None = None) -> bool:
    """Whether a WebSocket handshake is let in; it leaves at once."""
    opened = await handshake(port, source, headers)
    opened.writer.transport.abort()
    return opened.status == SWITCHED


@asynccontextmanager
async def sockets(
    port: int, count: int, first: bytes = b"", source: str = "127.0.0.1"
) -> AsyncIterator[list[socket.socket]]:
    """So many TCP connections that have said `first` and nothing else."""
    loop = asyncio.get_running_loop()
    made: list[socket.socket] = []
    try:
        for _ in range(count):
            raw = socket.socket()
            raw.setblocking(False)  # noqa: FBT003 - the standard library's
            raw.bind((source, 0))
            made.append(raw)
            async with asyncio.timeout(PATIENCE_S):
                await loop.sock_connect(raw, ("127.0.0.1", port))
                if first:
                    await loop.sock_sendall(raw, first)
        yield made
    finally:
        for raw in made:
            raw.close()


def closed(raws: Sequence[socket.socket]) -> int:
    """How many of them the server has closed; what it has answered before is thrown away."""
    return sum(map(_is_closed, raws))


def _is_closed(raw: socket.socket) -> bool:
    try:
        while raw.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


async def refused(gateway: Service, reason: str) -> float:
    """How many handshakes were refused for it."""
    return (await gateway.scrape()).get(f'tickwire_handshakes_refused_total{{reason="{reason}"}}', 0.0)


async def ended(gateway: Service, reason: str) -> float:
    """How many connections ended for it."""
    return (await gateway.scrape())[f'tickwire_disconnects_total{{reason="{reason}"}}']


async def ended_though_busy(client: WireClient, data: bytes) -> tuple[int | None, bool]:
    """How it ends, though it sends this ten times a second."""

    async def be_busy() -> None:
        while True:
            client.writer.write(data)
            await asyncio.sleep(0.1)

    async with TaskGroup() as tasks:
        tasks.spawn("busy", be_busy())
        return await client.ended()


async def swallow(client: WireClient) -> None:
    """Read until the end, whatever comes."""
    with contextlib.suppress(ConnectionError):
        while await client.receive() is not None:
            pass
