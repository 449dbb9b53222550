"""One HTTP request and its answer, whenever that comes: at once, or when a parked poll has something to say.

Made by `http.py`, which reads requests; answered by `Server` and by polls.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

Headers = Sequence[tuple[str, str]]

_names_python: Final = re.compile("python", re.IGNORECASE).search


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request head.

    Attributes:
        method: as sent.
        target: path and query, as sent.
        path: of the target.
        query: name -> value.
        headers: names in lower case, in order.
        is_upgrade: whether it asks to become a WebSocket.
    """

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: Headers
    is_upgrade: bool

    def header(self, name: str) -> str | None:
        """The first header of this name, in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def is_framed(self) -> bool:
        """Whether it announces a body."""
        return bool(self.count("content-length") or self.count("transfer-encoding"))

    @property
    def is_from_python(self) -> bool:
        """Whether it comes from python-engineio's client, as far as its user agent says."""
        return _names_python(self.header("user-agent") or "") is not None

    def all(self, name: str) -> list[str]:
        """The values of all headers of this name, in lower case, in their order."""
        return [value for key, value in self.headers if key == name]

    def count(self, name: str) -> int:
        """How many headers have this name."""
        return sum(key == name for key, _ in self.headers)


class HttpError(Exception):
    """A request that is refused: status, a text for the client, further headers.

    Attributes:
        reason: what it is counted as; one of a closed set.
    """

    def __init__(self, status: HTTPStatus, text: str = "", headers: Headers = (), reason: str = "") -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers
        self.reason = reason or status.phrase


class Requester(Protocol):
    """The TCP connection that a request came by.

    Attributes:
        transport: its own.
        peer: address of its other end.
        closes: whether the answer is the last.
    """

    transport: asyncio.Transport
    peer: str
    closes: bool

    def before_answer(self) -> None:
        """An answer is about to be made: decide whether it is the last."""

    def answer(self, response: bytes) -> None:
        """Write it."""

    def let_go(self) -> None:
        """The transport is somebody else's from now on."""


class Exchange:
    """One request and its answer.

    Attributes:
        request: its head.
        body: set when `Site.finish` is called.
        aborted: called when it will not be completed: the client went away (True), or it is refused (False); set by
            whoever answers later.
    """

    __slots__ = ("_connection", "aborted", "answered", "body", "request")

    def __init__(self, connection: Requester, request: HttpRequest) -> None:
        self._connection = connection
        self.request = request
        self.body = b""
        self.answered = False
        self.aborted: Callable[[bool], None] = lambda _lost: None

    @property
    def transport(self) -> asyncio.Transport:
        """Of the TCP connection, for whoever makes it a WebSocket."""
        return self._connection.transport

    @property
    def peer(self) -> str:
        """Address of the TCP connection's other end."""
        return self._connection.peer

    def answer(self, status: HTTPStatus, body: bytes, content_type: str, headers: Headers = ()) -> None:
        """Answer; harmless when it was answered, or when the client is gone."""
        if not self.answered:
            self.answered = True
            self._connection.before_answer()
            self._connection.answer(_response(status, body, content_type, headers, self._connection.closes))

    def answer_whole(self, response: bytes) -> None:
        """Answer with a response that is made already, and close."""
        if not self.answered:
            self.answered = True
            self._connection.closes = True
            self._connection.answer(response)

    def hand_over(self) -> None:
        """The TCP connection is somebody else's from now on: a WebSocket's."""
        self.answered = True
        self._connection.let_go()


def _response(status: HTTPStatus, body: bytes, content_type: str, headers: Headers, closes: bool) -> bytes:  # noqa: FBT001
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *([f"Content-Type: {content_type}"] if content_type else []),
        *([f"Content-Length: {len(body)}"] if status is not HTTPStatus.NO_CONTENT else ["Content-Length: 0"]),
        f"Connection: {'close' if closes else 'keep-alive'}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def refusal(status: HTTPStatus, body: bytes, content_type: str, headers: Headers = ()) -> bytes:
    """A whole answer after which the connection closes."""
    return _response(status, body, content_type, headers, closes=True)
