"""Many light clients in one process that come back as stock clients do: the Python twin of `tests/chaos/clients.cjs`.

Run as `python -m tests.fleet.swarm`, with the same first line on standard input and the same lines on standard output
(but for `prices` and `late`). WebSocket and the JSON parser only; `url` may hold several addresses with spaces
between them, which are tried in turn: what a balancer does. A client here costs a tenth of one in Node, so that ten
thousand of them leave the machine to the gateways.
"""

import asyncio
import json
import random
import sys
from typing import Any, Final, NotRequired, TypedDict
from urllib.parse import urlsplit

import msgspec
import uvloop

from services.launcher.load import wire
from services.launcher.load.clients import LoadClient, Tally
from shared.names.events import ClientEvent, ServerEvent
from shared.tasks import TaskGroup

FIRST_BACK_OFF_S: Final = 1.0
LONGEST_BACK_OFF_S: Final = 5.0
JITTER: Final = 0.5
"""The stock client's own three."""

CONNECT_S: Final = 20.0
"""For an attempt, as the stock client has it."""

AT_ONCE: Final = 100
"""First connections opened together: only the return is a storm."""

FLUSH_S: Final = 0.1
TRADE: Final = f'42["{ServerEvent.TRADE_NEW}"'.encode()
HELLO: Final = f'42["{ServerEvent.HELLO}"'.encode()
NOBODY: Final = Tally()
"""What `LoadClient` counts, and nobody asks for here."""


class Wanted(TypedDict):
    """One client to be; `chaos.clients.Wanted` has more."""

    name: str
    url: str
    symbols: list[str]
    token: NotRequired[str]


class Voice:
    """Standard output: trades are told together, before anything else is."""

    def __init__(self) -> None:
        self._trades: dict[str, list[int]] = {}

    def trade(self, name: str, number: int) -> None:
        """Keep it until the next flush."""
        self._trades.setdefault(name, []).append(number)

    def tell(self, **message: Any) -> None:
        """Say something that must not be overtaken."""
        self.flush()
        sys.stdout.write(json.dumps(message) + "\n")

    def flush(self) -> None:
        """Say what has come."""
        if self._trades:
            sys.stdout.write(json.dumps({"trades": self._trades}) + "\n")
            self._trades = {}
        sys.stdout.flush()


