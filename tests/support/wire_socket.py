"""Socket.IO on top of `WireClient`: one light client of either parser that answers pings and hides nothing.

It reads only while somebody waits for something, so a test that does not ask is a client that does not read.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgpack

from shared.tasks import TaskGroup
from tests.support.waiting import PATIENCE_S
from tests.support.wire_client import Op, WireClient, connect

CONNECT: Final = 0
EVENT: Final = 2
ACK: Final = 3

Json = Any  # what a test reads out of an event: it says itself what it expects


class WireSocket:
    """One client in the namespace `/`.

    Attributes:
        client: its WebSocket.
        is_binary: whether it speaks msgpack.
        events: what was received and not yet taken by `next`, oldest first: name, arguments.
        texts: the same, of a JSON client, as it was on the wire.
    """

    def __init__(self, client: WireClient, *, is_binary: bool = False) -> None:
        self.client = client
        self.is_binary = is_binary
        self.events: list[list[Json]] = []
        self.texts: list[str] = []
        self._acks: dict[int, list[Json]] = {}
        self._next_id = 0

    def emit(self, *event: Json) -> None:
        """Send an event."""
        self._send(EVENT, list(event))

    async def call(self, *event: Json) -> Json:
        """Send an event, return the first argument of its ack."""
        return (await self.call_at_once(event))[0]

    async def call_at_once(self, *events: Sequence[Json]) -> list[Json]:
        """Send events without waiting for answers between them; the first arguments of their acks."""
        numbers = range(self._next_id, self._next_id + len(events))
        self._next_id = numbers.stop
        for number, event in zip(numbers, events, strict=True):
            self._send(EVENT, list(event), number)
        async with asyncio.timeout(PATIENCE_S):
            while not self._acks.keys() >= set(numbers):
                await self.take()
        return [self._acks.pop(number)[0] for number in numbers]

    async def next(self, name: str, patience: float = PATIENCE_S) -> list[Json]:
        """The arguments of the oldest event of this name."""
        async with asyncio.timeout(patience):
            while True:
                for index, event in enumerate(self.events):
                    if event[0] == name:
                        return self.events.pop(index)[1:]
                await self.take()

    async def next_text(self, beginning: str, patience: float = PATIENCE_S) -> str:
        """The oldest packet of a JSON client that begins so, as it was on the wire."""
        async with asyncio.timeout(patience):
            while True:
                for index, text in enumerate(self.texts):
                    if text.startswith(beginning):
                        return self.texts.pop(index)
                await self.take()

    async def take(self, patience: float | None = PATIENCE_S) -> None:
        """Read one frame and keep or answer what it brings."""
        received = await self.client.receive(patience)
        assert received is not None, "the server closed the connection"
        assert received.op is not Op.CLOSE, f"the server said goodbye with {received.close_code}"
        if received.op is Op.BINARY:
            packet = msgpack.unpackb(received.payload, ext_hook=lambda _code, _data: None)
            self._keep(packet["type"], packet.get("data"), packet.get("id"))
            return
        text = received.payload.decode()
        if text == "2":
            self.client.text("3")
            return
        self.texts.append(text)
        number, bracket, data = text[2:].partition("[")
        if text.startswith(("42", "43")):
            self._keep(int(text[1]), json.loads(bracket + data), int(number or -1))

    def join(self, auth: Mapping[str, Json] | None = None) -> None:
        """Ask for the namespace."""
        self._send(CONNECT, dict(auth) if auth else None)

    def _keep(self, kind: int, data: Json, number: int | None) -> None:
        if kind == ACK:
            assert number is not None
            self._acks[number] = data
        elif kind == EVENT and data[0] != "cursor":  # once a minute, also in a test that takes long
            self.events.append(data)

    def _send(self, kind: int, data: Json, number: int | None = None) -> None:
        if self.is_binary:
            packet = {"type": kind, "data": data, "id": number, "nsp": "/"}
            self.client.send(Op.BINARY, msgpack.packb({key: it for key, it in packet.items() if it is not None}))
        else:
            shown = "" if data is None else json.dumps(data)
            self.client.text(f"4{kind}{'' if number is None else number}{shown}")


@asynccontextmanager
async def joined(
    port: int,
    auth: Mapping[str, Json] | None = None,
    *,
    is_binary: bool = False,
    receive_buffer: int | None = None,
) -> AsyncIterator[WireSocket]:
    """A client that has joined the namespace and got its `hello`; its connection is dropped at the end."""
    async with await connect(port, receive_buffer=receive_buffer) as client:
        socket = WireSocket(client, is_binary=is_binary)
        socket.join(auth)
        await socket.next("hello")
        socket.texts.clear()
        yield socket


@asynccontextmanager
async def listening(socket: WireSocket, on_event: Callable[..., None]) -> AsyncIterator[None]:
    """Read all the time, handing each event and its arguments to `on_event`; meanwhile nothing else may read."""

    async def listen() -> None:
        while True:
            await socket.take(patience=None)
            for event in socket.events:
                on_event(*event)
            socket.events.clear()
            socket.texts.clear()

    async with TaskGroup() as tasks:
        tasks.spawn("listener", listen())
        yield
