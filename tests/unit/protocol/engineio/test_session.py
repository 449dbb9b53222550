"""One Engine.IO life: the whole table, the heartbeat in it, the upgrade, and every way to end."""

import sys
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.engineio.packets import Close, Message, Noop, Open, Packet, Ping, Pong, Upgrade
from protocol.engineio.session import (
    TRANSITIONS,
    CloseCause,
    Closed,
    ProbeRejected,
    Send,
    Session,
    SessionSettings,
    State,
    Step,
    Transport,
    Upgraded,
)
from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode

SETTINGS = SessionSettings(
    ping_interval=300, ping_timeout=200, max_payload=1_000, upgrade_timeout=10_000, close_timeout=30_000
)
START = 1_000.0
PROBE = Ping(probe=True)


def open_session(transport: Transport = Transport.POLLING, shared: SessionSettings = SETTINGS) -> Session:
    return Session(shared, "s1", transport, START)


def session_in(state: State) -> Session:
    """Return a session brought to a state by what clients and time do."""
    session = open_session(Transport.WEBSOCKET if state is State.WEBSOCKET else Transport.POLLING)
    if state in (State.PROBE_OPEN, State.PROBED):
        session.open_probe(START)
    if state is State.PROBED:
        session.receive_probe(PROBE)
    if state is State.CLOSING:
        session.close(CloseCause.FORCED, START)
    if state is State.CLOSED:
        session.finish(CloseCause.FORCED)
    assert session.state is state
    return session


# --- the table

STEPS: dict[Step, Callable[[Session], object]] = {
    Step.PROBE_OPENED: lambda session: session.open_probe(START),
    Step.PROBE: lambda session: session.receive_probe(PROBE),
    Step.UPGRADE: lambda session: session.receive_probe(Upgrade()),
    Step.PROBE_FAILED: lambda session: session.fail_probe(),
    Step.PACKET: lambda session: session.receive_packet(Message("x"), START),
    Step.CLOSE_REQUESTED: lambda session: session.close(CloseCause.SHUTDOWN, START),
    Step.ENDED: lambda session: session.finish(CloseCause.TRANSPORT_ERROR),
}
PAIRS = [(state, step) for state in State for step in Step]
HARMLESS_AGAIN = {Step.CLOSE_REQUESTED, Step.ENDED}


@pytest.mark.parametrize(("state", "step"), PAIRS)
def test_every_step_in_every_state_does_what_the_table_says(state: State, step: Step) -> None:
    session = session_in(state)
    target = TRANSITIONS[state].get(step)
    deadline = session.next_deadline()
    if target is not None:
        STEPS[step](session)
        assert session.state is target
    elif step in HARMLESS_AGAIN:
        STEPS[step](session)
        assert (session.state, session.next_deadline(), session.cause) == (state, deadline, CloseCause.FORCED)
    else:
        with pytest.raises(UsageError) as caught:
            STEPS[step](session)
        assert caught.value.code is MisuseCode.WRONG_STATE
        assert (session.state, session.next_deadline()) == (state, deadline)


def test_every_state_has_a_row_and_only_the_last_has_no_way_out() -> None:
    assert set(TRANSITIONS) == set(State)
    assert [state for state in State if not TRANSITIONS[state]] == [State.CLOSED]


def test_every_open_state_can_end() -> None:
    for state in set(State) - {State.CLOSED}:
        assert TRANSITIONS[state][Step.ENDED] is State.CLOSED


# --- the handshake


@pytest.mark.parametrize(
    ("transport", "upgrades", "offered"),
    [
        (Transport.POLLING, True, ("websocket",)),
        (Transport.POLLING, False, ()),
        (Transport.WEBSOCKET, True, ()),
    ],
)
def test_the_open_packet_tells_the_settings(transport: Transport, offered: tuple[str, ...], *, upgrades: bool) -> None:
    session = open_session(
        transport, SessionSettings(ping_interval=300, ping_timeout=200, max_payload=9, upgrades=upgrades)
    )
    assert session.open_packet() == Open("s1", offered, 300, 200, 9)
    assert session.transport is transport
    assert session.is_open


# --- packets


@pytest.mark.parametrize("state", [State.POLLING, State.PROBE_OPEN, State.PROBED, State.WEBSOCKET])
def test_a_message_is_handed_on_in_every_open_state(state: State) -> None:
    message = Message("x")
    assert session_in(state).receive_packet(message, START) is message


