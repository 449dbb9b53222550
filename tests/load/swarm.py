"""Many light clients in one process: they connect, subscribe, read and count. Driven by `bench_gateway.py`.

Started as `python -m tests.load.swarm PORT CLIENTS` with one JSON line on standard input, a list of subscriptions for
each client (`[[symbols], opts]`, or null for an idle one); prints `ready` when all are subscribed, then, for each line
read, a JSON line with the bytes and updates that arrived so far.
"""

import asyncio
import json
import os
import struct
import sys
from typing import cast

import uvloop

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

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
        self.subscribed = asyncio.get_running_loop().create_future()
        self.received_bytes = 0
        self.updates = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        if self.subscribed.done():
            self.received_bytes += len(data)
            self.updates += data.count(b'"SYM-')  # once for each price, in updates and batches alike
            return
        self._head += data
        if b'0{"sid"' in self._head and b"40{" not in self._head and b"sent" not in self._head:
            self._head += b"sent"
            self._transport.write(masked("40"))
        if b'"hello"' in self._head and b"asked" not in self._head:
            self._head += b"asked"
            if self._subscription is None:
                self.subscribed.set_result(None)
                return
            self._transport.write(masked("420" + json.dumps(["subscribe:price", *self._subscription])))
        if b"430[" in self._head:
            self.subscribed.set_result(None)


async def main(port: int) -> None:
    """Connect, say so, answer questions until standard input ends."""
    loop = asyncio.get_running_loop()
    subscriptions: list[Subscription] = json.loads(sys.stdin.readline())
    clients: list[LightClient] = []
    for start in range(0, len(subscriptions), 100):
        made = await asyncio.gather(
            *(
                loop.create_connection(lambda wanted=wanted: LightClient(wanted), "127.0.0.1", port)  # type: ignore[misc]
                for wanted in subscriptions[start : start + 100]
            )
        )
        clients += [protocol for _, protocol in made]
        await asyncio.wait_for(asyncio.gather(*(client.subscribed for client in clients[start:])), 30)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        counted = {
            "bytes": sum(client.received_bytes for client in clients),
            "updates": sum(client.updates for client in clients),
            "cpu": sum(os.times()[:2]),
        }
        sys.stdout.write(json.dumps(counted) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
