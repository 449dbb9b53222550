"""One Engine.IO life on the server's side, from handshake to close: heartbeat and upgrade (protocol reference 2.5-2.7).

The gateway feeds it the packets of a client (`receive_packet`), those of a WebSocket that wants to take over from
polling (`receive_probe`) and the passing of time (`next_deadline`, `handle_deadline`); it says what to send and when
the life is over. It does no I/O: `now` is an argument everywhere, in seconds of any clock that never goes back.

The life is the table `TRANSITIONS`; a step that is not in the row of the current state raises and changes nothing.
The heartbeat (`heartbeat.py`) runs beside it in every open state.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto, unique
from math import inf
from types import MappingProxyType
from typing import Final, assert_never

from protocol.engineio.heartbeat import MS, Beat, Heartbeat, SessionSettings
from protocol.engineio.packets import Close, Message, Noop, Open, Packet, Ping, Pong, Upgrade
from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode

__all__ = [
    "TRANSITIONS",
    "Action",
    "CloseCause",
    "Closed",
    "ProbeRejected",
    "Send",
    "Session",
    "SessionSettings",
    "State",
    "Step",
    "Transport",
    "Upgraded",
]


@unique
class Transport(StrEnum):
    """How the packets of a connection travel; the values are those of the `transport` query parameter."""

    POLLING = "polling"
    WEBSOCKET = "websocket"


@unique
class State(Enum):
    """Where a life stands."""

    POLLING = auto()
    PROBE_OPEN = auto()
    """Polling; a WebSocket of the same sid has been opened and has said nothing yet."""
    PROBED = auto()
    """Polling; that WebSocket was answered `3probe`: end every parked GET with a noop, send nothing else by polling."""
    WEBSOCKET = auto()
    CLOSING = auto()
    """Closed by us while polling: the close packet waits for a GET to travel in."""
    CLOSED = auto()


@unique
class Step(Enum):
    """What may happen in a life."""

    PROBE_OPENED = auto()
    """A WebSocket of this sid was accepted beside polling."""
    PROBE = auto()
    """`2probe` on it."""
    UPGRADE = auto()
    """`5` on it."""
    PROBE_FAILED = auto()
    """It dropped, said something else, or took too long."""
    PACKET = auto()
    """Any packet on the transport in use."""
    CLOSE_REQUESTED = auto()
    """We want to end it."""
    ENDED = auto()
    """It is over: the peer left, the transport dropped, a ping timed out, the close packet was delivered."""


def _row(**steps: State) -> Mapping[Step, State]:
    return MappingProxyType({Step[name]: state for name, state in steps.items()})


TRANSITIONS: Final[Mapping[State, Mapping[Step, State]]] = MappingProxyType(
    {
        State.POLLING: _row(
            PROBE_OPENED=State.PROBE_OPEN,
            PACKET=State.POLLING,
            CLOSE_REQUESTED=State.CLOSING,
            ENDED=State.CLOSED,
        ),
        State.PROBE_OPEN: _row(
            PROBE=State.PROBED,
            UPGRADE=State.WEBSOCKET,
            PROBE_FAILED=State.POLLING,
            PACKET=State.PROBE_OPEN,
            CLOSE_REQUESTED=State.CLOSING,
            ENDED=State.CLOSED,
        ),
        State.PROBED: _row(
            PROBE=State.PROBED,
            UPGRADE=State.WEBSOCKET,
            PROBE_FAILED=State.POLLING,
            PACKET=State.PROBED,
            CLOSE_REQUESTED=State.CLOSING,
            ENDED=State.CLOSED,
        ),
        State.WEBSOCKET: _row(PACKET=State.WEBSOCKET, CLOSE_REQUESTED=State.CLOSED, ENDED=State.CLOSED),
        State.CLOSING: _row(ENDED=State.CLOSED),
        State.CLOSED: _row(),
    },
)

_OVER: Final = frozenset({State.CLOSING, State.CLOSED})


@unique
class CloseCause(StrEnum):
    """Why a life ended; the values are the reasons that Socket.IO servers give their applications (3.4)."""

    PING_TIMEOUT = "ping timeout"
    PEER_CLOSED = "transport close"
    TRANSPORT_ERROR = "transport error"
    PARSE_ERROR = "parse error"
    FORCED = "forced close"
    FORCED_BY_SERVER = "forced server close"
    SHUTDOWN = "server shutting down"


@dataclass(frozen=True, slots=True)
class Send:
    """Send this packet: on the transport in use, or on the probing WebSocket if `receive_probe` returned it."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class Closed:
    """The life is over: free everything, close the transport (polling: answer a parked GET with a close packet)."""

    cause: CloseCause


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The WebSocket is the transport now: flush to it what is buffered; polling requests get error 3."""


@dataclass(frozen=True, slots=True)
class ProbeRejected:
    """Close the probing WebSocket and only that: the connection lives on by polling."""


Action = Send | Closed | Upgraded | ProbeRejected


_PROBE_PONG: Final = Send(Pong(probe=True))
_PING: Final = Send(Ping())
_PROBE_REJECTED: Final = ProbeRejected()
_UPGRADED: Final = Upgraded()


class Session:
    """One life.

    Args:
        settings: shared by all sessions.
        sid: the connection's secret id, unguessable, chosen by the caller.
        transport: what the handshake came by.
        now: the time of the handshake; the first ping is due one interval later.
    """

    __slots__ = ("_cause", "_heartbeat", "_settings", "_state", "_timeout_at", "sid")

    def __init__(self, settings: SessionSettings, sid: str, transport: Transport, now: float) -> None:
        self.sid = sid
        self._settings = settings
        self._state = State.WEBSOCKET if transport is Transport.WEBSOCKET else State.POLLING
        self._cause: CloseCause | None = None
        self._heartbeat = Heartbeat(settings, now)
        self._timeout_at = inf  # of the upgrade while probing, of the close packet while closing

    @property
    def state(self) -> State:
        """Where the life stands."""
        return self._state

    @property
    def transport(self) -> Transport:
        """What carries packets now (after the end: what carried them last is not kept, and this says polling)."""
        return Transport.WEBSOCKET if self._state is State.WEBSOCKET else Transport.POLLING

    @property
    def is_open(self) -> bool:
        """Whether packets may be sent and received."""
        return self._state not in _OVER

    @property
    def pinged_at(self) -> float:
        """When the ping was sent whose pong is awaited; `inf` while none is."""
        return self._heartbeat.pinged_at

    @property
    def cause(self) -> CloseCause | None:
        """Why it ended; None while open."""
        return self._cause

    @property
    def can_probe(self) -> bool:
        """Whether a WebSocket of this sid may start an upgrade. If not, accept it and close it at once (2.7)."""
        return self._state is State.POLLING and self._settings.upgrades

    @property
    def ends_polls(self) -> bool:
        """Whether every GET, parked or new, is to be ended with a noop because an upgrade is under way (2.7)."""
        return self._state is State.PROBED

    def open_packet(self) -> Open:
        """Return the first packet to send, alone in its response on polling (2.2)."""
        settings = self._settings
        offers = settings.upgrades and self._state is State.POLLING
        return Open(
            sid=self.sid,
            upgrades=(Transport.WEBSOCKET.value,) if offers else (),
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            max_payload=settings.max_payload,
        )

    def receive_packet(self, packet: Packet, now: float) -> Message | Closed | None:
        """Take a packet from the transport in use (a packet on a probing WebSocket: `receive_probe`).

        Returns:
            The message for the layer above; or that the peer closed; or None when there is nothing to do.

        Raises:
            PeerError: a client may not send that packet. Call `close` and close the transport.
            UsageError: the life is over.
        """
        self._step(Step.PACKET)
        match packet:
            case Message():
                self._heartbeat.receive_message()
                return packet
            case Pong():
                self._heartbeat.receive_pong(now)
            case Ping():
                raise PeerError(ViolationCode.PING_FROM_CLIENT)
            case Close():
                return self.finish(CloseCause.PEER_CLOSED)
            case Open() | Upgrade() | Noop():
                pass  # without meaning from a client; the reference server ignores them (2.5)
            case _:
                assert_never(packet)
        return None

    def open_probe(self, now: float) -> None:
        """Note that a WebSocket of this sid was accepted beside polling; feed its packets to `receive_probe`.

        Raises:
            UsageError: not now, see `can_probe`.
        """
        if not self._settings.upgrades:
            raise UsageError(MisuseCode.WRONG_STATE)
        self._step(Step.PROBE_OPENED)
        self._timeout_at = now + self._settings.upgrade_timeout / MS

    def receive_probe(self, packet: Packet) -> Send | Upgraded | ProbeRejected:
        """Take a packet from the probing WebSocket (2.7).

        Returns:
            The answer for that socket, or that it is the transport from now on, or that it is to be closed.

        Raises:
            UsageError: there is no probing WebSocket.
        """
        match packet:
            case Ping(probe=True):
                self._step(Step.PROBE)
                return _PROBE_PONG
            case Upgrade():
                self._step(Step.UPGRADE)
                self._timeout_at = inf
                self._heartbeat.forgive_pong()
                return _UPGRADED
            case _:
                return self.fail_probe()

    def fail_probe(self) -> ProbeRejected:
        """Note that the probing WebSocket dropped or sent what cannot be read; polling goes on.

        Raises:
            UsageError: there is no probing WebSocket.
        """
        self._step(Step.PROBE_FAILED)
        self._timeout_at = inf
        return _PROBE_REJECTED

    @property
    def last_pong(self) -> float:
        """When the client last answered a ping, or its life began."""
        return self._heartbeat.last_pong

    def next_deadline(self) -> float:
        """Return when to call `handle_deadline`; `inf` once closed. Ask again after every other call."""
        return min(self._heartbeat.due, self._timeout_at)

    def is_expired(self, now: float) -> bool:
        """Whether a request that arrives now finds no connection any more, even if no timer has run yet (2.6)."""
        return not self.is_open or self._heartbeat.is_overdue(now)

    def handle_deadline(self, now: float) -> tuple[Action, ...]:
        """Let time pass: ping, time out, give up an upgrade. Harmless when called too early or too late.

        Returns:
            What to do, in order; often nothing.
        """
        actions: list[Action] = []
        if now >= self._timeout_at:
            actions.append(self._give_up())
        match self._heartbeat.handle_deadline(now):
            case Beat.PING:
                actions.append(_PING)
            case Beat.TIMEOUT:
                actions.append(self.finish(CloseCause.PING_TIMEOUT))
            case None:
                pass
        return tuple(actions)

    def close(self, cause: CloseCause, now: float) -> State:
        """End the life for a reason of our own.

        Returns:
            `CLOSED`: close the transport now. `CLOSING` (polling): answer the parked or the next GET with a close
            packet and call `finish`; `handle_deadline` gives up waiting for one. Closing again changes nothing.
        """
        if self._state in _OVER:
            return self._state
        self._step(Step.CLOSE_REQUESTED)
        self._cause = cause
        self._heartbeat.stop()
        self._timeout_at = now + self._settings.close_timeout / MS if self._state is State.CLOSING else inf
        return self._state

    def finish(self, cause: CloseCause) -> Closed:
        """End the life at once: the transport dropped, or the close packet of a closing one was delivered.

        Returns:
            The end, with the first cause that was given. Finishing again changes nothing.
        """
        if self._state is not State.CLOSED:
            self._step(Step.ENDED)
            self._heartbeat.stop()
            self._timeout_at = inf
        if self._cause is None:
            self._cause = cause
        return Closed(self._cause)

    def _step(self, event: Step) -> None:
        state = TRANSITIONS[self._state].get(event)
        if state is None:
            raise UsageError(MisuseCode.WRONG_STATE)
        self._state = state

    def _give_up(self) -> Action:
        if self._state is State.CLOSING:
            return self.finish(CloseCause.FORCED)
        return self.fail_probe()
