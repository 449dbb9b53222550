"""One client's namespaces: connect, events, acks, disconnect (protocol reference 3.2-3.4, 5, 7).

The gateway feeds it the data of every Engine.IO message (`receive_message`) and gets what happened; what it wants to
say (`accept`, `send_event`, ...) comes back as message data to send, in order. It does no I/O: `now` is an argument,
in seconds of any clock that never goes back. Broadcasts do not pass through here: the gateway encodes those once with
the client's `parser` and writes the same bytes to everybody.

Each namespace is in one `State` of the table `TRANSITIONS` (`membership.py`). A step that is not in the row raises and
changes nothing: `PeerError` for a step of the peer, `UsageError` for ours. After a `PeerError` call `close` and close
the transport.
"""

from dataclasses import dataclass
from math import inf
from typing import assert_never

from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode
from protocol.socketio.happenings import (
    AckReceived,
    AckTimedOut,
    AckUnknown,
    ConnectRequested,
    EventReceived,
    Happening,
    NamespaceLeft,
)
from protocol.socketio.membership import TRANSITIONS, Membership, State, Step, next_state
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
from protocol.socketio.parser import MessageData, PacketType, Parser, Parsers, Pending, detect_parser

__all__ = [
    "TRANSITIONS",
    "AckReceived",
    "AckTimedOut",
    "AckUnknown",
    "ConnectRequested",
    "Connection",
    "ConnectionSettings",
    "EventReceived",
    "Happening",
    "NamespaceLeft",
    "State",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """One object shared by all connections. Counts are per connection or namespace, times in seconds.

    Attributes:
        parsers: the two parsers, with their own limits.
        max_namespaces: joined or being joined at once.
        max_refusals: refused CONNECTs after which another one ends the connection.
        max_pending_acks: events sent with an ack whose answer is outstanding, per namespace.
        max_unanswered: events received with an ack id that were not answered yet, per namespace.
        max_before_join: characters or bytes of all messages until the first namespace is joined.
        connect_timeout: until the first namespace is joined, from the start; refused ones do not count (3.2).
        ack_timeout: for an answer of the peer.
        attachment_timeout: for all attachments of one packet.
    """

    parsers: Parsers
    max_namespaces: int = 2
    max_refusals: int = 3
    max_pending_acks: int = 64
    max_unanswered: int = 256
    max_before_join: int = 8_192
    connect_timeout: float = 45.0
    ack_timeout: float = 10.0
    attachment_timeout: float = 5.0


class Connection:
    """All namespaces of one client.

    Args:
        settings: shared by all connections.
        now: when the Engine.IO connection opened.
    """

    __slots__ = ("_early_left", "_memberships", "_parser", "_pending", "_refusals", "_settings", "_timeout_at")

    def __init__(self, settings: ConnectionSettings, now: float) -> None:
        self._settings = settings
        self._parser: Parser | None = None
        self._memberships: tuple[Membership, ...] = ()
        self._pending: Pending | None = None
        self._refusals = 0
        self._early_left: int | None = settings.max_before_join
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

    def pending_tokens(self, namespace: str = ROOT) -> tuple[object, ...]:
        """Return the tokens of the answers that are outstanding in a namespace, oldest first."""
        member = self._find(namespace)
        return () if member is None else member.tokens()

    def receive_message(self, data: MessageData, now: float) -> Happening | None:
        """Take the data of one Engine.IO message.

        Returns:
            What happened, or None while attachments of a packet are still to come.

        Raises:
            PeerError: the message breaks a rule, a limit or the state of its namespace.
        """
        if self._early_left is not None:
            self._count_early(len(data), self._early_left)
        parser = self._parser or detect_parser(data, self._settings.parsers)
        decoded = parser.decode(data, self._pending)
        if isinstance(decoded, Pending):
            if self._pending is None:
                self._await_attachments(decoded, now)
            return None
        if self._pending is not None:
            self._pending = None
            self._timeout_at = inf
        happening = self._receive_packet(decoded)
        self._parser = parser
        return happening

    def accept(self, namespace: str, sid: str, pid: str | None = None) -> tuple[MessageData, ...]:
        """Let the peer into a namespace it asked for. Only after this reply may events be sent to it.

        Args:
            namespace: of a `ConnectRequested`.
            sid: the Socket.IO id to tell the client; not the Engine.IO sid, which is secret.
            pid: a private id turns recovery on: from now on `offset` is appended to events (5).

        Raises:
            UsageError: nobody is waiting there.
        """
        member = self._check(namespace, Step.ACCEPT)
        reply = {"sid": sid} if pid is None else {"sid": sid, "pid": pid}
        messages = self._encode(Connect(namespace, reply))
        self._move(member, Step.ACCEPT)
        member.recovers = pid is not None
        self._timeout_at = inf if self._pending is None else self._timeout_at
        self._early_left = None
        return messages

    def refuse(self, namespace: str, message: str, data: Value = None) -> tuple[MessageData, ...]:
        """Turn the peer down. Stock clients do not try again by themselves, so only for final verdicts (3.2).

        Args:
            namespace: of a `ConnectRequested`.
            message: what the client's `connect_error` handler gets as the error's message.
            data: and as its data; left out if None.

        Raises:
            UsageError: nobody is waiting there, or the data cannot be written.
        """
        member = self._check(namespace, Step.REFUSE)
        error: dict[str, Value] = {"message": message}
        if data is not None:
            error["data"] = data
        messages = self._encode(ConnectError(error, namespace))
        self._refusals += 1
        self._move(member, Step.REFUSE)
        return messages

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
        member = self._check(namespace, Step.SEND)
        if member.recovers:
            if offset is not None:
                args = (*args, offset)
            elif isinstance(args[-1] if args else name, str):  # a client looks at the name, too, if nothing follows
                raise UsageError(MisuseCode.STRING_LAST_WITHOUT_OFFSET)
        return self._encode(Event(name, args, namespace))

    def ask(self, namespace: str, name: EventName, *args: Value, token: object, now: float) -> tuple[MessageData, ...]:
        """Send an event that the client is to answer: `AckReceived` or `AckTimedOut` will bring `token` back.

        Such an event never carries an offset, and cannot be mistaken for carrying one (5).

        Raises:
            UsageError: as `send_event`; or too many answers are outstanding already.
        """
        member = self._check(namespace, Step.SEND)
        member.check_room_to_ask(self._settings.max_pending_acks)
        messages = self._encode(Event(name, args, namespace, member.next_ack_id))
        member.note_asked(token, now + self._settings.ack_timeout)
        return messages

    def send_ack(self, namespace: str, ack_id: int, *args: Value) -> tuple[MessageData, ...]:
        """Answer an `EventReceived` that had an ack id, once.

        Raises:
            UsageError: that id is not waiting, or was answered before; or the arguments cannot be written.
        """
        member = self._check(namespace, Step.ANSWER)
        if not member.waits_for(ack_id):
            raise UsageError(MisuseCode.UNKNOWN_ACK_ID)
        messages = self._encode(Ack(ack_id, args, namespace))
        member.note_answered(ack_id)
        return messages

    def send_spliced_ack(self, namespace: str, ack_id: int, *args: bytes) -> tuple[MessageData, ...]:
        """The same with arguments that the client's parser has already written as fragments.

        Raises:
            UsageError: as `send_ack`.
        """
        member = self._check(namespace, Step.ANSWER)
        if not member.waits_for(ack_id):
            raise UsageError(MisuseCode.UNKNOWN_ACK_ID)
        assert self._parser is not None, "a namespace is joined"
        message = self._parser.encode_spliced_ack(ack_id, args, namespace)
        member.note_answered(ack_id)
        return (message,)

    def disconnect(self, namespace: str) -> tuple[MessageData, ...]:
        """Put the client out of a namespace; stock clients do not come back by themselves (3.4).

        Acks outstanding there are dropped without an `AckTimedOut`: ask for `pending_tokens` before.

        Raises:
            UsageError: it is not joined.
        """
        member = self._check(namespace, Step.KICK)
        messages = self._encode(Disconnect(namespace))
        self._move(member, Step.KICK)
        return messages

    def next_deadline(self) -> float:
        """Return when to call `handle_deadline`; `inf` when nothing is waited for. Ask again after every other call."""
        return min((self._timeout_at, *(member.next_due() for member in self._memberships)))

    def handle_deadline(self, now: float) -> tuple[AckTimedOut, ...]:
        """Let time pass.

        Returns:
            The acks that did not come in time; often none.

        Raises:
            PeerError: no namespace was joined in time, or the attachments of a packet did not come.
        """
        if now >= self._timeout_at:
            awaiting = self._pending is not None
            raise PeerError(ViolationCode.ATTACHMENT_TIMEOUT if awaiting else ViolationCode.CONNECT_TIMEOUT)
        return tuple(
            AckTimedOut(member.namespace, token) for member in self._memberships for token in member.expire(now)
        )

    def close(self) -> tuple[NamespaceLeft, ...]:
        """Free everything: the transport is gone or about to be. Nothing is waited for afterwards.

        Returns:
            The namespaces that were joined, with the tokens of the acks that never come.
        """
        joined = (member for member in self._memberships if member.state is State.CONNECTED)
        left = tuple(NamespaceLeft(member.namespace, member.tokens()) for member in joined)
        self._memberships = ()
        self._pending = None
        self._timeout_at = inf
        return left

    def _count_early(self, size: int, left: int) -> None:
        """Count a message of a peer that has joined nothing: it may cost little more than a token is long (T8)."""
        if size > left:
            limit = self._settings.max_before_join
            raise PeerError(ViolationCode.TOO_MUCH_BEFORE_JOIN, limit=limit, actual=limit - left + size)
        self._early_left = left - size

    def _receive_packet(self, packet: Packet) -> Happening:
        namespace = packet.namespace
        match packet:
            case Event(name, args, _, ack_id):
                member = self._check(namespace, Step.EVENT)
                if ack_id is not None:
                    member.note_unanswered(ack_id, self._settings.max_unanswered)
                return EventReceived(namespace, name, args, ack_id)
            case Ack(ack_id, args):
                answered = self._check(namespace, Step.ACK).take_ack(ack_id)
                return AckUnknown(namespace, ack_id) if answered is None else AckReceived(namespace, answered[0], args)
            case Connect():
                self._admit(namespace)
                return ConnectRequested(namespace, packet.data or {})
            case Disconnect():
                member = self._check(namespace, Step.LEAVE)
                self._move(member, Step.LEAVE)
                return NamespaceLeft(namespace, member.tokens())
            case ConnectError():
                self._check(namespace, Step.CONNECT_ERROR)
                raise AssertionError  # no row of the table has it
            case _:
                assert_never(packet)

    def _admit(self, namespace: str) -> None:
        """Note that the peer wants to join."""
        settings = self._settings
        state = next_state(self.state(namespace), Step.CONNECT)
        if len(self._memberships) >= settings.max_namespaces:
            raise PeerError(ViolationCode.TOO_MANY_NAMESPACES, limit=settings.max_namespaces)
        if self._refusals >= settings.max_refusals:
            raise PeerError(ViolationCode.TOO_MANY_REFUSALS, limit=settings.max_refusals)
        self._memberships += (Membership(namespace, state),)

    def _await_attachments(self, pending: Pending, now: float) -> None:
        """Keep a packet whose attachments are to come; only for who has joined its namespace (T2)."""
        self._check(pending.namespace, Step.EVENT if pending.kind is PacketType.EVENT else Step.ACK)
        self._pending = pending
        self._timeout_at = now + self._settings.attachment_timeout

    def _check(self, namespace: str, step: Step) -> Membership:
        """Return the membership that a step concerns, or raise because its state does not allow the step."""
        member = self._find(namespace)
        next_state(State.ABSENT if member is None else member.state, step)
        assert member is not None, "an absent namespace allows nothing but CONNECT"
        return member

    def _move(self, member: Membership, step: Step) -> None:
        member.state = next_state(member.state, step)
        if member.state is State.ABSENT:
            self._memberships = tuple(other for other in self._memberships if other is not member)

    def _encode(self, packet: Packet) -> tuple[MessageData, ...]:
        assert self._parser is not None, "whoever has a membership has sent a CONNECT"
        return self._parser.encode(packet)

    def _find(self, namespace: str) -> Membership | None:
        for member in self._memberships:
            if member.namespace == namespace:
                return member
        return None
