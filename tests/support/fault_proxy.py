"""A TCP proxy between services and Redis that can fail as networks do, on command and only for chosen connections.

It runs in a thread of the test, so a test that is busy delays nobody. Connections are chosen by what they have said at
their beginning, in any case of letters: `PUBSUB`, or a client name, since every service tells its own.

    with FaultProxy(valkey.url) as proxy:
        gateway = await cluster.start("gateway", REDIS_URL=proxy.url)
        proxy.deafen(PUBSUB)
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from shared.tasks import TaskGroup
from tests.support.waiting import PATIENCE_S

PUBSUB: Final = b"SUBSCRIBE"
"""What every Pub/Sub connection says, sharded or not, and no other."""

EVERYONE: Final = b""
BEGINNING: Final = 4096
"""So many of a connection's first bytes are remembered."""

_RESET: Final = struct.pack("ii", 1, 0)

T = TypeVar("T")


@dataclass(eq=False)
class _Link:
    """One client's connection and ours on its behalf."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    said: bytes = b""
    is_deaf: bool = False
    loses_reply: bool = False

    def hear(self, data: bytes) -> None:
        self.said += data[: BEGINNING - len(self.said)].upper()

    def cut(self, *, reset: bool = False) -> None:
        for writer in (self.client, self.server):
            if reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class FaultProxy:
    """The proxy; a context manager. Every method returns when it is so, and may be called from any thread.

    Args:
        url: of the Redis behind it.

    Attributes:
        url: what a service's `REDIS_URL` is to be.
    """

    def __init__(self, url: str) -> None:
        self._behind = urlsplit(url)
        self._links: set[_Link] = set()
        self._handled = 0
        self._delay_s = 0.0
        self._unanswered = EVERYONE
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call(self._stopping.set)
        self._thread.join(PATIENCE_S)

    def count(self, said: bytes) -> int:
        """Open connections that have said this."""
        return self._call(lambda: len(self._chosen(said)))

    def deafen(self, said: bytes) -> int:
        """Drop all that these connections are sent from now on, and keep them open; new ones work. How many."""
        return self._on_each(said, lambda link: setattr(link, "is_deaf", True))

    def close(self, said: bytes) -> int:
        """Reset these connections. How many."""
        return self._on_each(said, lambda link: link.cut(reset=True))

    def blackhole(self, seconds: float | None = None) -> None:
        """Hold back every byte both ways, of new connections too, and tell no end; for some time or until `heal`."""

        def begin() -> None:
            self._passing.clear()
            if seconds is not None:
                self._loop.call_later(seconds, self._passing.set)

        self._call(begin)

    def heal(self) -> None:
        """End a blackhole: what was held back arrives, as TCP would send it again. Ends a delay too."""
        self.delay(0)
        self._call(self._passing.set)

    def delay(self, seconds: float) -> None:
        """Hand on each piece so much later, either way."""
        self._delay_s = seconds

    def swallow_reply(self, said: bytes) -> None:
        """Let the next command with this in it reach Redis, drop the answer, reset the connection. Once."""
        self._unanswered = said.upper()

    def is_swallowed(self) -> bool:
        """Whether the command of `swallow_reply` has come by."""
        return self._unanswered == EVERYONE

    def _chosen(self, said: bytes) -> list[_Link]:
        return [link for link in self._links if said.upper() in link.said]

    def _on_each(self, said: bytes, act: Callable[[_Link], None]) -> int:
        def work() -> int:
            chosen = self._chosen(said)
            for link in chosen:
                act(link)
            return len(chosen)

        return self._call(work)

    def _call(self, work: Callable[[], T]) -> T:
        done: Future[T] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(work()))
        return done.result(PATIENCE_S)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping, self._passing = asyncio.Event(), asyncio.Event()
        self._passing.set()
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.url = f"{self._behind.scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set_result(None)
        await self._stopping.wait()
        server.close()
        self._delay_s = 0
        self._passing.set()
        while self._handled:  # until they have ended by themselves: a server's tasks do not bear being cancelled
            for link in self._links:
                link.cut()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)  # transports are closed a turn after they are aborted

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._handled += 1
        try:
            await self._passing.wait()
            from_server, to_server = await asyncio.open_connection(self._behind.hostname, self._behind.port)
        except OSError:
            writer.transport.abort()
        else:
            link = _Link(writer, to_server)
            self._links.add(link)
            async with TaskGroup() as tasks:
                back = tasks.spawn("to-client", self._to_client(link, from_server))
                await self._to_server(link, reader)
                await back
            self._links.discard(link)
        finally:
            self._handled -= 1

    async def _to_server(self, link: _Link, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(65_536):
                link.hear(data)
                if self._unanswered and self._unanswered in data.upper():
                    self._unanswered, link.loses_reply = EVERYONE, True
                await self._hand_on(data, link.server)
        except ConnectionError:
            pass
        await self._passing.wait()
        link.cut()

    async def _to_client(self, link: _Link, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(65_536):
                if link.loses_reply:
                    link.cut(reset=True)
                elif not link.is_deaf:
                    await self._hand_on(data, link.client)
        except ConnectionError:
            pass
        await self._passing.wait()
        link.cut()

    async def _hand_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        await self._passing.wait()
        writer.write(data)
        await writer.drain()
