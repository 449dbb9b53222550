"""HTTP/1.1 on the client port: requests one after another on a connection, read by httptools within bounds of our own.

httptools parses and sets no limits; this sets them: on the head, the target, each header, their number, the body, and
the time for each. A request becomes an `Exchange`, which is answered at once, or later (a parked poll), or turned into
a WebSocket. Feeds `Server`.
"""

import asyncio
from http import HTTPStatus
from math import inf
from typing import Final, Protocol, cast
from urllib.parse import parse_qsl

import httptools

from services.gateway.deadlines import Deadlines, Due
from services.gateway.doorway import Doorway
from services.gateway.exchange import Exchange, HttpError, HttpRequest
from services.gateway.proxy_protocol import ProxyHeaderError, read_header

MAX_HEAD: Final = 16_384
MAX_TARGET: Final = 8_192
MAX_HEADER_LINE: Final = 8_192
MAX_HEADERS: Final = 128
MAX_QUERY_FIELDS: Final = 32
MAX_CHUNKING: Final = 8
"""Bytes sent for each byte of body that is allowed: one in a chunk of its own takes six; trailers count too."""

LINGER_S: Final = 1.0
BODY_TIMEOUT_S: Final = 10.0
IDLE_TIMEOUT_S: Final = 60.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Site(Protocol):
    """Who answers. Each method may raise `HttpError` instead."""

    def begin(self, exchange: Exchange) -> None:
        """A head is complete; a body may follow."""

    def finish(self, exchange: Exchange, rest: bytes) -> None:
        """The request is complete; `rest` came after an upgrade request."""

    def refuse(self, exchange: Exchange | None, origin: str | None, error: HttpError) -> bytes:
        """The whole answer to a request that cannot be served; None where its head could not be read to the end."""


