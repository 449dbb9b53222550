"""One Socket.IO client: the protocol machine on one side, an application's namespaces on the other.

Knows nothing of markets: what a namespace does is a `Namespaces` object, so that another application (the conformance
app, say) can stand on the same stack.
"""

from collections.abc import Mapping
from math import inf
from typing import Final, Protocol, assert_never

from protocol.socketio.connection import Connection, ConnectionSettings
from protocol.socketio.happenings import AckReceived, AckUnknown, ConnectRequested, EventReceived, NamespaceLeft
from protocol.socketio.packets import Value
from protocol.socketio.parser import MessageData
from services.gateway.connection import EngineConnection
from services.gateway.encoding import Encoder
from services.gateway.frames import frame_messages
from services.gateway.limits import Flood, MessageLimits
from services.gateway.outbox import Flusher, Outbox
from services.gateway.payloads import error_payload
from shared.names import error_codes
from shared.names.close_reasons import KICKED, MESSAGE_FLOOD, CloseReason
from shared.names.events import ServerEvent

INVALID_NAMESPACE: Final = "Invalid namespace"
SHORTEST_WAIT_S: Final = 0.05
"""Clocks that disagree a little must not make anybody spin."""


class Intake:
    """What all clients of a gateway may send, and what came that nobody asked for.

    Attributes:
        limits: on messages of any kind; None: none.
        unknown_acks: answers to questions that were never asked, or not any more.
        warnings: clients that were told that they send too much.
    """

    __slots__ = ("limits", "unknown_acks", "warnings")

    def __init__(self, limits: MessageLimits | None = None) -> None:
        self.limits = limits
        self.unknown_acks = 0
        self.warnings = 0


_UNLIMITED: Final = Intake()


class Namespaces(Protocol):
    """What an application does with its clients. One object serves all of them."""

    def connect(self, client: "Client", namespace: str, auth: Mapping[str, Value]) -> None:
        """A client asks for a namespace: call `client.accept` or `client.refuse` before returning."""

    def event(self, client: "Client", received: EventReceived) -> None:
        """A client that is in the namespace sent an event."""

    def answered(self, client: "Client", received: AckReceived) -> None:
        """A client answered what `client.ask` sent."""

    def left(self, client: "Client", namespace: str, ended: CloseReason | None) -> None:
        """A client's connection has ended, and it may come back; or, with None, it left or was put out."""

    def drained(self, outbox: Outbox) -> None:
        """A client that was behind takes more."""

    def woken(self, client: "Client") -> None:
        """The time for which `client.wake_after` asked has passed."""