@pytest.mark.parametrize("packet", [Pong(), Open("x", (), 1, 1, 1), Upgrade(), Noop()])
def test_packets_without_meaning_from_a_client_are_ignored(packet: Packet) -> None:
    session = session_in(State.WEBSOCKET)
    assert session.receive_packet(packet, START) is None
    assert session.state is State.WEBSOCKET


@pytest.mark.parametrize("probe", [False, True])
def test_a_ping_from_a_client_is_a_violation(*, probe: bool) -> None:
    with pytest.raises(PeerError) as caught:
        session_in(State.POLLING).receive_packet(Ping(probe), START)
    assert caught.value.code is ViolationCode.PING_FROM_CLIENT


@pytest.mark.parametrize("state", [State.POLLING, State.PROBED, State.WEBSOCKET])
def test_a_close_packet_ends_the_life_on_either_transport(state: State) -> None:
    session = session_in(state)
    assert session.receive_packet(Close(), START) == Closed(CloseCause.PEER_CLOSED)
    assert (session.state, session.cause, session.next_deadline()) == (State.CLOSED, CloseCause.PEER_CLOSED, inf)


# --- the heartbeat


def test_a_ping_is_sent_after_the_interval_and_a_pong_keeps_the_life_going() -> None:
    session = session_in(State.WEBSOCKET)
    assert session.next_deadline() == pytest.approx(START + 0.3)
    assert session.handle_deadline(START + 0.2) == ()
    assert session.handle_deadline(START + 0.301) == (Send(Ping()),)
    session.receive_packet(Pong(), START + 0.4)
    assert session.next_deadline() == pytest.approx(START + 0.7)
    assert session.handle_deadline(START + 0.501) == ()


def test_without_a_pong_the_life_ends_interval_plus_timeout_after_the_handshake() -> None:
    session = session_in(State.POLLING)
    session.handle_deadline(START + 0.31)
    assert not session.is_expired(START + 0.499)
    assert session.is_expired(START + 0.501)
    assert session.handle_deadline(START + 0.501) == (Closed(CloseCause.PING_TIMEOUT),)
    assert session.is_expired(START)
    assert session.cause is CloseCause.PING_TIMEOUT


def test_a_message_while_a_pong_is_awaited_extends_the_wait() -> None:
    session = session_in(State.WEBSOCKET)
    session.handle_deadline(START + 0.301)
    session.receive_packet(Message("x"), START + 0.4)
    assert session.next_deadline() == pytest.approx(START + 0.7)


# --- the upgrade


def upgrade_view(session: Session) -> tuple[bool, bool, Transport]:
    return session.can_probe, session.ends_polls, session.transport


def test_an_upgrade_goes_from_probe_to_websocket() -> None:
    session = open_session()
    assert upgrade_view(session) == (True, False, Transport.POLLING)
    session.open_probe(START)
    assert upgrade_view(session) == (False, False, Transport.POLLING)
    assert session.receive_probe(PROBE) == Send(Pong(probe=True))
    assert upgrade_view(session) == (False, True, Transport.POLLING)
    assert session.receive_probe(Upgrade()) == Upgraded()
    assert upgrade_view(session) == (False, False, Transport.WEBSOCKET)
    assert session.next_deadline() == pytest.approx(START + 0.3)


@pytest.mark.parametrize("packet", [Ping(), Message("x"), Message(b"2probe"), Pong(probe=True), Close(), Noop()])
@pytest.mark.parametrize("state", [State.PROBE_OPEN, State.PROBED])
def test_anything_else_on_the_probing_socket_closes_only_that(state: State, packet: Packet) -> None:
    session = session_in(state)
    assert session.receive_probe(packet) == ProbeRejected()
    assert session.state is State.POLLING
    assert session.can_probe
    assert session.next_deadline() == pytest.approx(START + 0.3)


@pytest.mark.parametrize("state", [State.PROBE_OPEN, State.PROBED])
def test_a_probe_that_takes_too_long_is_given_up(state: State) -> None:
    shared = SessionSettings(ping_interval=60_000, upgrade_timeout=10_000)
    session = open_session(shared=shared)
    session.open_probe(START + 1)
    if state is State.PROBED:
        session.receive_probe(PROBE)
    assert session.next_deadline() == START + 11
    assert session.handle_deadline(START + 11) == (ProbeRejected(),)
    assert session.state is State.POLLING
    assert session.next_deadline() == START + 60


def test_a_late_timer_gives_up_the_probe_and_pings_at_once() -> None:
    session = session_in(State.PROBED)
    assert session.handle_deadline(START + 20) == (ProbeRejected(), Send(Ping()))


