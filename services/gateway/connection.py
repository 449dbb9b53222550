"""One Engine.IO connection: a carrier below, a protocol session in the middle, an application above.

The carrier (a WebSocket) hands in Engine.IO frames; the session says what they mean; messages go to the application,
which writes back through here. Every way in which a connection ends passes `end`.
"""

import asyncio
from collections.abc import Callable
from math import inf
from random import uniform
from typing import Protocol, assert_never

from protocol.engineio import codec
from protocol.engineio.packets import Message, Packet, Pong
from protocol.engineio.session import (
    Closed,
    ProbeRejected,
    Send,
    Session,
    SessionSettings,
    Transport,
    Upgraded,
)
from protocol.errors import PeerError
from protocol.socketio.parser import MessageData
from services.gateway.deadlines import Deadlines, Due
from services.gateway.endings import cause_of, reason_of
from services.gateway.frames import frame_packet
from shared.log import get_logger
from shared.names import close_reasons
from shared.names.close_reasons import CloseReason

log = get_logger(__name__)


class Carrier(Protocol):
    """What carries frames: a WebSocket."""

    @property
    def writable(self) -> bool:
        """Whether it takes more now; it calls `EngineConnection.drained` when it does again."""

    def write(self, frames: bytes) -> None:
        """Send finished frames."""

    def close(self, reason: CloseReason) -> None:
        """Say goodbye, then go. It calls `EngineConnection.carrier_lost` when it is gone."""

    def release(self) -> None:
        """An upgrade is under way: make the client stop polling."""

    def take_waiting(self) -> bytes:
        """Another carrier takes over: give up the frames that wait, and this connection."""

    def next_deadline(self) -> float:
        """Its own next deadline."""

    def handle_deadline(self, now: float) -> None:
        """Let it pass."""


class Prober(Protocol):
    """A carrier that may take over."""

    def reject(self) -> None:
        """It may not."""


class Application(Protocol):
    """What a connection serves."""

    def receive(self, data: MessageData, now: float) -> None:
        """Take one message.

        Raises:
            PeerError: the client broke a rule; the connection ends.
        """

    def drained(self) -> None:
        """The carrier takes more again."""

    def closed(self, reason: CloseReason) -> None:
        """The connection has ended; nothing can be sent any more."""

    def next_deadline(self) -> float:
        """The application's own next deadline for this client."""

    def handle_deadline(self, now: float) -> None:
        """Let it pass.

        Raises:
            PeerError: the client was too slow; the connection ends.
        """