class Member:
    """One client, over all its connections.

    Attributes:
        addresses: host and port, the one to be tried next first.
    """

    def __init__(self, wanted: Wanted, voice: Voice) -> None:
        self.name = wanted["name"]
        self.addresses = [_address(url) for url in wanted["url"].split()]
        self._symbols = wanted["symbols"]
        self._auth: dict[str, str] = {"token": wanted["token"]} if "token" in wanted else {}
        self._voice = voice
        self._subscribed = False
        self._random = random.Random(self.name)

    async def live(self, begun: asyncio.Semaphore) -> None:
        """Connect; come back, for ever, with a back-off that the first success resets."""
        attempts = 0
        async with begun:
            connection = await self._attempt()
        while True:
            if connection is not None:
                attempts = 0
                await connection.ended
                self._voice.tell(disconnected=self.name, reason="transport close")
            await asyncio.sleep(self._pause(attempts))
            attempts += 1
            self.addresses.append(self.addresses.pop(0))
            connection = await self._attempt()

    def auth(self) -> dict[str, str]:
        """The payload of CONNECT."""
        return self._auth

    def joined(self, answer: dict[str, str]) -> bool:
        """A gateway has let it in; whether it must subscribe."""
        recovered = "pid" in self._auth and answer.get("pid") == self._auth["pid"]
        if "pid" in answer:
            self._auth["pid"] = answer["pid"]
        self._voice.tell(connected=self.name, recovered=recovered)
        return not (recovered and self._subscribed)

    def subscription(self) -> bytes:
        """What asks for its trades."""
        return wire.event(ClientEvent.SUBSCRIBE_TRADES, [self._symbols], 0, packed=False)

    def answered(self, answer: Any) -> None:
        """Its subscription was."""
        self._subscribed = answer["ok"] and all(result["ok"] for result in answer["results"])
        if self._subscribed:
            self._voice.tell(subscribed=self.name)
        else:
            self._voice.tell(failed=self.name, what=f"subscribe: {answer}")

    def greeted(self, payload: Any) -> None:
        """`hello`."""
        self._voice.tell(hello=self.name, payload=payload)

    def trade(self, trade: Any, cursor: str | None) -> None:
        """One has come."""
        if cursor is not None:
            self._auth["offset"] = cursor
        self._voice.trade(self.name, int(trade["id"]))

    async def _attempt(self) -> "Connection | None":
        """One connection that has joined; None where that failed, which is told."""
        host, port = self.addresses[0]
        connection = Connection(self)
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(lambda: connection, host, port)
                await asyncio.wait((connection.ended, connection.in_namespace), return_when=asyncio.FIRST_COMPLETED)
        except (OSError, TimeoutError) as error:
            self._voice.tell(failed=self.name, what=f"websocket error: {type(error).__name__}")
            connection.give_up()
            return None
        if not connection.in_namespace.done():
            self._voice.tell(failed=self.name, what=f"websocket error: {connection.ended.result().value}")
            return None
        return connection

    def _pause(self, attempts: int) -> float:
        """The stock client's: doubled each time, jittered both ways, and only then capped."""
        pause = float(FIRST_BACK_OFF_S * 2.0**attempts)
        return min(pause * self._random.uniform(1 - JITTER, 1 + JITTER), LONGEST_BACK_OFF_S)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or 80


class Connection(LoadClient):
    """One connection of a member, which hears of everything.

    Attributes:
        in_namespace: done when it has joined.
    """

    def __init__(self, member: Member) -> None:
        super().__init__([], {}, NOBODY, asyncio.get_running_loop().time, packed=False, sampled=False)
        self.in_namespace: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._member = member
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._open = True
        super().connection_made(transport)

    def give_up(self) -> None:
        """End what took too long; harmless where nothing was begun."""
        if self._open:
            self._transport.abort()

    def _control(self, opcode: int, payload: bytes) -> None:
        if payload.startswith(TRADE):
            _, trade, *more = msgspec.json.decode(payload[2:])
            self._member.trade(trade, more[0] if more else None)
        elif payload.startswith(wire.ENGINE_OPEN):
            self._transport.write(wire.frame(wire.TEXT, b"40" + msgspec.json.encode(self._member.auth())))
        elif payload.startswith(b"40"):
            self._join(msgspec.json.decode(payload[2:]))
        elif payload.startswith(HELLO):
            self._member.greeted(msgspec.json.decode(payload[2:])[1])
        elif payload.startswith(b"430"):
            self._member.answered(msgspec.json.decode(payload[3:])[0])
        else:
            super()._control(opcode, payload)

    def _join(self, answer: dict[str, str]) -> None:
        if self._member.joined(answer):
            self._transport.write(self._member.subscription())
        if not self.in_namespace.done():
            self.in_namespace.set_result(None)


async def main() -> None:
    """Start all, speak until standard input ends."""
    reader = asyncio.StreamReader(limit=2**26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    wanted: list[Wanted] = json.loads(await reader.readline())["clients"]
    voice, begun = Voice(), asyncio.Semaphore(AT_ONCE)
    async with TaskGroup() as tasks:
        for one in wanted:
            tasks.spawn(one["name"], Member(one, voice).live(begun))
        tasks.spawn("flush", _flush(voice))
        await reader.read()


async def _flush(voice: Voice) -> None:
    while True:
        await asyncio.sleep(FLUSH_S)
        voice.flush()


if __name__ == "__main__":
    uvloop.run(main())
