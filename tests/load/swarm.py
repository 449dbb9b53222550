"""Many light clients in one process: they connect, subscribe, read and count. Driven by `rig.py`.

Started as `python -m tests.load.swarm PORT` with one JSON line on standard input: a list of subscriptions, one for each
client (`[[symbols], opts]`, or null for an idle one). Prints `ready` when all are subscribed, then, for each line read,
a JSON line with what arrived so far. Every `PROBE_EVERY`th client reads its frames, the others only count, so that the
clients cost less than what they measure.
"""

import asyncio
import json
import os
import struct
import sys
import time
from typing import Any, cast

import msgspec
import uvloop

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
AT_ONCE = 100
"""Connections opened together, unless it is a storm."""

PROBE_EVERY = 50
OPENED, HELLO, ACKED, NOTHING = b'0{"sid"', b'"hello"', b"430[", b"\xff\xff"
"""What a client waits for, one after the other; the last never comes."""

TAIL = 8
CLOCK = 10**8
BATCH = b'42["price:batch",'

Subscription = list[object] | None


def masked(text: str) -> bytes:
    """A client's text frame; a mask of zeros leaves the payload as it is."""
    payload = text.encode()
    length = len(payload)
    header = bytes((0x81, 0x80 | length)) if length < 126 else b"\x81\xfe" + struct.pack("!H", length)
    return header + b"\0\0\0\0" + payload


class LightClient(asyncio.Protocol):
    """Counts what arrives; answers nothing but the handshake."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._head = b""
        self._awaited = OPENED
        self.subscribed = asyncio.get_running_loop().create_future()
        self.received_bytes = 0
        self.updates = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(HANDSHAKE)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.subscribed.done():
            self.subscribed.set_exception(ConnectionError(f"lost while waiting for {self._awaited!r}"))

    def data_received(self, data: bytes) -> None:
        if self.subscribed.done():
            self.received_bytes += len(data)
            self.updates += data.count(b'"SYM-')  # once for each price, in updates and batches alike
            return
        self._head = self._head[-TAIL:] + data
        while self._awaited in self._head:
            self._head = self._head.partition(self._awaited)[2]
            self._go_on()

    def _go_on(self) -> None:
        """What was awaited has come: say the next thing, or be done."""
        if self._awaited == OPENED:
            self._awaited = HELLO
            self._transport.write(masked("40"))
        elif self._awaited == HELLO and self._subscription is not None:
            self._awaited = ACKED
            self._transport.write(masked("420" + json.dumps(["subscribe:price", *self._subscription])))
        else:
            self._awaited = NOTHING
            self.subscribed.set_result(None)


class Probe(LightClient):
    """Also reads batches: how old was the oldest tick that is folded into each price?

    The publisher writes the time as the price (ms, modulo `CLOCK`), and ticks each symbol at a steady pace.

    Attributes:
        ages: ms, as (newest tick, ticks folded).
    """

    def __init__(self, subscription: Subscription) -> None:
        super().__init__(subscription)
        self.ages: list[tuple[float, int]] = []

    def data_received(self, data: bytes) -> None:
        if self.subscribed.done() and (start := data.find(BATCH)) >= 0:
            now = time.time() * 1000  # noqa: TID251 - the publisher's clock is another process's
            _, pairs, extras = cast("tuple[str, Any, Any]", msgspec.json.decode(data[start + 2 : _end(data, start)]))
            self.ages += [((now - price) % CLOCK, n) for (_, price), n in zip(pairs, extras["ns"], strict=True) if n]
        super().data_received(data)


def _end(data: bytes, start: int) -> int:
    """Where the text frame ends whose payload begins at `start`, less the Engine.IO digit."""
    long = data[start - 3 : start - 2] == b"\x7e" or data[start - 4 : start - 3] == b"\x7e"
    length = int.from_bytes(data[start - 2 : start], "big") if long else data[start - 1]
    return start + length


async def connect(port: int, subscriptions: list[Subscription], at_once: int) -> list[LightClient]:
    """Connect and subscribe one client for each entry."""
    loop = asyncio.get_running_loop()
    clients: list[LightClient] = []

    async def one(number: int, wanted: Subscription) -> None:
        kind = Probe if number % PROBE_EVERY == 0 else LightClient
        _, client = await loop.create_connection(lambda: kind(wanted), "127.0.0.1", port)
        clients.append(client)
        await asyncio.wait_for(client.subscribed, 60)

    for start in range(0, len(subscriptions), at_once):
        share = subscriptions[start : start + at_once]
        await asyncio.gather(*(one(start + offset, wanted) for offset, wanted in enumerate(share)))
    return clients


def counted(clients: list[LightClient]) -> dict[str, object]:
    """What arrived so far; ages since the last time."""
    ages: list[tuple[float, int]] = []
    for client in clients:
        if isinstance(client, Probe):
            ages += client.ages
            client.ages = []
    return {
        "bytes": sum(client.received_bytes for client in clients),
        "updates": sum(client.updates for client in clients),
        "cpu": sum(os.times()[:2]),
        "ages": ages,
    }


async def main(port: int) -> None:
    """Connect, say so, answer questions until standard input ends."""
    loop = asyncio.get_running_loop()
    order = json.loads(sys.stdin.readline())
    began = time.monotonic()
    clients = await connect(port, order["subscriptions"], order["at_once"])
    sys.stdout.write(json.dumps({"ready_s": time.monotonic() - began}) + "\n")
    sys.stdout.flush()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        sys.stdout.write(json.dumps(counted(clients)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