class Host:
    """What all connections of one endpoint share.

    Args:
        loop: their clock.
        deadlines: their timer.
        session_settings: heartbeat and limits, as told to clients.
        on_end: called once for each connection that ended.
        on_gone: called once for each whose carrier is gone too: nobody asks for its sid any more.
        max_age: seconds after which a connection ends, a tenth more or less each, so that they do not all at once.
        on_pong: gets what carried a heartbeat's answer, and the seconds since the ping.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        session_settings: SessionSettings,
        on_end: Callable[["EngineConnection", CloseReason], None],
        on_gone: Callable[["EngineConnection"], None] = lambda _connection: None,
        max_age: float = inf,
        on_pong: Callable[[Transport, float], None] = lambda _transport, _seconds: None,
    ) -> None:
        self.loop = loop
        self.deadlines = deadlines
        self.session_settings = session_settings
        self.on_end = on_end
        self.on_gone = on_gone
        self._max_age = max_age
        self.on_pong = on_pong

    def next_retirement(self) -> float:
        """When a connection that opens now ends."""
        if self._max_age == inf:
            return inf
        return self.loop.time() + self._max_age * uniform(0.9, 1.1)  # noqa: S311 - spreads load, hides nothing


class EngineConnection:
    """One client, whatever it speaks above Engine.IO.

    Attributes:
        carrier: what carries its frames now.
        is_from_python: whether it is python-engineio's client, as far as it says.
        address: what it is counted under, for limits by address; never who it is.
        opened_at: on the event loop's clock.
    """

    __slots__ = (
        "_application",
        "_ended",
        "_host",
        "_prober",
        "_retires_at",
        "_session",
        "address",
        "carrier",
        "due",
        "is_from_python",
        "opened_at",
    )

    def __init__(
        self,
        host: Host,
        carrier: Carrier,
        sid: str,
        transport: Transport,
        *,
        is_from_python: bool = False,
        address: str = "",
    ) -> None:
        self._host = host
        self.carrier = carrier
        self.opened_at = host.loop.time()
        self._session = Session(host.session_settings, sid, transport, self.opened_at)
        self._application: Application | None = None
        self._prober: Prober | None = None
        self._ended = False
        self._retires_at = host.next_retirement()
        self.is_from_python = is_from_python
        self.address = address
        self.due: Due | None = None

    @property
    def now(self) -> float:
        """The event loop's clock."""
        return self._host.loop.time()

    @property
    def writable(self) -> bool:
        """Whether the carrier takes more now."""
        return self.carrier.writable

    @property
    def has_ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._ended

    @property
    def application(self) -> Application | None:
        """What it serves; None once it has ended."""
        return self._application

    @property
    def is_upgrading(self) -> bool:
        """Whether a WebSocket is about to take over: an ending now could leave the client with neither."""
        return self._prober is not None

    @property
    def sid(self) -> str:
        """The client's secret; never logged, never shown to another."""
        return self._session.sid

    @property
    def last_pong(self) -> float:
        """When the client last answered a ping, or came."""
        return self._session.last_pong

    @property
    def can_probe(self) -> bool:
        """Whether a WebSocket may begin to take over."""
        return self._session.can_probe

    @property
    def ends_polls(self) -> bool:
        """Whether every poll is to be ended with nothing, because a WebSocket takes over."""
        return self._session.ends_polls

    @property
    def is_expired(self) -> bool:
        """Whether a request that comes now finds nobody, even where no timer has fired yet."""
        return self._session.is_expired(self._host.loop.time())

    @property
    def transport(self) -> Transport:
        """What carries it: a metric label."""
        return self._session.transport

    def open(self, application: Application) -> None:
        """Send the handshake and begin to serve."""
        self._application = application
        self.carrier.write(frame_packet(self._session.open_packet()))
        self.rearm()

    def rearm(self) -> None:
        """Some deadline of this connection may have changed."""
        self._host.deadlines.watch(self)

    def write(self, frames: bytes) -> None:
        """Send finished frames to the client."""
        if not self._ended:
            self.carrier.write(frames)

    def end(self, reason: CloseReason) -> None:
        """End the connection; harmless when it has ended."""
        if self._ended:
            return
        self._ended = True
        self._retires_at = inf
        self._drop_prober()
        self._session.finish(cause_of(reason))
        if self._application is not None:
            self._application.closed(reason)
            self._application = None
        self.carrier.close(reason)
        self._host.on_end(self, reason)
        self.rearm()

    # Called by the carrier

    def receive_frame(self, frame: str | bytes) -> None:
        """Take one Engine.IO frame."""
        if self._ended or self._application is None:
            return
        try:
            self.receive_packet(codec.decode(frame))
        except PeerError as error:
            self.fail(error)
        self.rearm()

    def receive_packet(self, packet: Packet) -> None:
        """Take one packet.

        Raises:
            PeerError: it may not come now: call `fail`.
        """
        if self._ended or self._application is None:
            return
        now, pinged_at = self._host.loop.time(), self._session.pinged_at
        received = self._session.receive_packet(packet, now)
        if isinstance(received, Message):
            self._application.receive(received.data, now)
        elif isinstance(received, Closed):
            self.end(close_reasons.CLIENT_LEFT)
        elif pinged_at != inf and isinstance(packet, Pong):
            self._host.on_pong(self.transport, max(0.0, now - pinged_at))  # a ping may go a moment before it is due
        self.rearm()

    def fail(self, error: PeerError) -> None:
        """The client broke a rule."""
        log.info("client_broke_protocol", rule=error.code.value, limit=error.limit, actual=error.actual)
        self.end(reason_of(error))

    def drained(self) -> None:
        """The carrier takes more again."""
        if self._application is not None:
            self._application.drained()

    def carrier_lost(self, reason: CloseReason) -> None:
        """The carrier is gone: the connection has ended, if it had not before."""
        self.end(reason)
        self._host.deadlines.forget(self)
        self._host.on_gone(self)

    # Called by a WebSocket that takes over from polling

    def open_probe(self, prober: Prober) -> None:
        """A WebSocket with our sid was accepted; only when `can_probe`."""
        self._session.open_probe(self._host.loop.time())
        self._prober = prober
        self.rearm()

    def receive_probe(self, packet: Packet) -> Send | Upgraded | ProbeRejected:
        """Take a packet of the probing WebSocket; what to do with that."""
        action = self._session.receive_probe(packet)
        if isinstance(action, ProbeRejected):
            self._prober = None
        elif self._session.ends_polls:
            self.carrier.release()
        return action

    def fail_probe(self) -> None:
        """The probing WebSocket dropped, or sent what cannot be read: polling goes on."""
        if self._prober is not None:
            self._session.fail_probe()
            self._drop_prober()

    def switch(self, carrier: Carrier) -> None:
        """The WebSocket is the carrier from now on; what waited for a poll goes out on it first."""
        self._prober = None
        waiting = self.carrier.take_waiting()
        self.carrier = carrier
        if waiting:
            carrier.write(waiting)
        self.drained()
        self.rearm()

    # Called by `Deadlines`

    def next_deadline(self) -> float:
        """The earliest of all layers."""
        application = inf if self._application is None else self._application.next_deadline()
        return min(self._session.next_deadline(), self.carrier.next_deadline(), application, self._retires_at)

    def handle_deadline(self, now: float) -> None:
        """Let time pass in all layers."""
        self.carrier.handle_deadline(now)
        if self._application is None:
            return
        if now >= self._retires_at:
            self.end(close_reasons.TOO_OLD)
            return
        for action in self._session.handle_deadline(now):
            match action:
                case Send(packet):
                    self.carrier.write(frame_packet(packet))
                case Closed():
                    self.end(close_reasons.PING_TIMEOUT)
                    return
                case ProbeRejected():
                    self._drop_prober()
                case Upgraded():
                    pass  # never by the passing of time
                case _:
                    assert_never(action)
        try:
            self._application.handle_deadline(now)
        except PeerError as error:
            self.fail(error)

    def _drop_prober(self) -> None:
        prober, self._prober = self._prober, None
        if prober is not None:
            prober.reject()
