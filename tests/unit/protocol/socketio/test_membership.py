"""One namespace of one client: the table, and the acks both ways."""

from math import inf

import pytest

from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode
from protocol.socketio.membership import TRANSITIONS, Membership, State, Step, next_state

PEER_STEPS = {
    Step.CONNECT: ViolationCode.ALREADY_CONNECTED,
    Step.EVENT: ViolationCode.NOT_CONNECTED,
    Step.ACK: ViolationCode.NOT_CONNECTED,
    Step.LEAVE: ViolationCode.NOT_CONNECTED,
    Step.CONNECT_ERROR: ViolationCode.CONNECT_ERROR_FROM_CLIENT,
}
ALLOWED = {
    (State.ABSENT, Step.CONNECT): State.CONNECTING,
    (State.CONNECTING, Step.ACCEPT): State.CONNECTED,
    (State.CONNECTING, Step.REFUSE): State.ABSENT,
    (State.CONNECTED, Step.EVENT): State.CONNECTED,
    (State.CONNECTED, Step.ACK): State.CONNECTED,
    (State.CONNECTED, Step.LEAVE): State.ABSENT,
    (State.CONNECTED, Step.SEND): State.CONNECTED,
    (State.CONNECTED, Step.ANSWER): State.CONNECTED,
    (State.CONNECTED, Step.KICK): State.ABSENT,
}


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("state", State)
def test_every_step_in_every_state_moves_or_is_somebodys_fault(state: State, step: Step) -> None:
    target = ALLOWED.get((state, step))
    if target is not None:
        assert next_state(state, step) is target
    elif step in PEER_STEPS:
        with pytest.raises(PeerError) as peer:
            next_state(state, step)
        assert peer.value.code is PEER_STEPS[step]
    else:
        with pytest.raises(UsageError) as ours:
            next_state(state, step)
        assert ours.value.code is MisuseCode.WRONG_STATE


def test_the_table_holds_nothing_else() -> None:
    assert set(TRANSITIONS) == set(State)
    assert sum(map(len, TRANSITIONS.values())) == len(ALLOWED)


@pytest.fixture(name="member")
def _member() -> Membership:
    return Membership("/", State.CONNECTED)


def test_an_answer_is_waited_for_once(member: Membership) -> None:
    member.note_unanswered(0, limit=2)
    assert member.waits_for(0)
    assert not member.waits_for(1)
    member.note_answered(0)
    assert not member.waits_for(0)
    member.note_answered(0)


def test_the_same_id_twice_is_refused_until_it_is_answered(member: Membership) -> None:
    member.note_unanswered(0, limit=2)
    with pytest.raises(PeerError) as caught:
        member.note_unanswered(0, limit=2)
    assert caught.value.code is ViolationCode.DUPLICATE_ACK_ID
    member.note_answered(0)
    member.note_unanswered(0, limit=2)


def test_unanswered_events_are_bounded(member: Membership) -> None:
    member.note_unanswered(0, limit=2)
    member.note_unanswered(1, limit=2)
    with pytest.raises(PeerError) as caught:
        member.note_unanswered(2, limit=2)
    assert (caught.value.code, caught.value.limit) == (ViolationCode.TOO_MANY_UNANSWERED, 2)


def test_tokens_come_back_in_the_order_they_were_asked_for(member: Membership) -> None:
    for token in ("a", "b", None):
        member.note_asked(token, due=10)
    assert member.tokens() == ("a", "b", None)
    assert member.take_ack(1) == ("b",)
    assert member.take_ack(1) is None
    assert member.take_ack(2) == (None,)
    assert member.take_ack(9) is None
    assert member.tokens() == ("a",)


def test_asking_is_bounded(member: Membership) -> None:
    member.check_room_to_ask(limit=1)
    member.note_asked("a", due=10)
    with pytest.raises(UsageError) as caught:
        member.check_room_to_ask(limit=1)
    assert (caught.value.code, caught.value.limit) == (MisuseCode.TOO_MANY_PENDING_ACKS, 1)


def test_acks_expire_when_due_and_the_oldest_first(member: Membership) -> None:
    assert (member.next_due(), member.expire(100)) == (inf, ())
    member.note_asked("a", due=10)
    member.note_asked("b", due=11)
    member.note_asked("c", due=12)
    assert member.next_due() == 10
    assert member.expire(9) == ()
    assert member.expire(11) == ("a", "b")
    assert member.next_due() == 12
    assert member.expire(12) == ("c",)
    assert member.next_due() == inf


def test_nothing_is_kept_when_nothing_is_outstanding(member: Membership) -> None:
    assert (member.pending_acks, member.unanswered) == (None, None)
    member.note_asked("a", due=10)
    member.note_asked("b", due=10)
    member.note_unanswered(1, limit=9)
    member.take_ack(0)
    member.expire(10)
    member.note_answered(1)
    assert (member.pending_acks, member.unanswered) == (None, None)
    assert not hasattr(member, "__dict__")


def test_ids_are_never_used_again(member: Membership) -> None:
    member.note_asked("a", due=10)
    member.take_ack(0)
    member.note_asked("b", due=10)
    assert member.take_ack(0) is None
    assert member.take_ack(1) == ("b",)
