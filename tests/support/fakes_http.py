"""The client port without sockets: a server on a loop moved by hand, and transports that keep what is written."""

import asyncio
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Final, cast

from protocol.engineio.session import SessionSettings
from protocol.socketio.parser import MessageData
from services.gateway.connection import EngineConnection
from services.gateway.frames import frame_message
from services.gateway.limits import WebSocketLimits
from services.gateway.server import Mount, Server, ServerSettings
from shared.names.close_reasons import CloseReason
from tests.support.manual_loop import ManualLoop

PATH: Final = "/engine.io/?EIO=4"
POLLING: Final = f"{PATH}&transport=polling"
WEBSOCKET: Final = f"{PATH}&transport=websocket"
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE: Final = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
)
HIGH_WATER: Final = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class FakeSocket(asyncio.Transport):
    """One TCP connection: keeps what is written, tells its protocol about the end in the loop's next turn."""

    def __init__(self, loop: ManualLoop, protocol: asyncio.Protocol, peer: str = "127.0.0.1") -> None:
        super().__init__({"peername": (peer, 4711)})
        self.loop = loop
        self.protocol = protocol
        self.written = b""
        self.stuck = 0
        self.half_closed = False
        self.reading = True
        self.ended = False

    def feed(self, data: bytes) -> None:
        """The client has sent this."""
        if not self.ended:
            self.protocol.data_received(data)
        self.loop.turn()

    def leave(self) -> None:
        """The client has gone."""
        self.abort()
        self.loop.turn()

    def take(self) -> bytes:
        """What was written since the last time."""
        written, self.written = self.written, b""
        return written

    def answers(self) -> list[Answer]:
        """The HTTP answers among it."""
        return list(read_answers(self.take()))

    def answer(self) -> Answer:
        """The only one."""
        (answer,) = self.answers()
        return answer

    # `asyncio.Transport`

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.half_closed, "written after the end"
        if not self.ended:
            self.written += bytes(data)

    def write_eof(self) -> None:
        self.half_closed = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.stuck

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = cast("asyncio.Protocol", protocol)

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self.ended:
            self.ended = True
            self.loop.call_soon(lambda: self.protocol.connection_lost(None))


def read_answers(data: bytes) -> list[Answer]:
    """HTTP answers, one after another; raises where they are not whole."""
    found = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, head
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        matched = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]*", status)
        assert matched, status
        length = int(headers.get("content-length", "0"))
        assert len(data) >= length, "a body is cut short"
        found.append(Answer(int(matched[1]), headers, data[:length]))
        data = data[length:]
        if found[-1].status == 101:
            break
    return found


def http(target: str, *headers: str, method: str = "GET", body: bytes | None = None) -> bytes:
    """One request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: a", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def inflate(body: bytes, coding: str | None) -> bytes:
    """A body without its Content-Encoding."""
    return body if coding is None else zlib.decompress(body, {"gzip": 31, "deflate": 15}[coding])


class Echo:
    """An Engine.IO application that sends back what it gets, and notes what it is told."""

    def __init__(self, connection: EngineConnection) -> None:
        self.connection = connection
        self.messages: list[MessageData] = []
        self.closings: list[CloseReason] = []
        self.drains = 0
        self.on_message: Callable[[MessageData], None] = self.echo

    def echo(self, data: MessageData) -> None:
        self.connection.write(frame_message(data))

    def receive(self, data: MessageData, _now: float) -> None:
        self.messages.append(data)
        self.on_message(data)

    def drained(self) -> None:
        self.drains += 1

    def closed(self, reason: CloseReason) -> None:
        self.closings.append(reason)

    def next_deadline(self) -> float:
        return inf

    def handle_deadline(self, now: float) -> None:
        pass


class FakePort:
    """A server whose clients are `FakeSocket`s. Its loop begins at the real loop's time and then moves by hand."""

    def __init__(self, *, max_payload: int = 10_000, deflate: bool = False, **settings: Any) -> None:
        self.loop = ManualLoop()
        self.loop.now = asyncio.get_running_loop().time()
        self.applications: list[Echo] = []
        self.refused: list[str] = []
        self.ended: list[CloseReason] = []
        defaults = {"allowed_origins": frozenset({"*"}), "max_connections": 0, "max_accepts": 0, "head_timeout": 5.0}
        limits = WebSocketLimits(max_payload, frame_rate=50, frame_burst=200, write_timeout=10, deflate=deflate)
        self.server = Server(
            self.loop.as_loop,
            ServerSettings(**{**defaults, **settings}),
            {"/engine.io/": Mount(SessionSettings(max_payload=max_payload), limits, self._make)},
            on_refused=self.refused.append,
            on_ended=self.ended.append,
        )

    def connect(self, peer: str = "127.0.0.1") -> FakeSocket:
        """A TCP connection from an address."""
        protocol = self.server._connect()
        socket = FakeSocket(self.loop, protocol, peer)
        protocol.connection_made(socket)
        return socket

    def ask(
        self, target: str, *headers: str, method: str = "GET", body: bytes | None = None, peer: str = "127.0.0.1"
    ) -> FakeSocket:
        """Send a request on a TCP connection of its own."""
        socket = self.connect(peer)
        socket.feed(http(target, *headers, method=method, body=body))
        return socket

    def is_at_rest(self) -> bool:
        """Whether nothing is left of any client."""
        server = self.server
        due = [due for due in server._deadlines._heap if due.timed is not None]
        return not (server._by_sid or server._sockets or server.connections or due)

    def _make(self, connection: EngineConnection) -> Echo:
        self.applications.append(Echo(connection))
        return self.applications[-1]


class PollingClient:
    """One client of a `FakePort`, polling."""

    def __init__(self, port: FakePort, *headers: str) -> None:
        self.port = port
        opened = port.ask(POLLING, *headers)
        self.handshake = opened.answer()
        assert self.handshake.status == 200, self.handshake
        self.connection = port.applications[-1].connection
        self.application = port.applications[-1]
        self.target = f"{POLLING}&sid={self.connection.sid}"
        self.upgrade_target = f"{WEBSOCKET}&sid={self.connection.sid}"
        opened.leave()

    def get(self, *headers: str) -> FakeSocket:
        """A GET, answered or parked."""
        return self.port.ask(self.target, *headers)

    def poll(self) -> bytes:
        """The body of a GET that is answered at once."""
        answer = self.get().answer()
        assert answer.status == 200, answer
        return answer.body

    def post(self, body: bytes, *headers: str) -> Answer:
        """A POST and its answer."""
        return self.port.ask(self.target, *headers, method="POST", body=body).answer()

    def push(self, data: MessageData) -> None:
        """The application sends."""
        self.connection.write(frame_message(data))
        self.port.loop.turn()

    def probe(self) -> FakeSocket:
        """A WebSocket with this client's sid, after its 101."""
        socket = self.port.ask(self.upgrade_target, *UPGRADE)
        assert socket.take().startswith(b"HTTP/1.1 101 ")
        return socket


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame (RFC 6455 section 5.2), under a mask of zeros."""
    length = len(payload)
    short, medium = bytes([0x80 | length & 0x7F]), b"\xfe" + (length & 0xFFFF).to_bytes(2)
    size = short if length < 126 else medium if length < 65_536 else b"\xff" + length.to_bytes(8)
    return bytes([(0x80 if fin else 0) | rsv << 4 | opcode]) + size + bytes(4) + payload


text = partial(masked, 0x1)
