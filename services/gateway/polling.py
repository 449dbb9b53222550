"""The long-polling carrier: packets wait here for the client's next GET, and come in the bodies of its POSTs.

The same frames that go to WebSockets come in at `write`; they are taken apart only when a GET takes them, so that after
an upgrade what still waits can go out on the WebSocket as it is (protocol reference 2.4, 2.7).
"""

import gzip
import re
import zlib
from binascii import b2a_base64
from collections.abc import Callable, Iterator
from http import HTTPStatus
from math import inf
from typing import Final

from protocol.engineio.payload import PayloadLimits, decode_payload, join_frames
from protocol.errors import PeerError
from services.gateway.connection import EngineConnection
from services.gateway.exchange import Exchange, Headers
from services.gateway.frames import split_frames, unframe
from services.gateway.limits import TokenBucket, WebSocketLimits
from shared.names import close_reasons
from shared.names.close_reasons import CloseReason

COMPRESS_FROM: Final = 1_024
"""Bytes of an answer from which it is compressed, if the client takes that."""

HIGH_WATER: Final = 65_536
"""Bytes that wait for a GET above which the client is behind, as a WebSocket's is with a full socket."""

CLOSE_WAIT_S: Final = 30.0
"""A goodbye waits so long for a GET to travel in."""

LATE_POLL_S: Final = 1.0
"""A client that leaves may have sent a GET before its POST, which comes after it: they race on two TCP connections."""

FEW_PACKETS: Final = 15
"""Packets in one answer, a goodbye left out: python-engineio's client takes 16, and breaks off on more."""

_takes_all: Final = re.compile("Mozilla/|node-XMLHttpRequest").match
"""User agents of the JavaScript clients, which take any number."""

TEXT: Final = "text/plain; charset=UTF-8"
_is_zero: Final = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*$").match
"""A weight that says: anything but this coding (RFC 9110 section 12.4.2)."""

_AT_ONCE: Final = frozenset({close_reasons.PEER_GONE, close_reasons.PING_TIMEOUT, close_reasons.PROTOCOL_ERROR})
"""Endings after which the next request finds nobody: no goodbye waits for it."""

_CLOSE: Final = b"1"
_NOOP: Final = b"6"
_UNKNOWN: Final = b'{"code":1,"message":"Session ID unknown"}'


