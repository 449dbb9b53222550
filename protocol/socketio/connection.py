"""One client's namespaces: connect, events, acks, disconnect (protocol reference 3.2-3.4, 5, 7).

The gateway feeds it the data of every Engine.IO message (`receive_message`) and gets what happened; what it wants to
say (`accept`, `send_event`, ...) comes back as message data to send, in order. It does no I/O: `now` is an argument,
in seconds of any clock that never goes back. Broadcasts do not pass through here: the gateway encodes those once with
the client's `parser` and writes the same bytes to everybody.

Each namespace is in one `State` of the table `TRANSITIONS`. A step that is not in the row raises and changes nothing:
`PeerError` for a step of the peer, `UsageError` for ours. After a `PeerError` call `close` and close the transport.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto, unique
from math import inf
from types import MappingProxyType
from typing import Final, assert_never

from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode
from protocol.socketio.packets import (
    ROOT,
    Ack,
    Connect,
    ConnectError,
    Disconnect,
    Event,
    EventName,
    Packet,
    Value,
)
from protocol.socketio.parser import MessageData, Parser, Parsers, Pending, detect_parser


@unique
class State(Enum):
    """Where one namespace of a client stands."""

    ABSENT = auto()
    CONNECTING = auto()
    """The peer sent CONNECT; `accept` or `refuse` is due."""
    CONNECTED = auto()


@unique
class Step(Enum):
    """What may happen to a namespace: five steps of the peer, then five of ours."""

    CONNECT = auto()
    EVENT = auto()
    ACK = auto()
    LEAVE = auto()
    CONNECT_ERROR = auto()

    ACCEPT = auto()
    REFUSE = auto()
    SEND = auto()
    ANSWER = auto()
    KICK = auto()


def _row(**steps: State) -> Mapping[Step, State]:
    return MappingProxyType({Step[name]: state for name, state in steps.items()})


TRANSITIONS: Final[Mapping[State, Mapping[Step, State]]] = MappingProxyType(
    {
        State.ABSENT: _row(CONNECT=State.CONNECTING),
        State.CONNECTING: _row(ACCEPT=State.CONNECTED, REFUSE=State.ABSENT),
        State.CONNECTED: _row(
            EVENT=State.CONNECTED,
            ACK=State.CONNECTED,
            LEAVE=State.ABSENT,
            SEND=State.CONNECTED,
            ANSWER=State.CONNECTED,
            KICK=State.ABSENT,
        ),
    },
)

_VIOLATIONS: Final[Mapping[Step, ViolationCode]] = MappingProxyType(
    {
        Step.CONNECT: ViolationCode.ALREADY_CONNECTED,
        Step.EVENT: ViolationCode.NOT_CONNECTED,
        Step.ACK: ViolationCode.NOT_CONNECTED,
        Step.LEAVE: ViolationCode.NOT_CONNECTED,
        Step.CONNECT_ERROR: ViolationCode.CONNECT_ERROR_FROM_CLIENT,
    },
)
"""What a step of the peer that its state does not allow is called. Steps of ours are `MisuseCode.WRONG_STATE`."""


@dataclass(frozen=True, slots=True)
class ConnectRequested:
    """The peer wants to join: call `accept` or `refuse`. `auth` is `{}` if it sent none.

    With recovery it may hold `pid` and `offset` (5), secrets like the token beside them: never log it.
    """

    namespace: str
    auth: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class EventReceived:
    """The peer sent an event; with an `ack_id` it waits for one `send_ack`."""

    namespace: str
    name: EventName
    args: tuple[Value, ...]
    ack_id: int | None


@dataclass(frozen=True, slots=True)
class AckReceived:
    """The peer answered the event that was sent with this `token`."""

    namespace: str
    token: object
    args: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class AckUnknown:
    """The peer answered something that was never asked, or too late: count it, else ignore it."""

    namespace: str
    ack_id: int


@dataclass(frozen=True, slots=True)
class AckTimedOut:
    """The peer did not answer the event that was sent with this `token` in time, or never will."""

    namespace: str
    token: object


@dataclass(frozen=True, slots=True)
class NamespaceLeft:
    """The peer left cleanly. No reply; the transport stays. `unanswered` are the tokens of acks that never come."""

    namespace: str
    unanswered: tuple[object, ...] = ()


Happening = ConnectRequested | EventReceived | AckReceived | AckUnknown | NamespaceLeft


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """One object shared by all connections. Counts are per connection or namespace, times in seconds.

    Attributes:
        parsers: the two parsers, with their own limits.
        max_namespaces: joined or being joined at once.
        max_refusals: refused CONNECTs after which another one ends the connection.
        max_pending_acks: events sent with an ack whose answer is outstanding, per namespace.
        max_unanswered: events received with an ack id that were not answered yet, per namespace.
        connect_timeout: until the first namespace is joined, from the start; refused ones do not count (3.2).
        ack_timeout: for an answer of the peer.
        attachment_timeout: for all attachments of one packet.
    """

    parsers: Parsers
    max_namespaces: int = 2
    max_refusals: int = 3
    max_pending_acks: int = 64
    max_unanswered: int = 256
    connect_timeout: float = 45.0
    ack_timeout: float = 10.0
    attachment_timeout: float = 5.0


class _Membership:
    """One namespace of one client. The two collections exist only while there is something in them."""

    __slots__ = ("namespace", "next_ack_id", "pending_acks", "recovers", "state", "unanswered")

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.state = State.CONNECTING
        self.recovers = False
        self.next_ack_id = 0
        self.pending_acks: dict[int, tuple[object, float]] | None = None
        self.unanswered: set[int] | None = None

    def tokens(self) -> tuple[object, ...]:
        """Return the tokens of the acks that are outstanding, oldest first."""
        return tuple(token for token, _ in self.pending_acks.values()) if self.pending_acks else ()


class Connection:
    """All namespaces of one client.

    Args:
        settings: shared by all connections.
        now: when the Engine.IO connection opened.
    """

    __slots__ = ("_memberships", "_parser", "_pending", "_refusals", "_settings", "_timeout_at")

    def __init__(self, settings: ConnectionSettings, now: float) -> None:
        self._settings = settings
        self._parser: Parser | None = None
        self._memberships: tuple[_Membership, ...] = ()
        self._pending: Pending | None = None
        self._refusals = 0
        self._timeout_at = now + settings.connect_timeout  # later: of the attachments being awaited

    @property
    def parser(self) -> Parser | None:
        """The client's parser, known from its first message on."""
        return self._parser

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces that are joined, oldest first."""
        return tuple(member.namespace for member in self._memberships if member.state is State.CONNECTED)

    def state(self, namespace: str = ROOT) -> State:
        """Tell where a namespace stands."""
        member = self._find(namespace)
        return State.ABSENT if member is None else member.state

    def receive_message(self, data: MessageData, now: float) -> Happening | None:
        """Take the data of one Engine.IO message.

        Returns:
            What happened, or None while attachments of a packet are still to come.

        Raises:
            PeerError: the message breaks a rule, a limit or the state of its namespace.
        """

    def accept(self, namespace: str, sid: str, pid: str | None = None) -> tuple[MessageData, ...]:
        """Let the peer into a namespace it asked for. Only after this reply may events be sent to it.

        Args:
            namespace: of a `ConnectRequested`.
            sid: the Socket.IO id to tell the client; not the Engine.IO sid, which is secret.
            pid: a private id turns recovery on: from now on `offset` is appended to events (5).

        Raises:
            UsageError: nobody is waiting there.
        """

    def refuse(self, namespace: str, message: str, data: Value = None) -> tuple[MessageData, ...]:
        """Turn the peer down. Stock clients do not try again by themselves, so only for final verdicts (3.2).

        Args:
            namespace: of a `ConnectRequested`.
            message: what the client's `connect_error` handler gets as the error's message.
            data: and as its data; left out if None.

        Raises:
            UsageError: nobody is waiting there, or the data cannot be written.
        """

    def send_event(
        self,
        namespace: str,
        name: EventName,
        *args: Value,
        offset: str | None = None,
    ) -> tuple[MessageData, ...]:
        """Send an event to this client alone.

        Args:
            namespace: joined.
            name: not reserved.
            args: its arguments.
            offset: where the client is in the log after this event; left out for clients without recovery (5).

        Raises:
            UsageError: the namespace is not joined, the arguments cannot be written, or the client recovers, there is
                no offset and the last element of the event is a string, which it would take for one.
        """

    def ask(self, namespace: str, name: EventName, *args: Value, token: object, now: float) -> tuple[MessageData, ...]:
        """Send an event that the client is to answer: `AckReceived` or `AckTimedOut` will bring `token` back.

        Raises:
            UsageError: as `send_event`; or too many answers are outstanding already.
        """

    def send_ack(self, namespace: str, ack_id: int, *args: Value) -> tuple[MessageData, ...]:
        """Answer an `EventReceived` that had an ack id, once.

        Raises:
            UsageError: that id is not waiting, or was answered before; or the arguments cannot be written.
        """

    def disconnect(self, namespace: str) -> tuple[MessageData, ...]:
        """Put the client out of a namespace; stock clients do not come back by themselves (3.4).

        Acks outstanding there are dropped without an `AckTimedOut`.

        Raises:
            UsageError: it is not joined.
        """

    def next_deadline(self) -> float:
        """Return when to call `handle_deadline`; `inf` when nothing is waited for."""
        return inf

    def handle_deadline(self, now: float) -> tuple[AckTimedOut, ...]:
        """Let time pass.

        Returns:
            The acks that did not come in time.

        Raises:
            PeerError: no namespace was joined in time, or the attachments of a packet did not come.
        """

    def close(self) -> tuple[NamespaceLeft, ...]:
        """Free everything: the transport is gone or about to be. Nothing can be sent or received afterwards.

        Returns:
            The namespaces that were joined, with the tokens of the acks that never come.
        """
