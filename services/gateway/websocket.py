"""The WebSocket carrier: `websockets`' Sans-I/O core between an asyncio transport and an `EngineConnection`.

There is no task, queue or timer for each client: the event loop calls in, bytes go out. What the core leaves to its
driver is done here: joining fragments, UTF-8, bounds on frames, fragments and time, and what to do when the socket does
not drain (RFC 6455).
"""

import asyncio
import logging
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from math import inf
from typing import Final, Protocol

from websockets.datastructures import Headers
from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from services.gateway.frames import unframe
from services.gateway.limits import TokenBucket, WebSocketLimits
from shared.names import close_reasons
from shared.names.close_reasons import CloseReason

READ_SLICE: Final = 16_384
"""Fed to the core at once: it decodes all that it is given before the driver sees the first frame."""

TURN_FRAMES: Final = 32
"""Taken from one client before others have their turn: a request is worth fifty microseconds."""

HIGH_WATER: Final = 0
"""Unsent bytes beside the kernel's own, above which a client is behind: none. What the kernel takes unsent is bounded
(`server.py`), and each small write that waits in the event loop costs ten times its bytes."""

CLOSE_TIMEOUT_S: Final = 5.0
HTTP_SWITCHING: Final = 101

_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings={"memLevel": 4, "level": 3},
)
"""No context is kept between messages, so a client that negotiates it costs no memory while it is idle."""

_quiet = logging.getLogger("services.gateway.websockets")
_quiet.setLevel(logging.WARNING)  # the core would print payloads, tokens among them, at lower levels


class FrameSink(Protocol):
    """Whom a WebSocket serves: an `EngineConnection`, or a `Probe` on its way to one."""

    @property
    def now(self) -> float:
        """The event loop's clock."""

    def receive_frame(self, frame: str | bytes) -> None:
        """Take one message."""

    def end(self, reason: CloseReason) -> None:
        """The WebSocket cannot go on; it expects `WebSocket.close`."""

    def carrier_lost(self, reason: CloseReason) -> None:
        """It is gone."""

    def drained(self) -> None:
        """It takes more again."""

    def rearm(self) -> None:
        """Its next deadline may have come nearer."""


class HandshakeRefusedError(Exception):
    """RFC 6455 does not allow this request to become a WebSocket; `response` is what to answer."""

    def __init__(self, status: int, response: bytes) -> None:
        super().__init__(status)
        self.response = response