def test_the_upgrade_cancels_a_ping_timeout_and_the_next_ping_comes_as_planned() -> None:
    session = session_in(State.PROBED)
    session.handle_deadline(START + 0.301)
    session.receive_probe(Upgrade())
    assert session.next_deadline() == pytest.approx(START + 0.6)
    assert session.handle_deadline(START + 0.55) == ()


def test_the_upgrade_ends_the_time_limit_of_the_probe() -> None:
    session = open_session(shared=SessionSettings(ping_interval=60_000))
    session.open_probe(START)
    session.receive_probe(Upgrade())
    assert session.next_deadline() == START + 60
    assert session.handle_deadline(START + 11) == ()


def test_no_probe_is_taken_when_upgrades_are_off() -> None:
    session = open_session(shared=SessionSettings(upgrades=False))
    assert not session.can_probe
    with pytest.raises(UsageError):
        session.open_probe(START)


# --- the end


def test_closing_a_websocket_ends_the_life_at_once() -> None:
    session = session_in(State.WEBSOCKET)
    assert session.close(CloseCause.SHUTDOWN, START) is State.CLOSED
    assert (session.cause, session.next_deadline(), session.is_open) == (CloseCause.SHUTDOWN, inf, False)


@pytest.mark.parametrize("state", [State.POLLING, State.PROBE_OPEN, State.PROBED])
def test_closing_while_polling_waits_for_a_request_to_carry_the_close_packet(state: State) -> None:
    session = session_in(state)
    assert session.close(CloseCause.SHUTDOWN, START + 0.1) is State.CLOSING
    assert (session.is_open, session.can_probe, session.ends_polls) == (False, False, False)
    assert session.next_deadline() == START + 30.1
    assert session.finish(CloseCause.TRANSPORT_ERROR) == Closed(CloseCause.SHUTDOWN)
    assert (session.state, session.next_deadline()) == (State.CLOSED, inf)


def test_a_close_packet_that_no_request_carries_is_given_up() -> None:
    session = session_in(State.CLOSING)
    assert session.handle_deadline(START + 29.9) == ()
    assert session.handle_deadline(START + 30) == (Closed(CloseCause.FORCED),)
    assert session.state is State.CLOSED


def test_the_first_cause_stays() -> None:
    session = session_in(State.WEBSOCKET)
    session.finish(CloseCause.PARSE_ERROR)
    session.finish(CloseCause.SHUTDOWN)
    session.close(CloseCause.FORCED, START)
    assert session.cause is CloseCause.PARSE_ERROR


# --- size and chance


def test_a_session_has_no_dictionary() -> None:
    assert not hasattr(open_session(), "__dict__")
    assert sys.getsizeof(open_session()) < 120


PACKETS = st.sampled_from([PROBE, Ping(), Pong(), Message("x"), Message(b""), Upgrade(), Noop(), Close()])
TIMES = st.floats(0, 40)
ACTIONS = st.one_of(
    st.tuples(st.just("packet"), PACKETS, TIMES),
    st.tuples(st.just("probe"), PACKETS, TIMES),
    st.tuples(st.sampled_from(["open", "fail", "deadline", "close", "finish"]), st.just(Noop()), TIMES),
)


def play(session: Session, kind: str, packet: Packet, now: float) -> None:
    match kind:
        case "packet":
            session.receive_packet(packet, now)
        case "probe":
            session.receive_probe(packet)
        case "open":
            session.open_probe(now)
        case "fail":
            session.fail_probe()
        case "deadline":
            session.handle_deadline(now)
        case "close":
            session.close(CloseCause.SHUTDOWN, now)
        case _:
            session.finish(CloseCause.TRANSPORT_ERROR)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(transport=st.sampled_from(Transport), actions=st.lists(ACTIONS, max_size=30))
def test_whatever_happens_a_life_stays_consistent(
    transport: Transport, actions: list[tuple[str, Packet, float]]
) -> None:
    session = open_session(transport)
    now = START
    over = False
    for kind, packet, after in actions:
        now += after
        before = session.state
        try:
            play(session, kind, packet, now)
        except (PeerError, UsageError):
            assert kind not in ("deadline", "close", "finish"), "these are always allowed"
            assert session.state is before
        assert session.state is before or session.state in set(TRANSITIONS[before].values()) | {State.CLOSED}
        assert not (over and session.is_open), "a life that is over does not come back"
        over = not session.is_open
        assert over == (session.cause is not None)
        assert (session.next_deadline() == inf) == (session.state is State.CLOSED)
        assert not (session.ends_polls and session.transport is Transport.WEBSOCKET)
