"""The client port: accepts TCP, checks every request, makes connections and hands requests to them.

The checks come in the order of the Engine.IO reference server, with its codes and texts, so that a stock client says
the same about us (protocol reference 2.3). An application is mounted under a path; the gateway mounts one, tests and
the conformance app mount others.
"""

import asyncio
import json
import secrets
import socket
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from random import randint
from typing import Final

from protocol.engineio.payload import PayloadLimits
from protocol.engineio.session import SessionSettings, Transport
from services.gateway.addresses import UNCOUNTED
from services.gateway.admission import Admission, AdmissionLimits, Refusal
from services.gateway.connection import Application, EngineConnection, Host
from services.gateway.cors import Cors
from services.gateway.deadlines import Deadlines
from services.gateway.doorway import NO_LIMITS, Doorway, DoorwayLimits
from services.gateway.exchange import Exchange, Headers, HttpError, HttpRequest, refusal
from services.gateway.http import MAX_HEAD, HttpConnection
from services.gateway.limits import WebSocketLimits
from services.gateway.polling import Polling
from services.gateway.upgrade import Probe
from services.gateway.websocket import HandshakeRefusedError, WebSocket
from shared.names.close_reasons import PROTOCOL_ERROR, SERVER_STOPPING, CloseReason

NOTSENT_LOWAT_BYTES: Final = 16_384
"""Kept in the kernel unsent: more would hide megabytes of old prices below our own bounds."""

BACKLOG: Final = 4_096
STOP_S: Final = 3.0
RETRY_WITHIN_S: Final = 5
"""Who is refused is told a time up to this, each another one. Stock clients go by a back-off of their own instead."""