class HttpConnection(asyncio.Protocol):
    """One TCP connection: its requests, one after another.

    Args:
        site: answers.
        deadlines: for the time limits.
        head_timeout: seconds for a whole head.
        max_body: bytes of one body.
        max_head: bytes of one head.
        doorway: the server's HTTP connections; this one is among them until it is gone, or a WebSocket.

    Attributes:
        peer: address of the client, as far as TCP and a PROXY header say; empty if they do not.
    """

    def __init__(
        self,
        site: Site,
        deadlines: Deadlines,
        head_timeout: float,
        max_body: int,
        doorway: Doorway,
        max_head: int = MAX_HEAD,
    ) -> None:
        self._site = site
        self._deadlines = deadlines
        self._head_timeout = head_timeout
        self._max_body = max_body
        self._max_head = max_head
        self._doorway = doorway
        self._preamble = b"" if doorway.expects_proxy_header else None
        self.peer = ""
        self._parser = httptools.HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self._error: HttpError | None = None
        self._held: bytes | None = None
        self._complete = False
        self._timeout_at = inf
        self._lingering = False
        self.closes = False
        self.due: Due | None = None
        self.transport: asyncio.Transport
        self._reset()

    # Called by `Doorway` and `Server`

    def turn_away(self) -> None:
        """There is no place for it: drop it."""
        self._lingering = True  # nothing that comes is read
        self._timeout_at = inf
        self.transport.abort()

    def close(self) -> None:
        """Let what is written go out, then end it."""
        self.transport.close()

    # Called by `Exchange`

    def before_answer(self) -> None:
        """A request that is answered before its body has come is the last one: the rest of it is not read."""
        self.closes = self.closes or not self._complete

    def answer(self, response: bytes) -> None:
        """Write an answer; then the next request, or the end."""
        if self.transport.is_closing():
            return
        self.transport.write(response)
        if self.closes:
            self._linger()
        else:
            self._reset()
            self._set_timeout(IDLE_TIMEOUT_S)

    def let_go(self) -> None:
        """Somebody else has the transport now."""
        self._leave()
        self._exchange = None

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        if self._doorway.enter(self):
            self._set_timeout(self._head_timeout)

    def eof_received(self) -> bool:
        """It cancels what it waits for: noted now, so that its next request, on another connection, finds that done."""
        self._abandon()
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """It has gone."""
        self._leave()
        self._abandon()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request, now or when it is their turn."""
        if self._held is not None:
            self._held += data
        elif self._received or self._lingering or self._doorway.turnstile.pass_through():
            self._receive(data)
        else:
            self._held = data
            self._timeout_at = inf  # it is not the client that is slow
            self.transport.pause_reading()
            self._doorway.turnstile.wait(self._go_on)

    def _go_on(self) -> None:
        data, self._held = self._held, None
        if data is not None and not self.transport.is_closing():
            self.transport.resume_reading()
            self._set_timeout(self._head_timeout)
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._preamble is not None:
            data = self._read_preamble(self._preamble + data)
            if not data:
                return
        if self._complete:  # the request before is not answered yet
            self.transport.abort()
            return
        try:
            self._take(data)
        except HttpError as error:
            self._refuse(error)

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests until it does, or until they time out."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # Called by httptools

    def on_message_begin(self) -> None:
        """A request begins, perhaps the second in one read."""
        if self._complete:
            self._error = HttpError(HTTPStatus.BAD_REQUEST, "one request at a time")

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._target += url
        if len(self._target) > MAX_TARGET:
            self._error = HttpError(HTTPStatus.REQUEST_URI_TOO_LONG, f"request target over {MAX_TARGET} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        size = len(name) + len(value)
        self._head_bytes += size
        if len(self._headers) == MAX_HEADERS or size > MAX_HEADER_LINE or self._head_bytes > self._max_head:
            self._error = HttpError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"over {MAX_HEADERS} headers, one over {MAX_HEADER_LINE} bytes, or over {self._max_head} bytes of them",
            )
            return
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        if self._error is not None:
            return
        try:
            # The parser stops at an upgrade, one that we leave alone (RFC 9110 section 7.8) too.
            self.closes = not self._parser.should_keep_alive() or bool(self._parser.should_upgrade())
            self._doorway.finish_head(self)
            self._exchange = Exchange(self, self._request())
            self._set_timeout(BODY_TIMEOUT_S)
            self._site.begin(self._exchange)
            if not self._exchange.answered and self._awaits_leave(self._exchange.request):
                self.transport.write(_CONTINUE)
        except HttpError as error:  # raised here, it would become the parser's own error
            self._error = error

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._exchange is None or self._exchange.answered:
            return
        if len(self._body) + len(body) > self._max_body:
            self._error = HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self._body += body

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._complete = True

    # Called by `Deadlines`

    def next_deadline(self) -> float:
        """When what is waited for must have come."""
        return self._timeout_at

    def handle_deadline(self, _now: float) -> None:
        """It has not."""
        self._timeout_at = inf
        idle = self._served and self._exchange is None and not self._received
        if self._lingering or idle:
            self.transport.abort()
        else:
            self._refuse(HttpError(HTTPStatus.REQUEST_TIMEOUT, f"no whole request within {self._head_timeout:g} s"))

    def _read_preamble(self, begun: bytes) -> bytes:
        """Read the PROXY header, within the time of a request head; what came behind it, if it is whole."""
        try:
            header = read_header(begun)
        except ProxyHeaderError:
            self._doorway.refuse_header(self)
            return b""
        if header is None:
            self._preamble = begun
            return b""
        self._preamble = None
        return begun[header.size :] if self._doorway.introduce(self, header.source) else b""

    def _take(self, data: bytes) -> None:
        rest = self._feed(data)
        exchange = self._exchange
        if self._complete and exchange is not None and not exchange.answered:
            self._timeout_at = inf
            exchange.body = bytes(self._body)
            self._site.finish(exchange, rest)

    def _feed(self, data: bytes) -> bytes:
        """Parse on; returns what came after a complete upgrade request."""
        if not self._received:
            self._set_timeout(self._head_timeout)
        self._received += len(data)
        rest = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            self._complete = True
        except httptools.HttpParserCallbackError:
            raise  # a defect of our own, which must not pass for one of the request
        except httptools.HttpParserError:
            self._raise_error()
            raise HttpError(HTTPStatus.BAD_REQUEST, "malformed request") from None
        self._raise_error()
        if self._exchange is None and self._received > self._max_head:
            raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"request head over {self._max_head} bytes")
        if not self._complete and self._received > self._max_head + MAX_CHUNKING * self._max_body:
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return rest

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _refuse(self, error: HttpError) -> None:
        exchange = self._exchange
        if self._lingering:  # what is wrong came after a request that has its answer
            return
        if exchange is not None:
            exchange.answered = True
            exchange.aborted(False)  # noqa: FBT003 - a callback
        self.closes = True
        self.answer(self._site.refuse(exchange, self._header("origin"), error))

    def _linger(self) -> None:
        """Close our side, and all of it when the client has closed its own, or soon.

        Closing at once, with a part of the request unread, would reset the connection, and the answer would be lost.
        """
        self._lingering = True
        self.transport.write_eof()
        self._set_timeout(IDLE_TIMEOUT_S if self.transport.get_write_buffer_size() else LINGER_S)

    def _reset(self) -> None:
        """Be ready for the next request."""
        self._served = self._exchange is not None
        self._exchange = None
        self._complete = False
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._head_bytes = 0
        self._received = 0
        self._body = bytearray()

    def _set_timeout(self, seconds: float) -> None:
        self._timeout_at = asyncio.get_running_loop().time() + seconds
        self._deadlines.watch(self)

    def _abandon(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not exchange.answered:
            exchange.answered = True
            exchange.aborted(True)  # noqa: FBT003 - a callback

    def _leave(self) -> None:
        self._timeout_at = inf
        self._held = None
        self._deadlines.forget(self)
        self._doorway.leave(self)
        del self._parser  # it holds our methods: a cycle, in which each connection would wait for the collector

    def _awaits_leave(self, request: HttpRequest) -> bool:
        """Whether the body comes only after a word from us (RFC 9110 section 10.1.1)."""
        return (request.header("expect") or "").lower() == "100-continue" and self._parser.get_http_version() == "1.1"

    def _header(self, name: str) -> str | None:
        return next((value for key, value in self._headers if key == name), None)

    def _request(self) -> HttpRequest:
        target = self._target.decode("latin-1")
        path, _, query = target.partition("?")
        try:
            fields = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError:
            raise HttpError(HTTPStatus.BAD_REQUEST, f"over {MAX_QUERY_FIELDS} query fields") from None
        if len({name for name, _ in fields}) < len(fields):
            raise HttpError(HTTPStatus.BAD_REQUEST, "a query field is given twice")
        method = self._parser.get_method().decode("latin-1")
        asked = self._header("upgrade") if self._parser.should_upgrade() else None
        is_upgrade = asked is not None and asked.lower() == "websocket"
        request = HttpRequest(method, target, path, dict(fields), tuple(self._headers), is_upgrade)
        if request.count("host") != 1:
            raise HttpError(HTTPStatus.BAD_REQUEST, "exactly one Host header is needed")
        if asked is not None and not is_upgrade and request.is_framed:
            raise HttpError(HTTPStatus.BAD_REQUEST, "a body behind an Upgrade header is not read")
        if request.count("content-encoding"):
            raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a compressed body is not accepted")
        return request