class Client:
    """One client, from the opening of its connection on.

    Attributes:
        connection: below.
        member: what the application keeps of it.
    """

    __slots__ = (
        "_encoder",
        "_flusher",
        "_intake",
        "_namespaces",
        "_outbox",
        "_paid_at",
        "_socket",
        "_wake_at",
        "_warned",
        "connection",
        "member",
    )

    def __init__(
        self,
        connection: EngineConnection,
        settings: ConnectionSettings,
        encoder: Encoder,
        flusher: Flusher,
        namespaces: Namespaces,
        intake: Intake = _UNLIMITED,
    ) -> None:
        self.connection = connection
        self._socket = Connection(settings, connection.now)
        self._encoder = encoder
        self._flusher = flusher
        self._namespaces = namespaces
        self._outbox: Outbox | None = None
        self._wake_at = inf
        self._intake = intake
        self._paid_at = 0.0
        self._warned = False
        self.member: object = None

    @property
    def outbox(self) -> Outbox:
        """What the client is sent through; only once its first message has told its parser."""
        if self._outbox is None:
            parser = self._socket.parser
            assert parser is not None, "nothing is sent before the client's CONNECT"
            self._outbox = Outbox(self.connection, self._flusher, self._encoder.index_of(parser))
        return self._outbox

    # What the application calls

    @property
    def is_open(self) -> bool:
        """Whether anything can still be sent."""
        return not self.connection.has_ended

    def accept(self, namespace: str, sid: str, pid: str | None = None) -> None:
        """Let the client into a namespace that it asked for; with a `pid` it can come back to where it was."""
        self._send(self._socket.accept(namespace, sid, pid))

    def refuse(self, namespace: str, message: str, data: Value = None) -> None:
        """Turn it down. Stock clients do not try again by themselves: for final verdicts only."""
        self._send(self._socket.refuse(namespace, message, data))

    def emit(self, namespace: str, event: str, *args: Value, cursor: str | None = None) -> None:
        """Send an event to this client alone, with where it is in the logs if it can recover."""
        self._send(self._socket.send_event(namespace, event, *args, offset=cursor))

    def ask(self, namespace: str, event: str, *args: Value, token: object) -> None:
        """Send an event that the client is to answer; `Namespaces.answered` gets `token` back."""
        self._send(self._socket.ask(namespace, event, *args, token=token, now=self.connection.now))

    def acknowledge(self, received: EventReceived, *args: Value) -> None:
        """Answer an event, if its sender asked for an answer."""
        if received.ack_id is not None:
            self._send(self._socket.send_ack(received.namespace, received.ack_id, *args))

    def acknowledge_spliced(self, received: EventReceived, fragment: bytes) -> None:
        """The same with one argument that the client's parser has already written as a fragment."""
        if received.ack_id is not None:
            self._send(self._socket.send_spliced_ack(received.namespace, received.ack_id, fragment))

    def disconnect(self, namespace: str) -> None:
        """Put the client out of a namespace; its connection stays."""
        self._send(self._socket.disconnect(namespace))
        self._namespaces.left(self, namespace, None)

    def kick(self, reason: CloseReason = KICKED) -> None:
        """Put the client out of every namespace, then end its connection; it does not come back by itself."""
        for namespace in self._socket.namespaces:
            self.disconnect(namespace)
        self.end(reason)

    def end(self, reason: CloseReason) -> None:
        """End the connection behind all that the client was told; it comes back if the reason says so."""
        self.outbox.release()
        self.outbox.flush()
        self.connection.end(reason)

    def wake_after(self, seconds: float) -> None:
        """Have `Namespaces.woken` called then; one time at most is remembered."""
        self._wake_at = self.connection.now + max(seconds, SHORTEST_WAIT_S)
        self.connection.rearm()

    # `Application`

    def receive(self, data: MessageData, now: float) -> None:
        """Take one message of the client.

        Raises:
            PeerError: it broke a rule.
        """
        if self._floods(now):
            return
        match happening := self._socket.receive_message(data, now):
            case EventReceived():
                self._namespaces.event(self, happening)
            case ConnectRequested(namespace, auth):
                self._namespaces.connect(self, namespace, auth)
            case NamespaceLeft(namespace):
                self._namespaces.left(self, namespace, None)
            case AckReceived():
                self._namespaces.answered(self, happening)
            case AckUnknown():
                self._intake.unknown_acks += 1
            case None:
                pass
            case _:
                assert_never(happening)

    def drained(self) -> None:
        """The carrier takes more again."""
        if self._outbox is not None:
            self._namespaces.drained(self._outbox)

    def closed(self, reason: CloseReason) -> None:
        """The connection has ended."""
        for left in self._socket.close():
            self._namespaces.left(self, left.namespace, reason)
        if self._outbox is not None:
            self._outbox.drop()

    def next_deadline(self) -> float:
        """The protocol's, or the application's."""
        return min(self._socket.next_deadline(), self._wake_at)

    def handle_deadline(self, now: float) -> None:
        """Let it pass.

        Raises:
            PeerError: the client was too slow.
        """
        self._socket.handle_deadline(now)
        if now >= self._wake_at:
            self._wake_at = inf
            self._namespaces.woken(self)

    def _floods(self, now: float) -> bool:
        """Count a message: one too many is warned of and served, a burst on it ends the connection.

        It is served because a packet that is passed over may be an ack, a DISCONNECT or half of what has attachments.
        """
        limits = self._intake.limits
        if limits is None:
            return False
        self._paid_at = limits.charge(self._paid_at, now)
        match limits.judge(self._paid_at, now):
            case Flood.NO:
                self._warned = self._warned and not limits.is_calm(self._paid_at, now)
            case Flood.WARN:
                if not self._warned:
                    self._warned = True
                    self._warn()
            case Flood.END:
                if self._outbox is not None:
                    self._outbox.flush()  # the warning may have come in this very turn
                self.connection.end(MESSAGE_FLOOD)
                return True
        return False

    def _warn(self) -> None:
        self._intake.warnings += 1
        for namespace in self._socket.namespaces:
            self.emit(namespace, ServerEvent.ERROR, error_payload(error_codes.RATE_LIMITED))

    def _send(self, messages: tuple[MessageData, ...]) -> None:
        self.outbox.send(frame_messages(messages))