class Polling:
    """One client's polls.

    Args:
        limits: of one POST.
        frames: how many packets may come in POSTs: as many as frames on a WebSocket.
        headers: what every answer to a request carries: CORS.
        first: what the first answer carries beside that: the cookie.
        now: the event loop's clock.
    """

    __slots__ = (
        "_close_at",
        "_closing",
        "_connection",
        "_extra",
        "_frames",
        "_get",
        "_headers",
        "_limits",
        "_now",
        "_packets",
        "_post",
        "_waiting",
        "_waiting_bytes",
        "_write_at",
    )

    def __init__(
        self,
        limits: PayloadLimits,
        frames: WebSocketLimits,
        headers: Callable[[Exchange], Headers],
        first: Headers,
        now: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._frames = frames
        self._headers = headers
        self._extra = first
        self._now = now
        self._packets = TokenBucket(frames.frame_burst, now())
        self._connection: EngineConnection | None = None
        self._get: Exchange | None = None
        self._post: Exchange | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._closing: CloseReason | None = None
        self._close_at = self._write_at = inf

    def serve(self, connection: EngineConnection) -> None:
        """Hand packets to this connection."""
        self._connection = connection

    @property
    def is_closing(self) -> bool:
        """Whether only a goodbye is left to be said."""
        return self._closing is not None

    # Requests

    def park(self, exchange: Exchange) -> None:
        """A GET: answer it with what waits, or keep it until something does."""
        if self._get is not None:  # two at once: neither the client nor we know which one to answer
            refuse(exchange, self._headers(exchange))
            self._end(close_reasons.PROTOCOL_ERROR)
            return
        self._get = exchange
        exchange.aborted = self._get_aborted
        if self._closing is not None:
            packets = self._take_packets(exchange)
            if packets:  # last words come first: JavaScript clients take events beside a goodbye for later ones
                self._answer_get(packets)
            else:
                self._say_goodbye(self._closing)
                self._lose(close_reasons.PEER_GONE)
        elif self._connection is not None and self._connection.ends_polls:
            self.release()
        elif self._waiting:
            self._answer_waiting()

    def begin_post(self, exchange: Exchange) -> None:
        """The head of a POST is here; its body may take a while."""
        if self._post is not None or self._closing is not None:
            refuse(exchange, self._headers(exchange))
            self._end(close_reasons.PROTOCOL_ERROR)
            return
        self._post = exchange
        exchange.aborted = self._post_aborted

    def finish_post(self, exchange: Exchange) -> None:
        """The body is here: take its packets, in order, as far as they are good."""
        self._post = None
        connection = self._connection
        if connection is None:
            refuse(exchange, self._headers(exchange))
            return
        try:
            for packet in decode_payload(exchange.body, self._limits):
                if self._packets.take(self._frames.frame_rate, self._frames.frame_burst, self._now()):
                    connection.end(close_reasons.FRAME_FLOOD)
                    refuse(exchange, self._headers(exchange))
                    return
                connection.receive_packet(packet)
        except PeerError as error:
            connection.fail(error)
            refuse(exchange, self._headers(exchange))
            return
        exchange.answer(HTTPStatus.OK, b"ok", "text/html", self._headers(exchange))

    def release(self) -> None:
        """An upgrade is under way: end the parked GET with nothing, so that the client stops polling."""
        if self._get is not None:
            self._answer_get([_NOOP])

    def take_waiting(self) -> bytes:
        """The upgrade is done: give up what waits, and everything else."""
        self.release()
        waiting, self._waiting = b"".join(self._waiting), []
        self._waiting_bytes = 0
        self._connection = None
        return waiting

    # `Carrier`

    @property
    def writable(self) -> bool:
        """Whether what waits is within bounds."""
        return self._waiting_bytes < HIGH_WATER

    @property
    def unsent_bytes(self) -> int:
        """What waits for a GET."""
        return self._waiting_bytes

    @property
    def full_since(self) -> float | None:
        """When so much waited that it takes no more; None while it does."""
        return None if self._write_at == inf else self._write_at - self._frames.write_timeout

    def write(self, frames: bytes) -> None:
        """Have frames sent with the parked GET, or with the next one."""
        self._waiting.append(frames)
        self._waiting_bytes += len(frames)
        if self._get is not None and not (self._connection is not None and self._connection.ends_polls):
            self._answer_waiting()
        elif not self.writable and self._write_at == inf and self._connection is not None:
            self._write_at = self._now() + self._frames.write_timeout
            self._connection.rearm()

    def close(self, reason: CloseReason) -> None:
        """Say goodbye in the parked GET, or in the next one if it comes soon."""
        if self._closing is not None:
            return
        self._closing = reason
        self._write_at = inf
        if self._get is not None:
            self._say_goodbye(reason)
            self._lose(reason)
        elif reason in _AT_ONCE or reason.abrupt:
            self._lose(reason)
        elif reason is close_reasons.CLIENT_LEFT:
            self._waiting, self._waiting_bytes = [], 0
            self._close_at = self._now() + LATE_POLL_S
        else:
            self._close_at = self._now() + CLOSE_WAIT_S

    def next_deadline(self) -> float:
        """When to give up on a goodbye, or on a client that fetches nothing."""
        return min(self._close_at, self._write_at)

    def handle_deadline(self, now: float) -> None:
        """Nobody came for it."""
        if now >= self._close_at:
            self._lose(close_reasons.PEER_GONE)
        elif now >= self._write_at:
            self._end(close_reasons.SLOW_CONSUMER)

    def abort(self) -> None:
        """Leave at once."""
        if self._get is not None:
            self._say_goodbye(close_reasons.SERVER_STOPPING)
        self._lose(close_reasons.SERVER_STOPPING)

    def _answer_waiting(self) -> None:
        assert self._get is not None
        was_full = not self.writable
        self._answer_get(self._take_packets(self._get))
        if was_full and self.writable and self._connection is not None:
            self._connection.drained()

    def _say_goodbye(self, reason: CloseReason) -> None:
        """End the parked GET, and with it the client's side, in the way after which it does what `reason` asks."""
        exchange = self._get
        assert exchange is not None
        if reason is close_reasons.CLIENT_LEFT:
            self._answer_get([_NOOP])
        elif _fails_poll(exchange, reason):
            self._get = None
            exchange.answer(HTTPStatus.BAD_REQUEST, _UNKNOWN, "application/json", self._headers(exchange))
        else:
            self._answer_get([_CLOSE])

    def _take_packets(self, exchange: Exchange) -> list[bytes]:
        """As many of those that wait as this client takes in one answer."""
        frames, rest = b"".join(self._waiting), b""
        if not _takes_all(exchange.request.header("user-agent") or ""):
            frames, rest = split_frames(frames, FEW_PACKETS)
        self._waiting, self._waiting_bytes = [rest] if rest else [], len(rest)
        if self._write_at != inf:  # progress: what is left has as long again
            self._write_at = inf if self.writable else self._now() + self._frames.write_timeout
        return [_as_text(data) for data in unframe(frames)]

    def _answer_get(self, packets: list[bytes]) -> None:
        exchange, self._get = self._get, None
        assert exchange is not None
        body, encoding = _compressed(join_frames(packets), exchange.request.header("accept-encoding") or "")
        headers = [("cache-control", "no-store"), *encoding, *self._headers(exchange), *self._extra]
        self._extra = ()
        exchange.answer(HTTPStatus.OK, body, TEXT, headers)

    def _get_aborted(self, lost: bool) -> None:  # noqa: FBT001 - `Exchange.aborted`
        self._get = None
        if lost:
            self._end(close_reasons.PEER_GONE)

    def _post_aborted(self, lost: bool) -> None:  # noqa: FBT001 - `Exchange.aborted`
        self._post = None
        if lost:
            self._end(close_reasons.PEER_GONE)

    def _end(self, reason: CloseReason) -> None:
        if self._connection is not None:
            self._connection.end(reason)

    def _lose(self, reason: CloseReason) -> None:
        self._close_at = self._write_at = inf
        self._waiting, self._waiting_bytes = [], 0
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.carrier_lost(reason)


def _fails_poll(exchange: Exchange, reason: CloseReason) -> bool:
    """To python-engineio's clients a goodbye means never to come back, a failed poll to reconnect."""
    return reason.reconnect and exchange.request.is_from_python


def refuse(exchange: Exchange, headers: Headers) -> None:
    """What the reference server says to a request that it cannot place: 400, code 3."""
    exchange.answer(HTTPStatus.BAD_REQUEST, b'{"code":3,"message":"Bad request"}', "application/json", headers)


def _as_text(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else b"b" + b2a_base64(data, newline=False)


def _codings(accepted: str) -> Iterator[tuple[str, str, str]]:
    return (coding.partition(";") for coding in accepted.split(","))


def _compressed(body: bytes, accepted: str) -> tuple[bytes, list[tuple[str, str]]]:
    if len(body) < COMPRESS_FROM:
        return body, []
    codings = {name.strip() for name, _, weight in _codings(accepted) if not _is_zero(weight)}
    if "gzip" in codings:
        return gzip.compress(body, compresslevel=1), [("Content-Encoding", "gzip")]
    if "deflate" in codings:
        return zlib.compress(body, level=1), [("Content-Encoding", "deflate")]
    return body, []