_TRANSPORTS: Final = frozenset(Transport)
_IGNORED_QUERY_SECRETS: Final = frozenset({"token", "access_token", "jwt"})


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How handshakes are judged.

    Attributes:
        allowed_origins: exact origins, or `*`.
        max_connections: at once; 0: no limit.
        max_accepts: a second; 0: no limit.
        head_timeout: seconds for a request head.
        cookie: name of a cookie that polling handshakes set, for balancers that route by it; none if empty.
        max_per_address: at once from one address; 0: no limit.
        max_accepts_per_address: a second from one address; 0: no limit.
        doorway: for TCP connections before they are clients; its proxies tell whose address a request has.
        max_age: seconds of one connection.
        max_head: bytes of a request head.
    """

    allowed_origins: frozenset[str]
    max_connections: int
    max_accepts: float
    head_timeout: float
    cookie: str = ""
    max_per_address: int = 0
    max_accepts_per_address: float = 0
    doorway: DoorwayLimits = NO_LIMITS
    max_age: float = inf
    max_head: int = MAX_HEAD

    def admission(self) -> AdmissionLimits:
        """What clients are admitted by."""
        return AdmissionLimits(
            self.max_connections, self.max_accepts, self.max_per_address, self.max_accepts_per_address
        )


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
        on_pong: gets what carried a heartbeat's answer, and the seconds since the ping.

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
        on_pong: Callable[[Transport, float], None] = lambda _transport, _seconds: None,
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._on_refused = on_refused
        self._on_ended = on_ended
        self._deadlines = Deadlines(loop)
        self._mounts = [
            (
                path,
                mount,
                Host(loop, self._deadlines, mount.session_settings, self._ended, self._gone, settings.max_age, on_pong),
            )
            for path, mount in mounts.items()
        ]
        self._admission = Admission(settings.admission(), loop.time())
        self._listener: asyncio.Server | None = None
        self._stopping = False
        self._cors = Cors(settings.allowed_origins)
        self._sockets: set[WebSocket] = set()
        self._doorway = Doorway(settings.doorway, lambda: len(self._sockets), on_refused)
        self._by_sid: dict[str, tuple[EngineConnection, Mount]] = {}
        self.connections: set[EngineConnection] = set()
        self.accepted = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the real port.

        Raises:
            OSError: the address is taken.
        """
        self._listener = await self._loop.create_server(self._connect, host, port, backlog=BACKLOG)
        return int(self._listener.sockets[0].getsockname()[1])

    def refuse_new(self) -> None:
        """Let no new client in; those that are here are served on, also on new TCP connections."""
        self._stopping = True

    async def stop(self) -> None:
        """Refuse new clients, say goodbye to those that are here, wait a little for them to go."""
        self.refuse_new()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.end(SERVER_STOPPING)
        deadline = self._loop.time() + STOP_S
        await self._wait_for(deadline, self._sockets, self._by_sid)  # a goodbye may be fetched by any HTTP connection
        for visit in self._doorway:
            visit.close()
        await self._wait_for(deadline, self._doorway)
        for carrier in list(self._sockets):
            carrier.abort()
        for visit in self._doorway:
            visit.turn_away()
        self._deadlines.stop()

    async def _wait_for(self, deadline: float, *clients: Sized) -> None:
        while any(map(len, clients)) and self._loop.time() < deadline:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(0.02)

    @property
    def present(self) -> int:
        """Clients that are not gone: those that are open, and those whose goodbye is still on its way."""
        return len(self._by_sid)

    @property
    def unfinished(self) -> int:
        """TCP connections that have not finished their first request head."""
        return self._doorway.unfinished

    # `Site`: what each HTTP request goes through

    def begin(self, exchange: Exchange) -> None:
        """A request head is here: place it, or refuse it before its body comes."""
        request = exchange.request
        mount, _ = self._mounted(request)
        if request.method == "OPTIONS" and self._cors.is_on:
            return
        connection = self._check(request, mount)
        if connection is not None and request.method == "POST":
            if request.header("content-type") == "application/octet-stream":
                connection.end(PROTOCOL_ERROR)
                raise _EngineError(3, "Bad request")
            assert isinstance(connection.carrier, Polling)
            connection.carrier.begin_post(exchange)

    def finish(self, exchange: Exchange, rest: bytes) -> None:
        """A request is complete: serve it."""
        request = exchange.request
        mount, host = self._mounted(request)
        if request.method == "OPTIONS" and self._cors.is_on:
            headers = self._cors.preflight(request.header("origin"), request.header("access-control-request-headers"))
            exchange.answer(HTTPStatus.NO_CONTENT, b"", "", headers)
            return
        connection = self._check(request, mount)
        if request.is_upgrade:
            self._open_websocket(exchange, mount, host, connection, rest)
        elif connection is None:
            self._open_polling(exchange, mount, host)
        else:
            assert isinstance(connection.carrier, Polling)
            if request.method == "POST":
                connection.carrier.finish_post(exchange)
            else:
                connection.carrier.park(exchange)

    def refuse(self, exchange: Exchange | None, origin: str | None, error: HttpError) -> bytes:
        """The answer to a request that is not served."""
        self._on_refused(error.text if isinstance(error, _EngineError) else error.reason)
        headers = [*error.headers, *self._cors.headers(origin)]
        if not isinstance(error, _EngineError):
            return refusal(error.status, error.text.encode(), "text/plain; charset=utf-8", headers)
        if exchange is not None and exchange.request.is_upgrade:  # as the reference server: the bare text, always 400
            return refusal(HTTPStatus.BAD_REQUEST, error.text.encode(), "text/html", headers)
        body = json.dumps({"code": error.code, "message": error.text}, separators=(",", ":")).encode()
        return refusal(error.status, body, "application/json", headers)

    def _mounted(self, request: HttpRequest) -> tuple[Mount, Host]:
        for path, mount, host in self._mounts:
            if request.path.startswith(path):
                return mount, host
        raise HttpError(HTTPStatus.NOT_FOUND, f"connect a Socket.IO client to {self._mounts[0][0]}")

    def _check(self, request: HttpRequest, mount: Mount) -> EngineConnection | None:
        """Find whose request this is; None where it opens a connection."""
        query = request.query
        transport = query.get("transport")
        if transport not in _TRANSPORTS:
            raise _EngineError(0, "Transport unknown")
        if request.count("origin") > 1:  # what else the reference refuses here, httptools has refused
            raise _EngineError(3, "Bad request")
        sid = query.get("sid")
        if sid is not None:
            return self._check_known(request, mount, sid, transport)
        if request.method != "GET":
            raise _EngineError(2, "Bad handshake method")
        if request.is_upgrade != (transport == Transport.WEBSOCKET) or (request.is_upgrade and request.is_framed):
            raise _EngineError(3, "Bad request")
        if not self._cors.allows(request.header("origin")):
            raise _EngineError(4, "Origin not allowed", HTTPStatus.FORBIDDEN)
        if _IGNORED_QUERY_SECRETS & query.keys():
            raise _EngineError(4, "A token belongs into auth, never into the URL", HTTPStatus.FORBIDDEN)
        if query.get("EIO") != "4":
            raise _EngineError(5, "Unsupported protocol version")
        return None

    def _check_known(self, request: HttpRequest, mount: Mount, sid: str, transport: str) -> EngineConnection:
        connection, served_by = self._by_sid.get(sid, (None, None))
        if connection is None or served_by is not mount or self._is_over(connection):
            raise _EngineError(1, "Session ID unknown")
        if not request.is_upgrade and (transport != Transport.POLLING or not isinstance(connection.carrier, Polling)):
            raise _EngineError(3, "Bad request")
        if request.query.get("EIO") != "4" or (request.is_upgrade and transport != Transport.WEBSOCKET):
            raise _EngineError(3, "Bad request")
        if request.is_upgrade and request.is_framed:
            raise _EngineError(3, "Bad request")
        if request.method not in (("GET",) if request.is_upgrade else ("GET", "POST")):
            raise _EngineError(2, "Bad handshake method")
        return connection

    def _is_over(self, connection: EngineConnection) -> bool:
        """Whether nobody can be reached there; one that still has its goodbye to say can."""
        carrier = connection.carrier
        return connection.is_expired and not (isinstance(carrier, Polling) and carrier.is_closing)

    def _admit(self, exchange: Exchange) -> str:
        """Let a handshake in: what it is counted under.

        Overload is told by 503, or 429 where it is that of one address: stock clients come back to both, with back-off.
        """
        proxies = self._settings.doorway.proxies
        client = proxies.client_of(exchange.peer, exchange.request.all("x-forwarded-for"))
        address = proxies.key_of(client)
        if self._stopping:
            refusal: Refusal | None = Refusal.STOPPING
        else:
            refusal = self._admission.judge(address, len(self.connections), self._loop.time())
        if refusal is None:
            return address
        status = HTTPStatus.TOO_MANY_REQUESTS if refusal.is_of_address else HTTPStatus.SERVICE_UNAVAILABLE
        retry_after = randint(1, RETRY_WITHIN_S)  # noqa: S311 - spreads load, hides nothing
        raise HttpError(status, refusal.value, [("Retry-After", str(retry_after))], reason=refusal.value)

    # New connections

    def _open_polling(self, exchange: Exchange, mount: Mount, host: Host) -> None:
        address = self._admit(exchange)
        sid = secrets.token_urlsafe(15)
        cookie = self._settings.cookie
        first = [("Set-Cookie", f"{cookie}={sid}; Path=/; HttpOnly; SameSite=Lax")] if cookie else []
        limits = PayloadLimits(max_bytes=mount.session_settings.max_payload)
        carrier = Polling(limits, mount.websocket_limits, self._cors_headers, first, self._loop.time)
        carrier.park(exchange)
        self._open(host, mount, carrier, sid, exchange.request, address)

    def _open_websocket(
        self, exchange: Exchange, mount: Mount, host: Host, polling: EngineConnection | None, rest: bytes
    ) -> None:
        request = exchange.request
        address = self._admit(exchange) if polling is None else UNCOUNTED
        carrier = WebSocket(
            mount.websocket_limits,
            exchange.transport,
            self._loop.time(),
            self._sockets,
            text_only=request.query.get("b64") == "1",
        )
        try:
            carrier.accept(request.target, request.headers, self._cors_headers(exchange))
        except HandshakeRefusedError as refused:
            self._on_refused("bad_websocket_handshake")
            exchange.answer_whole(refused.response)
            return
        exchange.hand_over()
        _tune(exchange.transport)
        exchange.transport.set_protocol(carrier)
        if polling is None:
            self._open(host, mount, carrier, secrets.token_urlsafe(15), request, address)
        else:
            probe = Probe(polling, carrier)
            carrier.serve(probe)
            if polling.can_probe:
                polling.open_probe(probe)
            else:  # accepted and closed: an HTTP error here fails stock clients (protocol reference 2.7)
                probe.reject()
        if rest:
            carrier.data_received(rest)

    def _open(
        self, host: Host, mount: Mount, carrier: WebSocket | Polling, sid: str, request: HttpRequest, address: str
    ) -> None:
        transport = Transport.WEBSOCKET if request.is_upgrade else Transport.POLLING
        connection = EngineConnection(
            host, carrier, sid, transport, is_from_python=request.is_from_python, address=address
        )
        self._admission.enter(address)
        self._by_sid[sid] = connection, mount
        self.connections.add(connection)
        self.accepted += 1
        carrier.serve(connection)
        connection.open(mount.make(connection))

    def _cors_headers(self, exchange: Exchange) -> Headers:
        return self._cors.headers(exchange.request.header("origin"))

    def _ended(self, connection: EngineConnection, reason: CloseReason) -> None:
        self.connections.discard(connection)
        self._admission.leave(connection.address)
        self._on_ended(reason)

    def _gone(self, connection: EngineConnection) -> None:
        self._by_sid.pop(connection.sid, None)

    def _connect(self) -> HttpConnection:
        largest = max(mount.session_settings.max_payload for _, mount, _ in self._mounts)
        settings = self._settings
        return HttpConnection(
            self, self._deadlines, settings.head_timeout, largest, self._doorway, max_head=settings.max_head
        )


def _tune(transport: asyncio.Transport) -> None:
    raw = transport.get_extra_info("socket")
    if raw is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