class WebSocket(asyncio.Protocol):
    """One WebSocket after its HTTP request.

    Args:
        limits: shared.
        transport: of the TCP connection.
        now: the event loop's clock.
        sockets: the server's open sockets; this one is among them until its TCP connection is gone.
        text_only: whether the client takes binary as base64 in text frames (`b64=1`).
    """

    __slots__ = (
        "_close_at",
        "_connection",
        "_core",
        "_drained_bytes",
        "_fragments",
        "_frames",
        "_handed_bytes",
        "_late_pong",
        "_limits",
        "_message_at",
        "_message_is_text",
        "_open",
        "_rewrites",
        "_text_only",
        "_transport",
        "_write_at",
    )

    def __init__(
        self,
        limits: WebSocketLimits,
        transport: asyncio.Transport,
        now: float,
        sockets: set["WebSocket"],
        *,
        text_only: bool = False,
    ) -> None:
        self._limits = limits
        self._transport = transport
        self._core = ServerProtocol(
            state=State.OPEN,
            max_size=limits.max_message,
            extensions=[_DEFLATE] if limits.deflate else None,
            logger=_quiet,
        )
        self._text_only = text_only
        self._rewrites = text_only
        self._connection: FrameSink | None = None
        self._open = sockets
        self._frames = TokenBucket(limits.frame_burst, now)
        self._fragments: list[bytes] | None = None
        self._message_is_text = False
        self._late_pong = b""
        self._handed_bytes = 0
        self._drained_bytes = 0
        self._message_at = self._write_at = self._close_at = inf

    def accept(self, target: str, headers: Sequence[tuple[str, str]], answered: Sequence[tuple[str, str]] = ()) -> None:
        """Answer 101 to a handshake, with the headers `answered` beside those of RFC 6455.

        Raises:
            HandshakeRefusedError: the request is no valid handshake; the refusal carries them too.
        """
        response = self._core.accept(Request(target, Headers(headers)))
        for name, value in answered:
            response.headers[name] = value
        if response.status_code != HTTP_SWITCHING:
            raise HandshakeRefusedError(response.status_code, bytes(response.serialize()))
        self._rewrites = self._text_only or bool(self._core.extensions)
        self._hand(bytes(response.serialize()))

    def serve(self, connection: FrameSink) -> None:
        """Hand frames to this connection from now on."""
        self._connection = connection
        self._open.add(self)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        if self.writable and self._transport.get_write_buffer_size() > HIGH_WATER:
            self.pause_writing()  # told to the HTTP connection before

    def abort(self) -> None:
        """Drop the TCP connection, whatever is still to be written."""
        self._transport.abort()

    # Called by the event loop

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        turns = self._take(data)
        if next(turns, False):
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on, turns)

    def eof_received(self) -> bool:
        """The client half-closed: there is nothing to wait for."""
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """The socket is gone."""
        self._open.discard(self)
        self._close_at = self._write_at = self._message_at = inf
        if self._connection is not None:
            self._connection.carrier_lost(close_reasons.PEER_GONE)
            self._connection = None

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._write_at = asyncio.get_running_loop().time() + self._limits.write_timeout
        self._drained_bytes = self._drained()
        if self._connection is not None:
            self._connection.rearm()

    def resume_writing(self) -> None:
        """It has drained."""
        self._write_at = inf
        if self._late_pong:
            self._hand(self._late_pong)
            self._late_pong = b""
        if self._connection is not None:
            self._connection.drained()

    # `Carrier`

    @property
    def writable(self) -> bool:
        """Whether the socket's buffer takes more."""
        return self._write_at == inf

    @property
    def unsent_bytes(self) -> int:
        """Written and not taken by the kernel yet."""
        return self._transport.get_write_buffer_size()

    @property
    def full_since(self) -> float | None:
        """When its buffer became full, or was last seen to drain though full; None while it takes more."""
        return None if self._write_at == inf else self._write_at - self._limits.write_timeout

    def write(self, frames: bytes) -> None:
        """Send finished frames; written anew for a client that agreed on another form than everybody's."""
        if not self._rewrites:
            self._handed_bytes += len(frames)  # as `_hand`, without the call: everything that is fanned out passes here
            self._transport.write(frames)
            return
        if self._core.state is not State.OPEN:  # the client's goodbye came in the same read as what this answers
            return
        for data in unframe(frames):
            if isinstance(data, str):
                self._core.send_text(data.encode())
            elif self._text_only:
                self._core.send_text(b"b" + b2a_base64(data, newline=False))
            else:
                self._core.send_binary(data)
        self._hand(b"".join(self._core.data_to_send()))

    def release(self) -> None:
        """Nothing is parked here."""

    def take_waiting(self) -> bytes:
        """Nothing waits here."""
        return b""

    def close(self, reason: CloseReason) -> None:
        """Send a close frame and wait a little for the client to go; abort a client that does not read."""
        if self._transport.is_closing():
            return
        if reason.abrupt or not self.writable:
            self.abort()
            return
        if self._core.state is State.OPEN:  # else the core has answered or failed already, and its goodbye is pending
            if reason.code is None:
                self._core.send_close()  # empty, as Engine.IO has it
            else:
                self._core.send_close(reason.code, reason.text)
        self._send_pending()
        self._close_at = asyncio.get_running_loop().time() + CLOSE_TIMEOUT_S

    def next_deadline(self) -> float:
        """When to look again."""
        return min(self._write_at, self._message_at, self._close_at)

    def handle_deadline(self, now: float) -> None:
        """Judge a client that does not drain, finish or leave, by its progress."""
        if now >= self._close_at:
            self._close_at = inf
            self.abort()
        elif now >= self._message_at:
            self._message_at = inf
            self._end(close_reasons.WEBSOCKET_ERROR)
        elif now >= self._write_at:
            drained = self._drained()
            if drained > self._drained_bytes:
                self._drained_bytes = drained
                self._write_at = now + self._limits.write_timeout
            else:
                self._write_at = inf  # else it would be due again, for ever: uvloop keeps the buffer's size after abort
                self._end(close_reasons.SLOW_CONSUMER)
                self.abort()

    def _go_on(self, turns: Iterator[bool]) -> None:
        """Take as much as one turn of the event loop allows; nothing more is read until all is taken."""
        if next(turns, False):
            asyncio.get_running_loop().call_soon(self._go_on, turns)
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _take(self, data: bytes) -> Iterator[bool]:
        for start in range(0, len(data), READ_SLICE):
            if self._core.eof_sent:
                return
            self._core.receive_data(data[start : start + READ_SLICE])
            if self._close_at == inf:
                yield from self._take_events()
            else:
                self._pass_over()
                self._send_pending()

    def _pass_over(self) -> None:
        """We have said goodbye: only the client's own matters, and that it does not go on for ever."""
        now = asyncio.get_running_loop().time()
        for _ in self._core.events_received():
            if self._frames.take(self._limits.frame_rate, self._limits.frame_burst, now):
                self.abort()
                return

    def _take_events(self) -> Iterator[bool]:
        for number, frame in enumerate(self._core.events_received(), 1):
            assert isinstance(frame, Frame)
            if number % TURN_FRAMES == 0:
                yield True
            if self._connection is None:
                break
            if self._frames.take(self._limits.frame_rate, self._limits.frame_burst, self._connection.now):
                self._end(close_reasons.FRAME_FLOOD)
                return
            self._take_frame(frame)
        if self._core.parser_exc is not None:
            too_big = isinstance(self._core.parser_exc, PayloadTooBig)
            self._end(close_reasons.MESSAGE_TOO_BIG if too_big else close_reasons.WEBSOCKET_ERROR)
            return
        self._send_pending()

    def _take_frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._message_is_text = frame.opcode is Opcode.TEXT
                if frame.fin:
                    self._take_message(bytes(frame.data))
                else:
                    self._fragments = [bytes(frame.data)]
                    self._message_at = asyncio.get_running_loop().time() + self._limits.message_timeout
                    if self._connection is not None:
                        self._connection.rearm()
            case Opcode.CONT:
                self._take_fragment(frame)
            case Opcode.CLOSE:
                self._end(close_reasons.CLIENT_LEFT)
            case Opcode.PING if self._core.state is State.OPEN:
                self._send_pending()  # the core has queued the pong: it goes before what later frames are answered
            case Opcode.PING | Opcode.PONG:
                pass  # heartbeats are Engine.IO's

    def _take_fragment(self, frame: Frame) -> None:
        assert self._fragments is not None  # the core refuses a continuation of nothing
        if len(self._fragments) == self._limits.max_fragments:
            self._end(close_reasons.MESSAGE_TOO_BIG)
            return
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            message, self._fragments = b"".join(self._fragments), None
            self._message_at = inf
            self._take_message(message)

    def _take_message(self, message: bytes) -> None:
        if self._connection is None:
            return
        if not self._message_is_text:
            self._connection.receive_frame(message)
            return
        try:
            text = message.decode()
        except UnicodeDecodeError:
            self._end(close_reasons.INVALID_TEXT)
            return
        self._connection.receive_frame(text)

    def _send_pending(self) -> None:
        pending = self._core.data_to_send()
        if pending and not self.writable and self._core.state is State.OPEN:
            self._late_pong = pending[-1]  # only the newest ping needs an answer (RFC 6455 section 5.5.3)
            return
        for data in pending:
            if not data:
                self._transport.close()  # writes what is buffered first
            elif self._close_at == inf:
                self._hand(data)

    def _hand(self, data: bytes) -> None:
        self._handed_bytes += len(data)
        self._transport.write(data)

    def _drained(self) -> int:
        return self._handed_bytes - self._transport.get_write_buffer_size()

    def _end(self, reason: CloseReason) -> None:
        if self._connection is not None:
            self._connection.end(reason)
        else:
            self.close(reason)
