"""A WebSocket echo on the gateway's own `WebSocket`, with nothing of Engine.IO: what RFC 6455 test suites talk to.

    python -m tests.support.echo_app --port 9001

Every message comes back as it was. The limits are the caller's: wide open for the Autobahn suite, which sends messages
of 16 MiB in a quarter of a million fragments, and the gateway's own for tests of what they do.
"""

import argparse
import asyncio
import sys
from typing import Final, cast

import uvloop

from services.gateway.deadlines import Deadlines, Due
from services.gateway.frames import frame_written
from services.gateway.limits import WebSocketLimits
from services.gateway.websocket import HandshakeRefusedError, WebSocket
from shared.log import configure_logging
from shared.names.close_reasons import CloseReason

HOST: Final = "127.0.0.1"
PLENTY: Final = 10_000_000
WIDE_OPEN: Final = WebSocketLimits(
    max_message=32 * 1024 * 1024,
    frame_rate=PLENTY,
    frame_burst=PLENTY,
    write_timeout=60.0,
    max_fragments=PLENTY,  # the suite cuts 4 MiB into 64-byte fragments
    message_timeout=600.0,
)


class Echo:
    """One client: implements `FrameSink` for its WebSocket, and keeps its deadlines.

    Attributes:
        ending: how it ended; None while it has not.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines, carrier: WebSocket) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._carrier = carrier
        self.ending: CloseReason | None = None
        self.due: Due | None = None

    @property
    def now(self) -> float:
        """The event loop's clock."""
        return self._loop.time()

    def receive_frame(self, frame: str | bytes) -> None:
        """Send it back: text as text, binary as binary."""
        if self.ending is None:
            is_text = isinstance(frame, str)
            self._carrier.write(frame_written(frame.encode() if isinstance(frame, str) else frame, is_text=is_text))
        self.rearm()

    def end(self, reason: CloseReason) -> None:
        """Say goodbye."""
        if self.ending is None:
            self.ending = reason
            self._carrier.close(reason)
            self.rearm()

    def carrier_lost(self, reason: CloseReason) -> None:
        """It is gone."""
        self.end(reason)
        self._deadlines.forget(self)

    def drained(self) -> None:
        """Nothing waits here: the transport buffers what the client does not read."""

    def rearm(self) -> None:
        """A deadline may have come nearer."""
        self._deadlines.watch(self)

    def next_deadline(self) -> float:
        """The carrier's."""
        return self._carrier.next_deadline()

    def handle_deadline(self, now: float) -> None:
        """Let it pass."""
        self._carrier.handle_deadline(now)


class Handshake(asyncio.Protocol):
    """One TCP connection until it is a WebSocket. Trusts its clients to send a whole head."""

    def __init__(self, server: "EchoServer") -> None:
        self._server = server
        self._head = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take the head, then hand over."""
        self._head += data
        head, whole, rest = self._head.partition(b"\r\n\r\n")
        if whole:
            request, *lines = head.decode("latin-1").split("\r\n")
            fields = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            self._server.open(self._transport, request.split()[1], fields, rest)


class EchoServer:
    """All clients of one port.

    Attributes:
        echoes: every client that there ever was.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: WebSocketLimits = WIDE_OPEN) -> None:
        self._loop = loop
        self._limits = limits
        self._deadlines = Deadlines(loop)
        self._sockets: set[WebSocket] = set()
        self._listener: asyncio.Server | None = None
        self.echoes: list[Echo] = []

    async def start(self, port: int = 0) -> int:
        """Listen; returns the real port."""
        self._listener = await self._loop.create_server(lambda: Handshake(self), HOST, port)
        return int(self._listener.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Drop everybody."""
        assert self._listener is not None
        self._listener.close()
        for carrier in list(self._sockets):
            carrier.abort()
        self._deadlines.stop()

    def open(self, transport: asyncio.Transport, target: str, headers: list[tuple[str, str]], rest: bytes) -> None:
        """Make a connection a WebSocket, or answer why not."""
        carrier = WebSocket(self._limits, transport, self._loop.time(), self._sockets)
        try:
            carrier.accept(target, headers)
        except HandshakeRefusedError as refused:
            transport.write(refused.response)
            transport.close()
            return
        transport.set_protocol(carrier)
        self.echoes.append(Echo(self._loop, self._deadlines, carrier))
        carrier.serve(self.echoes[-1])
        if rest:
            carrier.data_received(rest)


async def serve(port: int) -> None:
    """Serve until killed."""
    server = EchoServer(asyncio.get_running_loop())
    await server.start(port)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Read the arguments and serve without limits."""
    arguments = argparse.ArgumentParser(prog="python -m tests.support.echo_app", description="A WebSocket echo.")
    arguments.add_argument("--port", type=int, required=True)
    given = arguments.parse_args()
    configure_logging("warning", "console", service="echo-app", instance="echo-app")
    uvloop.run(serve(given.port))


if __name__ == "__main__":
    main()
