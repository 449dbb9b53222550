"""A small application on the gateway's own stack, for what the market application does not do.

The events are those of the conformance application in the protocol reference: echoes with binary, acks asked of the
client, and both ways to be put out. Runs in the test's own process.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from protocol.engineio.session import SessionSettings
from protocol.socketio.connection import ConnectionSettings
from protocol.socketio.happenings import AckReceived, EventReceived
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.packets import Value
from protocol.socketio.parser import Limits, Parsers
from services.gateway.client import INVALID_NAMESPACE, Client
from services.gateway.encoding import Encoder
from services.gateway.outbox import Flusher, Outbox
from services.gateway.server import Mount, Server, ServerSettings
from services.gateway.websocket import WebSocketLimits
from shared.names.close_reasons import SERVER_STOPPING

SERVED: Final = frozenset({"/", "/custom"})
FORBIDDEN: Final = "/forbidden"
PAYLOAD_BYTES: Final = 1_000_000


class EchoApp:
    """Answers every client; implements `Namespaces`."""

    def __init__(self) -> None:
        self._sids = count()
        self.left_namespaces: list[str] = []

    def connect(self, client: Client, namespace: str, auth: Mapping[str, Value]) -> None:
        """Let clients into what is served and tell them their auth."""
        if namespace == FORBIDDEN:
            client.refuse(namespace, "Not authorized", {"code": "E_AUTH"})
        elif namespace not in SERVED:
            client.refuse(namespace, INVALID_NAMESPACE)
        else:
            client.accept(namespace, f"sid-{next(self._sids)}")
            client.emit(namespace, "auth", dict(auth))

    def event(self, client: Client, received: EventReceived) -> None:
        """Do what the event's name says."""
        match received.name:
            case "message":
                client.emit(received.namespace, "message-back", *received.args)
            case "message-with-ack":
                client.acknowledge(received, *received.args)
            case "ask-me":
                client.ask(received.namespace, "question", *received.args, token=received.namespace)
            case "kick-me":
                client.disconnect(received.namespace)
            case "kick-transport":
                client.kick()
            case "drop-transport":
                client.connection.end(SERVER_STOPPING)

    def answered(self, client: Client, received: AckReceived) -> None:
        """Tell the client what it answered."""
        client.emit(received.namespace, "answer-was", *received.args)

    def left(self, _client: Client, namespace: str) -> None:
        """Note what was left."""
        self.left_namespaces.append(namespace)

    def drained(self, outbox: Outbox) -> None:
        """Write what waited."""
        outbox.resume()


@asynccontextmanager
async def serving_echoes(
    ping_interval_ms: int = 300, ping_timeout_ms: int = 2000
) -> AsyncIterator[tuple[str, EchoApp]]:
    """The application on a free port: its URL and itself."""
    loop = asyncio.get_running_loop()
    app = EchoApp()
    limits = Limits(max_payload=PAYLOAD_BYTES, max_string=PAYLOAD_BYTES)
    parsers = Parsers(JsonParser(limits), MsgpackParser(limits))
    encoder, flusher = Encoder(parsers), Flusher(loop, PAYLOAD_BYTES)
    settings = ConnectionSettings(parsers=parsers)
    mount = Mount(
        SessionSettings(
            ping_interval=ping_interval_ms, ping_timeout=ping_timeout_ms, max_payload=PAYLOAD_BYTES, upgrades=False
        ),
        WebSocketLimits(max_message=PAYLOAD_BYTES, frame_rate=1000, frame_burst=1000, write_timeout=10),
        lambda connection: Client(connection, settings, encoder, flusher, app),
    )
    server = Server(
        loop,
        ServerSettings(allowed_origins=frozenset("*"), max_connections=0, max_accepts=0, head_timeout=5),
        {"/socket.io/": mount},
    )
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}", app
    finally:
        await server.stop()
