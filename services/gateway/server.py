"""The client port: accepts TCP, checks handshakes before the upgrade, turns the good ones into connections.

The checks come in the order of the Engine.IO reference server, with its codes and texts, so that a stock client says
the same about us. An application is mounted under a path; the gateway mounts one, tests mount others.
"""

import asyncio
import json
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from protocol.engineio.session import SessionSettings, Transport
from services.gateway.connection import Application, EngineConnection, Host
from services.gateway.deadlines import Deadlines
from services.gateway.http import HttpError, HttpFront, HttpRequest, response
from services.gateway.limits import TokenBucket
from services.gateway.websocket import HandshakeRefusedError, WebSocket, WebSocketLimits
from shared.names.close_reasons import SERVER_STOPPING, CloseReason

NOTSENT_LOWAT_BYTES: Final = 16_384
"""Kept in the kernel unsent: more would hide megabytes of old prices below our own bounds."""

BACKLOG: Final = 4_096
STOP_S: Final = 3.0
_IGNORED_QUERY_SECRETS: Final = frozenset({"token", "access_token", "jwt"})


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How handshakes are judged.

    Attributes:
        allowed_origins: exact origins, or `*`.
        max_connections: at once; 0: no limit.
        max_accepts: a second; 0: no limit.
        head_timeout: seconds for a request head.
    """

    allowed_origins: frozenset[str]
    max_connections: int
    max_accepts: float
    head_timeout: float


class _EngineError(HttpError):
    """A refusal that the Engine.IO reference server knows by number."""

    def __init__(self, code: int, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(status, message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Mount:
    """An application under a path.

    Attributes:
        session_settings: heartbeat and limits, told to clients.
        websocket_limits: for its WebSockets.
        make: the application of one new connection.
    """

    session_settings: SessionSettings
    websocket_limits: WebSocketLimits
    make: Callable[[EngineConnection], Application]


class Server:
    """All connections of one port.

    Args:
        loop: the event loop.
        settings: how handshakes are judged.
        mounts: path prefix, such as `/socket.io/` -> application.
        on_refused: gets a short reason for each refused handshake.
        on_ended: gets the ending of each connection that was open.

    Attributes:
        connections: those that are open.
        accepted: how many were ever opened.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: ServerSettings,
        mounts: Mapping[str, Mount],
        on_refused: Callable[[str], None] = lambda _reason: None,
        on_ended: Callable[[CloseReason], None] = lambda _reason: None,
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._on_refused = on_refused
        self._on_ended = on_ended
        self._deadlines = Deadlines(loop)
        self._mounts = [
            (path, mount, Host(loop, self._deadlines, mount.session_settings, self._ended))
            for path, mount in mounts.items()
        ]
        self._accepts = TokenBucket(settings.max_accepts, loop.time())
        self._listener: asyncio.Server | None = None
        self._stopping = False
        self._sockets: set[WebSocket] = set()
        self.connections: set[EngineConnection] = set()
        self.accepted = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the real port.

        Raises:
            OSError: the address is taken.
        """
        self._listener = await self._loop.create_server(self._front, host, port, backlog=BACKLOG)
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Refuse new clients, say goodbye to those that are here, wait a little for them to go."""
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.end(SERVER_STOPPING)
        deadline = self._loop.time() + STOP_S
        while self._sockets and self._loop.time() < deadline:  # noqa: ASYNC110 - once in a process's life
            await asyncio.sleep(0.02)
        for carrier in list(self._sockets):
            carrier.abort()
        self._deadlines.stop()

    def _front(self) -> HttpFront:
        return HttpFront(self._serve, self._deadlines, self._settings.head_timeout, self._refuse)

    def _serve(self, front: HttpFront, request: HttpRequest, rest: bytes) -> None:
        found = next((mounted for mounted in self._mounts if request.path.startswith(mounted[0])), None)
        if found is None:
            raise HttpError(HTTPStatus.NOT_FOUND, f"connect a Socket.IO client to {self._mounts[0][0]}")
        _, mount, host = found
        self._check(request)
        self._admit()
        carrier = WebSocket(mount.websocket_limits, front.transport, self._loop.time(), self._sockets)
        try:
            carrier.accept(request.target, request.headers)
        except HandshakeRefusedError as refused:
            self._on_refused("bad_websocket_handshake")
            front.answer(refused.response)
            return
        _tune(front.transport)
        front.transport.set_protocol(carrier)
        connection = EngineConnection(host, carrier, secrets.token_urlsafe(15), Transport.WEBSOCKET)
        self.connections.add(connection)
        self.accepted += 1
        carrier.serve(connection)
        connection.open(mount.make(connection))
        if rest:
            carrier.data_received(rest)

    def _check(self, request: HttpRequest) -> None:
        """The reference server's checks, in its order (protocol reference 2.3)."""
        query = request.query
        if query.get("transport") != Transport.WEBSOCKET:
            raise _EngineError(0, "Transport unknown")
        origin = request.header("origin")
        if request.count("origin") > 1:  # what else the reference refuses here, httptools has refused
            raise _EngineError(3, "Bad request")
        if "sid" in query:
            raise _EngineError(1, "Session ID unknown")
        if request.method != "GET":
            raise _EngineError(2, "Bad handshake method")
        if not request.is_upgrade or request.count("content-length") or request.count("transfer-encoding"):
            raise _EngineError(3, "Bad request")
        if not self._origin_allowed(origin):
            raise _EngineError(4, "Origin not allowed", HTTPStatus.FORBIDDEN)
        if _IGNORED_QUERY_SECRETS & query.keys():
            raise _EngineError(4, "A token belongs into auth, never into the URL")
        if query.get("EIO") != "4":
            raise _EngineError(5, "Unsupported protocol version")

    def _origin_allowed(self, origin: str | None) -> bool:
        allowed = self._settings.allowed_origins
        return origin is None or "*" in allowed or origin in allowed

    def _admit(self) -> None:
        """Overload is told by 503: stock clients come back to that with back-off."""
        settings = self._settings
        full = settings.max_connections and len(self.connections) >= settings.max_connections
        rate = settings.max_accepts
        hasty = rate and self._accepts.take(rate, rate, self._loop.time())
        if self._stopping or full or hasty:
            reason = "stopping" if self._stopping else "full" if full else "too many new clients"
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, reason, [("Retry-After", "1")])

    def _refuse(self, front: HttpFront, error: HttpError) -> None:
        self._on_refused(error.text if isinstance(error, _EngineError) else error.status.phrase)
        if isinstance(error, _EngineError) and front.is_upgrade:  # as the reference server: the bare text
            front.answer(response(error.status, error.text.encode(), "text/html", error.headers))
        elif isinstance(error, _EngineError):
            body = json.dumps({"code": error.code, "message": error.text}, separators=(",", ":")).encode()
            front.answer(response(error.status, body, "application/json", error.headers))
        else:
            front.answer(response(error.status, error.text.encode(), headers=error.headers))

    def _ended(self, connection: EngineConnection, reason: CloseReason) -> None:
        self.connections.discard(connection)
        self._on_ended(reason)


def _tune(transport: asyncio.Transport) -> None:
    raw = transport.get_extra_info("socket")
    if raw is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
