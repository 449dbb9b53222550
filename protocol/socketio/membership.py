"""One namespace of one client: where it stands, and the acks outstanding both ways (protocol reference 3.2-3.4).

`Connection` keeps one `Membership` for each namespace that its client has asked for. A `Step` of the peer or of ours
moves it along the table `TRANSITIONS`; one that is not in the row of the current state raises and changes nothing.
"""

from collections.abc import Mapping
from enum import Enum, auto, unique
from math import inf
from types import MappingProxyType
from typing import Final

from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode


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


def next_state(state: State, step: Step) -> State:
    """Look a step up in the table.

    Raises:
        PeerError: the peer may not do that now.
        UsageError: we may not.
    """
    target = TRANSITIONS[state].get(step)
    if target is None:
        violation = _VIOLATIONS.get(step)
        raise UsageError(MisuseCode.WRONG_STATE) if violation is None else PeerError(violation)
    return target


class Membership:
    """One namespace of one client. The two collections exist only while there is something in them."""

    __slots__ = ("namespace", "next_ack_id", "pending_acks", "recovers", "state", "unanswered")

    def __init__(self, namespace: str, state: State) -> None:
        self.namespace = namespace
        self.state = state
        self.recovers = False
        self.next_ack_id = 0
        self.pending_acks: dict[int, tuple[object, float]] | None = None
        self.unanswered: set[int] | None = None

    def note_unanswered(self, ack_id: int, limit: int) -> None:
        """Remember that the peer waits for an answer of ours.

        Raises:
            PeerError: it waits for that one already, or for too many.
        """
        waiting = self.unanswered or set()
        if ack_id in waiting:
            raise PeerError(ViolationCode.DUPLICATE_ACK_ID)
        if len(waiting) >= limit:
            raise PeerError(ViolationCode.TOO_MANY_UNANSWERED, limit=limit)
        waiting.add(ack_id)
        self.unanswered = waiting

    def waits_for(self, ack_id: int) -> bool:
        """Whether the peer waits for this answer of ours."""
        return self.unanswered is not None and ack_id in self.unanswered

    def note_answered(self, ack_id: int) -> None:
        """Remember that the peer got the answer it waited for."""
        if self.unanswered is not None:
            self.unanswered.discard(ack_id)
            self.unanswered = self.unanswered or None

    def check_room_to_ask(self, limit: int) -> None:
        """Check that one more answer of the peer may be outstanding.

        Raises:
            UsageError: there are too many.
        """
        if self.pending_acks is not None and len(self.pending_acks) >= limit:
            raise UsageError(MisuseCode.TOO_MANY_PENDING_ACKS, limit=limit)

    def note_asked(self, token: object, due: float) -> None:
        """Remember that an event was sent with `next_ack_id`. Call it with times that do not go back."""
        if self.pending_acks is None:
            self.pending_acks = {}
        self.pending_acks[self.next_ack_id] = (token, due)
        self.next_ack_id += 1

    def take_ack(self, ack_id: int) -> tuple[object] | None:
        """Forget an outstanding ack and return its token alone in a tuple; None if it is not outstanding."""
        pending = self.pending_acks or {}
        found = pending.pop(ack_id, None)
        if found is None:
            return None
        self.pending_acks = pending or None
        return found[:1]

    def next_due(self) -> float:
        """Return when the oldest outstanding ack times out; `inf` if there is none."""
        if not self.pending_acks:
            return inf
        _, due = next(iter(self.pending_acks.values()))
        return due

    def expire(self, now: float) -> tuple[object, ...]:
        """Forget the acks that did not come in time and return their tokens, oldest first."""
        if self.pending_acks is None:
            return ()
        late = {ack_id: token for ack_id, (token, due) in self.pending_acks.items() if now >= due}
        for ack_id in late:
            del self.pending_acks[ack_id]
        self.pending_acks = self.pending_acks or None
        return tuple(late.values())

    def tokens(self) -> tuple[object, ...]:
        """Return the tokens of the acks that are outstanding, oldest first."""
        return tuple(token for token, _ in self.pending_acks.values()) if self.pending_acks else ()
