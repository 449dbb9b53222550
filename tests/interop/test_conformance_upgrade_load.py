"""Upgrades while both sides speak: nothing is lost, doubled or reordered, whatever the moment (protocol reference 2.7).

The server's application numbers what it says and what it hears; each client does the dance of the JavaScript client at
moments of its own, polling and posting until it must not.
"""

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from typing import Final

from protocol.engineio.session import SessionSettings
from protocol.socketio.parser import MessageData
from services.gateway.connection import EngineConnection
from services.gateway.frames import frame_message
from services.gateway.limits import WebSocketLimits
from services.gateway.outbox import Flusher, Outbox
from services.gateway.server import Mount, Server, ServerSettings
from shared.names.close_reasons import CloseReason
from shared.tasks import TaskGroup
from tests.support.conformance_client import SEPARATOR, Http, Poller, Wire
from tests.support.waiting import PATIENCE_S

UPGRADES: Final = 200
AT_ONCE: Final = 8
PAUSE_S: Final = 0.001
STOP: Final = "stop"


def numbered(number: int) -> MessageData:
    """The message of this number: text and binary in turn, some of them large."""
    padding = "x" * (20_000 if number % 50 == 49 else number % 7)
    text = f"{number} {padding}"
    return text.encode() if number % 3 == 2 else text


def number_of(data: str | bytes) -> int:
    """What `numbered` wrote."""
    return int((data if isinstance(data, str) else data.decode()).split(" ")[0])


class Counting:
    """One connection's application: says numbers all the time, notes those that it hears; implements `Application`."""

    def __init__(self, connection: EngineConnection, flusher: Flusher) -> None:
        self._outbox = Outbox(connection, flusher, 0)
        self._said = 0
        self._stopped = False
        self.heard: list[int] = []
        self._timer: asyncio.Handle = asyncio.get_running_loop().call_soon(self._say)

    def receive(self, data: MessageData, _now: float) -> None:
        """Note a number; on STOP tell how many were said."""
        if data == STOP:
            self._stopped = True
            self._outbox.send(frame_message(f"{STOP} {self._said}"))
        else:
            self.heard.append(number_of(data))

    def drained(self) -> None:
        """Write what waited."""
        self._outbox.resume()

    def closed(self, _reason: CloseReason) -> None:
        """Say no more."""
        self._stopped = True
        self._timer.cancel()
        self._outbox.drop()

    def next_deadline(self) -> float:
        """There is none."""
        return inf

    def handle_deadline(self, _now: float) -> None:
        """Never called for a deadline of its own."""

    def _say(self) -> None:
        if not self._stopped:
            self._outbox.send(frame_message(numbered(self._said)))
            self._said += 1
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._say)


class Dance:
    """One client, from its handshake to its end.

    Attributes:
        said: how many numbers it sent.
        heard: those that came, in order.
    """

    def __init__(self, port: int, poller: Poller, seed: int) -> None:
        self._port = port
        self._poller = poller
        self._random = random.Random(seed)
        self._may_poll = self._may_post = True
        self.said = 0
        self.heard: list[int] = []

    async def run(self) -> int:
        """Upgrade in the middle of it all, stop soon after; how many numbers the server said."""
        async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as held, TaskGroup() as tasks:
            polls = tasks.spawn("polls", self._poll(await held.enter_async_context(await Http.open(self._port))))
            posts = tasks.spawn("posts", self._post(await held.enter_async_context(await Http.open(self._port))))
            await self._pause()
            wire = await held.enter_async_context(await Wire.open(self._port, self._poller.websocket_target))
            await self._pause()
            await wire.send("2probe")
            assert await wire.frame() == "3probe"
            await self._pause()
            self._may_poll = self._may_post = False
            await polls
            await posts
            return await self._finish(wire)

    async def _finish(self, wire: Wire) -> int:
        await wire.send("5", *self._say(3))
        for _ in range(10):
            self._hear(await wire.frame())
            await wire.send(*self._say(1))
        await wire.send(f"4{STOP}")
        while not isinstance(packet := await wire.frame(), str) or not packet.startswith(f"4{STOP}"):
            self._hear(packet)
        return int(packet.split(" ")[1])

    async def _poll(self, http: Http) -> None:
        """Until a WebSocket takes over; the last answer is a noop then."""
        while self._may_poll:
            answer = await http.ask("GET", self._poller.target, headers={"User-Agent": "node-XMLHttpRequest"})
            assert answer.status == 200, answer
            for packet in answer.text.split(SEPARATOR):
                if packet != "6":
                    self._hear(base64.b64decode(packet[1:]) if packet.startswith("b") else packet)

    async def _post(self, http: Http) -> None:
        while self._may_post:
            packets = [p if isinstance(p, str) else "b" + base64.b64encode(p).decode() for p in self._say(4)]
            answer = await http.ask("POST", self._poller.target, SEPARATOR.join(packets).encode())
            assert (answer.status, answer.text) == (200, "ok"), answer
            await self._pause()

    def _say(self, count: int) -> list[str | bytes]:
        first, self.said = self.said, self.said + count
        messages = map(numbered, range(first, self.said))
        return [f"4{data}" if isinstance(data, str) else data for data in messages]

    def _hear(self, packet: str | bytes) -> None:
        self.heard.append(number_of(packet.removeprefix("4") if isinstance(packet, str) else packet))

    async def _pause(self) -> None:
        await asyncio.sleep(self._random.random() * 4 * PAUSE_S)


@asynccontextmanager
async def counting_server() -> AsyncIterator[tuple[int, dict[str, Counting]]]:
    """The server's port, and its applications by sid."""
    loop = asyncio.get_running_loop()
    flusher, made = Flusher(loop, 1_000_000), dict[str, Counting]()

    def make(connection: EngineConnection) -> Counting:
        return made.setdefault(connection.sid, Counting(connection, flusher))

    limits = WebSocketLimits(max_message=1_000_000, frame_rate=inf, frame_burst=1e6, write_timeout=10)
    settings = ServerSettings(allowed_origins=frozenset("*"), max_connections=0, max_accepts=0, head_timeout=5)
    server = Server(loop, settings, {"/engine.io/": Mount(SessionSettings(), limits, make)})
    try:
        yield await server.start("127.0.0.1", 0), made
    finally:
        await server.stop()


async def test_two_hundred_upgrades_lose_double_and_reorder_nothing() -> None:
    async with counting_server() as (port, applications):

        async def dance(seed: int) -> None:
            poller = await Poller.open(port)
            client, application = Dance(port, poller, seed), applications[poller.handshake["sid"]]
            said_by_server = await client.run()
            assert client.heard == list(range(said_by_server)), seed
            assert application.heard == list(range(client.said)), seed
            assert min(said_by_server, client.said) > 10

        for first in range(0, UPGRADES, AT_ONCE):
            await asyncio.gather(*map(dance, range(first, first + AT_ONCE)))
