"""Many light clients in one process that count what they get: the Python twin of `tests/interop/tally_clients.cjs`.

Run as `python -m tests.support.tally_clients`; speaks the same lines over standard input and output. Below all
libraries: a client is one `asyncio.Protocol` that takes WebSocket frames apart by hand, so that twenty of them leave
the machine to the cluster that is being tested.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any, Final, TypedDict

import msgpack
import msgspec
import uvloop

from tests.support.tally import Tally
from tests.support.wire_client import Op, frame, upgrade_head

JOIN: Final = {"json": frame(Op.TEXT, b"40"), "msgpack": frame(Op.BINARY, msgpack.packb({"type": 0, "nsp": "/"}))}
PONG: Final = frame(Op.TEXT, b"3")


class Wanted(TypedDict):
    """One client to be."""

    name: str
    url: str
    parser: str
    symbols: list[str]


class Payload(msgspec.Struct):
    """What is read of a `trade:new` or a `price:update`."""

    symbol: str
    id: str = ""
    price: float = 0.0
    seq: int = 0
    n: int = 0
    snap: int = 0


class Packet(msgspec.Struct):
    """A msgpack packet."""

    type: int
    data: msgspec.Raw = msgspec.Raw(b"")


class Event(msgspec.Struct, array_like=True):
    """An event; a trade has a cursor behind it, which is passed over."""

    name: str
    payload: Payload


_json = msgspec.json.Decoder(Event).decode
_packet = msgspec.msgpack.Decoder(Packet, ext_hook=lambda _code, _data: None).decode
_msgpack = msgspec.msgpack.Decoder(Event).decode
_TRADE: Final = "trade:new"
_JSON_EVENTS: Final = (b'42["trade:new"', b'42["price:update"')
_MSGPACK_EVENTS: Final = (b"\xa9trade:new", b"\xacprice:update")


class TallyClient(asyncio.Protocol):
    """One client.

    Attributes:
        subscribed: set when both subscriptions are acknowledged.
        ends: why the connection ended, if it did.
        tallies: symbol -> what was counted.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._is_json = wanted["parser"] == "json"
        self._buffer = bytearray()
        self._upgraded = False
        self._acks = 0
        self._transport: Any = None
        self.subscribed = asyncio.Event()
        self.ends: list[str] = []
        self.tallies = {symbol: Tally() for symbol in wanted["symbols"]}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = transport
        self._transport.write(upgrade_head())

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        self.ends.append(f"connection lost: {error}")

    def data_received(self, data: bytes) -> None:
        """Take the answer to the upgrade, then frames."""
        buffer = self._buffer
        buffer += data
        at = 0
        if not self._upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._upgraded = True
            at = end + 4
        view = memoryview(bytes(buffer))
        total = len(view)
        while total - at >= 2:
            length, start = view[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(view[at + 2 : at + 4]), at + 4
            elif length == 127:
                length, start = int.from_bytes(view[at + 2 : at + 10]), at + 10
            if total - start < length or start > total:
                break
            self._take(view[at] & 0x0F, bytes(view[start : start + length]))
            at = start + length
        del buffer[:at]

    def _take(self, op: int, payload: bytes) -> None:
        if op == Op.CLOSE:
            self.ends.append(f"close {payload!r}")
        elif op == Op.TEXT and payload == b"2":
            self._transport.write(PONG)
        elif op == Op.TEXT and payload.startswith(b"0"):
            self._transport.write(JOIN[self._wanted["parser"]])
        elif self._is_json:
            self._take_json(payload)
        else:
            self._take_msgpack(payload)

    def _take_json(self, payload: bytes) -> None:
        if payload.startswith(_JSON_EVENTS):
            self._count(_json(payload[2:]))
        elif payload.startswith(b'42["hello"'):
            for number, what in enumerate(("price", "trades")):
                event = json.dumps([f"subscribe:{what}", self._wanted["symbols"]])
                self._transport.write(frame(Op.TEXT, f"42{number}{event}".encode()))
        elif payload.startswith(b"43"):
            self._acknowledged(json.loads(payload[3:])[0])

    def _take_msgpack(self, payload: bytes) -> None:
        packet = _packet(payload)
        data = bytes(packet.data)
        if data[1:].startswith(_MSGPACK_EVENTS):
            self._count(_msgpack(data))
        elif packet.type == 3:
            self._acknowledged(msgpack.unpackb(data)[0])
        elif data[1:].startswith(b"\xa5hello"):
            for number, what in enumerate(("price", "trades")):
                event = [f"subscribe:{what}", self._wanted["symbols"]]
                packed = msgpack.packb({"type": 2, "data": event, "id": number, "nsp": "/"})
                self._transport.write(frame(Op.BINARY, packed))

    def _acknowledged(self, answer: Any) -> None:
        self.ends += [f"refused: {result}" for result in answer["results"] if not result["ok"]]
        self._acks += 1
        if self._acks == 2:
            self.subscribed.set()

    def _count(self, event: Event) -> None:
        payload = event.payload
        tally = self.tallies[payload.symbol]
        if event.name == _TRADE:
            tally.take_trade(int(payload.id))
        else:
            tally.take_price(payload.price, payload.seq, payload.n, is_snapshot=bool(payload.snap))


async def serve() -> None:
    """Start the clients that the first line wants; report at each further line."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    wanted: Sequence[Wanted] = json.loads(await lines.readline())["clients"]
    clients = {one["name"]: TallyClient(one) for one in wanted}
    for one in wanted:
        host, _, port = one["url"].removeprefix("http://").rpartition(":")
        await loop.create_connection(lambda name=one["name"]: clients[name], host, int(port))  # type: ignore[misc]
    for client in clients.values():
        await client.subscribed.wait()
    tell({"ready": len(clients)})
    while await lines.readline():
        tell({"reports": {name: report(client) for name, client in clients.items()}})


def report(client: TallyClient) -> dict[str, Any]:
    """What one client has counted."""
    return {"ends": client.ends, "tallies": {symbol: tally.plain() for symbol, tally in client.tallies.items()}}


def tell(message: object) -> None:
    """One line."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(serve())
