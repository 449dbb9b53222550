"""The application that the official Engine.IO and Socket.IO suites expect, on the gateway's own server code.

Two applications share one port: a raw Engine.IO echo, and the Socket.IO namespaces of the protocol reference's section
1. Parsers, both transports, limits and bounds are the gateway's; only what is said differs. Needs no Redis.
"""

import argparse
import asyncio
import secrets
import signal
import sys
from collections.abc import Mapping
from typing import Final

import uvloop

from protocol.engineio.session import SessionSettings, Transport
from protocol.socketio.connection import ConnectionSettings
from protocol.socketio.happenings import AckReceived, EventReceived
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.packets import Value
from protocol.socketio.parser import Limits, MessageData, Parsers
from services.gateway.client import INVALID_NAMESPACE, Client
from services.gateway.connection import EngineConnection
from services.gateway.encoding import Encoder
from services.gateway.frames import frame_message
from services.gateway.limits import WebSocketLimits
from services.gateway.outbox import Flusher, Outbox
from services.gateway.server import Mount, Server, ServerSettings
from shared.log import configure_logging
from shared.names.close_reasons import CloseReason

HOST: Final = "127.0.0.1"
PAYLOAD_BYTES: Final = 1_000_000
BUFFERED_BYTES: Final = 16 * PAYLOAD_BYTES
CONNECT_TIMEOUT_S: Final = 1.0
PLENTY: Final = 1_000_000
"""Where the reference server has no limit and ours wants one."""

LIMITS: Final = Limits(
    max_payload=PAYLOAD_BYTES,
    max_string=PAYLOAD_BYTES,
    max_depth=64,
    max_elements=PLENTY,
    max_array=PLENTY,
    max_map=PLENTY,
)
NAMESPACES: Final = frozenset({"/", "/custom"})
FORBIDDEN: Final = "/forbidden"
GREETING_S: Final = 0.025
"""From the CONNECT reply to `auth` on a WebSocket: the suite listens for one frame at a time, and `ws` hands it all the
frames of one read before it can listen again. Far below the 200 ms that the suite leaves unanswered pings."""


class EngineEcho:
    """Sends every Engine.IO message back; implements `Application` for one connection."""

    def __init__(self, connection: EngineConnection, flusher: Flusher) -> None:
        self._outbox = Outbox(connection, flusher, 0)

    def receive(self, data: MessageData, _now: float) -> None:
        """Send it back: text as text, binary as binary."""
        self._outbox.send(frame_message(data))

    def drained(self) -> None:
        """Write what waited."""
        self._outbox.resume()

    def closed(self, _reason: CloseReason) -> None:
        """Hold nothing."""
        self._outbox.drop()

    def next_deadline(self) -> float:
        """There is none."""
        return float("inf")

    def handle_deadline(self, _now: float) -> None:
        """Never called for a deadline of its own."""


class SocketEcho:
    """The namespaces of section 1; implements `Namespaces` for all clients."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._greetings: dict[tuple[Client, str], dict[str, Value]] = {}

    def connect(self, client: Client, namespace: str, auth: Mapping[str, Value]) -> None:
        """Let clients into what is served, and tell them their auth after the reply."""
        if namespace in NAMESPACES:
            client.accept(namespace, secrets.token_urlsafe(15))
            self._greetings[client, namespace] = dict(auth)
            if client.connection.transport is Transport.POLLING:
                self._greet(client, namespace)
            else:
                self._loop.call_later(GREETING_S, self._greet, client, namespace)
        elif namespace == FORBIDDEN:
            client.refuse(namespace, "Not authorized", {"code": "E_AUTH"})
        else:
            client.refuse(namespace, INVALID_NAMESPACE)

    def event(self, client: Client, received: EventReceived) -> None:
        """Do what the event's name says; only `/` listens."""
        self._greet(client, received.namespace)
        if received.namespace != "/":
            return
        match received.name:
            case "message":
                client.emit("/", "message-back", *received.args)
            case "message-with-ack":
                client.acknowledge(received, *received.args)
            case "ask-me":
                client.ask("/", "question", *received.args, token=None)
            case "kick-me":
                client.disconnect("/")
            case "kick-transport":
                client.kick()

    def woken(self, _client: Client) -> None:
        """Nobody asks to be woken."""

    def answered(self, client: Client, received: AckReceived) -> None:
        """Tell the client what it answered."""
        client.emit(received.namespace, "answer-was", *received.args)

    def left(self, client: Client, namespace: str, _ended: CloseReason | None) -> None:
        """Hold nothing."""
        self._greetings.pop((client, namespace), None)

    def drained(self, outbox: Outbox) -> None:
        """Write what waited."""
        outbox.resume()

    def _greet(self, client: Client, namespace: str) -> None:
        auth = self._greetings.pop((client, namespace), None)
        if auth is not None:
            client.emit(namespace, "auth", auth)


def make_server(loop: asyncio.AbstractEventLoop, ping_interval: int = 300, ping_timeout: int = 200) -> Server:
    """Both applications, side by side; pings in milliseconds."""
    parsers = Parsers(JsonParser(LIMITS), MsgpackParser(LIMITS))
    encoder, flusher, namespaces = Encoder(parsers), Flusher(loop, BUFFERED_BYTES), SocketEcho(loop)
    sockets = ConnectionSettings(
        parsers=parsers,
        max_namespaces=16,
        max_refusals=PLENTY,
        max_pending_acks=PLENTY,
        max_unanswered=PLENTY,
        max_before_join=PLENTY,
        connect_timeout=CONNECT_TIMEOUT_S,
    )
    session = SessionSettings(ping_interval=ping_interval, ping_timeout=ping_timeout, max_payload=PAYLOAD_BYTES)
    frames = WebSocketLimits(PAYLOAD_BYTES, frame_rate=PLENTY, frame_burst=PLENTY, write_timeout=10.0)
    return Server(
        loop,
        ServerSettings(allowed_origins=frozenset("*"), max_connections=0, max_accepts=0, head_timeout=10.0),
        {
            "/engine.io/": Mount(session, frames, lambda link: EngineEcho(link, flusher)),
            "/socket.io/": Mount(session, frames, lambda link: Client(link, sockets, encoder, flusher, namespaces)),
        },
    )


async def serve(port: int, ping_interval: int, ping_timeout: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = make_server(loop, ping_interval, ping_timeout)
    await server.start(HOST, port)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await stopping.wait()
    await server.stop()


def main() -> None:
    """Read the arguments and serve."""
    arguments = argparse.ArgumentParser(
        prog="python -m tests.interop.conformance_app",
        description=f"Serve what the official Engine.IO v4 and Socket.IO v5 test suites expect, on {HOST}.",
        epilog="example: python -m tests.interop.conformance_app --port 3000",
    )
    arguments.add_argument("--port", type=int, required=True, metavar="P", help="the suites want 3000")
    arguments.add_argument("--ping-interval", type=int, default=300, metavar="MS", help="(default: %(default)s)")
    arguments.add_argument("--ping-timeout", type=int, default=200, metavar="MS", help="(default: %(default)s)")
    given = arguments.parse_args()
    configure_logging("warning", "console", service="conformance-app", instance="conformance-app")
    try:
        uvloop.run(serve(given.port, given.ping_interval, given.ping_timeout))
    except OSError as error:
        sys.exit(f"cannot listen on {HOST}:{given.port}: {error.strerror or error}")


if __name__ == "__main__":
    main()
