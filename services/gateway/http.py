"""HTTP/1.1 in front of WebSocket: one request head, read by httptools within bounds that httptools does not have.

A connection brings one request: it becomes a WebSocket, or is answered and closed. Feeds `Server`.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from typing import Final, cast
from urllib.parse import parse_qsl

import httptools

from services.gateway.deadlines import Deadlines, Due

MAX_HEAD: Final = 16_384
MAX_TARGET: Final = 8_192
MAX_HEADER_LINE: Final = 8_192
MAX_HEADERS: Final = 128
MAX_QUERY_FIELDS: Final = 32
LINGER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request head.

    Attributes:
        method: as sent.
        target: path and query, as sent.
        path: of the target.
        query: name -> value.
        headers: names in lower case, in order.
        is_upgrade: whether it asks for another protocol.
    """

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: Sequence[tuple[str, str]]
    is_upgrade: bool

    def header(self, name: str) -> str | None:
        """The first header of this name, in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    def count(self, name: str) -> int:
        """How many headers have this name."""
        return sum(key == name for key, _ in self.headers)


class HttpError(Exception):
    """A request that is refused: status, a text for the client, further headers."""

    def __init__(self, status: HTTPStatus, text: str = "", headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers


def response(
    status: HTTPStatus,
    body: bytes,
    content_type: str = "text/plain; charset=utf-8",
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """A whole answer, after which the connection closes."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


Serve = Callable[["HttpFront", HttpRequest, bytes], None]
"""Gets the front whose request is complete, the request, and what came after it. It may raise `HttpError`."""


class HttpFront(asyncio.Protocol):
    """One TCP connection until its request is complete.

    Args:
        serve: takes the request; answers through `transport`, or makes it a WebSocket.
        deadlines: for `head_timeout`, seconds for the whole head.
        refuse: writes the answer to a request that is refused.
    """

    def __init__(
        self,
        serve: Serve,
        deadlines: Deadlines,
        head_timeout: float,
        refuse: Callable[["HttpFront", HttpError], None],
    ) -> None:
        self._serve = serve
        self._deadlines = deadlines
        self._head_timeout = head_timeout
        self._refuse = refuse
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._header_bytes = 0
        self._received = 0
        self._complete = False
        self._error: HttpError | None = None
        self._timeout_at = inf
        self._answered = False
        self.is_upgrade = False
        self.due: Due | None = None
        self.transport: asyncio.Transport

    def answer(self, whole: bytes) -> None:
        """Write a whole answer; the connection closes when the client has closed its side, or soon.

        Closing at once, with a part of the request unread, would reset the connection, and the answer would be lost.
        """
        self._answered = True
        self.transport.write(whole)
        self.transport.write_eof()
        self._timeout_at = asyncio.get_running_loop().time() + LINGER_S
        self._deadlines.watch(self)

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._timeout_at = asyncio.get_running_loop().time() + self._head_timeout
        self._deadlines.watch(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """It has gone."""
        self._deadlines.forget(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the head; the rest goes on to whom the request makes it."""
        if self._complete:
            return
        self._received += len(data)
        try:
            rest = self._feed(data)
            if rest is not None:
                self._finish()
                self._serve(self, self._request(), rest)
        except HttpError as error:
            self._complete = True
            self._finish()
            self._refuse(self, error)

    # Called by httptools

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._target += url
        if len(self._target) > MAX_TARGET:
            self._error = HttpError(HTTPStatus.REQUEST_URI_TOO_LONG, f"request target over {MAX_TARGET} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        size = len(name) + len(value)
        self._header_bytes += size
        if len(self._headers) == MAX_HEADERS or size > MAX_HEADER_LINE or self._header_bytes > MAX_HEAD:
            self._error = HttpError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"over {MAX_HEADERS} headers, one over {MAX_HEADER_LINE} bytes, or over {MAX_HEAD} bytes of them",
            )
            return
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is complete; a body is not waited for."""
        self._complete = True

    # Called by `Deadlines`

    def next_deadline(self) -> float:
        """When the head must be complete; after an answer, when the client must have read it."""
        return self._timeout_at

    def handle_deadline(self, _now: float) -> None:
        """It is not, or has not."""
        self._timeout_at = inf
        if self._answered:
            self.transport.abort()
            return
        self._complete = True
        self._refuse(self, HttpError(HTTPStatus.REQUEST_TIMEOUT, f"no request within {self._head_timeout:g} s"))

    def _feed(self, data: bytes) -> bytes | None:
        """Parse on; None while the head is incomplete, else what came after it in an upgrade request."""
        rest = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._raise_error()
            raise HttpError(HTTPStatus.BAD_REQUEST, "malformed request") from None
        self._raise_error()
        if not self._complete and self._received > MAX_HEAD:
            raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"request head over {MAX_HEAD} bytes")
        return rest if self._complete else None

    def _raise_error(self) -> None:
        """Raise what a call of httptools found: raised there, it would become the parser's own error."""
        if self._error is not None:
            raise self._error

    def _finish(self) -> None:
        self._timeout_at = inf
        self._deadlines.forget(self)

    def _request(self) -> HttpRequest:
        target = self._target.decode("latin-1")
        path, _, query = target.partition("?")
        try:
            fields = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError:
            raise HttpError(HTTPStatus.BAD_REQUEST, f"over {MAX_QUERY_FIELDS} query fields") from None
        if len({name for name, _ in fields}) < len(fields):
            raise HttpError(HTTPStatus.BAD_REQUEST, "a query field is given twice")
        self.is_upgrade = bool(self._parser.should_upgrade())
        request = HttpRequest(
            self._parser.get_method().decode("latin-1"),
            target,
            path,
            dict(fields),
            tuple(self._headers),
            self.is_upgrade,
        )
        if request.count("host") != 1:
            raise HttpError(HTTPStatus.BAD_REQUEST, "exactly one Host header is needed")
        return request
