"""When pings are due, and their pongs."""

from collections.abc import Callable
from functools import partial
from math import inf

import pytest

from protocol.engineio.heartbeat import Beat, Heartbeat, SessionSettings

SETTINGS = SessionSettings(ping_interval=300, ping_timeout=200)
START = 1_000.0


@pytest.fixture(name="heart")
def _heart() -> Heartbeat:
    return Heartbeat(SETTINGS, START)


def near(moment: float) -> object:
    """Return a time after the start, to be compared with."""
    return pytest.approx(START + moment)


def test_the_first_ping_is_due_one_interval_after_the_start(heart: Heartbeat) -> None:
    assert heart.due == near(0.3)
    assert heart.handle_deadline(START + 0.29) is None
    assert heart.handle_deadline(START + 0.3) is Beat.PING


def test_the_pong_is_due_from_when_the_ping_was_due_not_from_when_it_was_sent(heart: Heartbeat) -> None:
    assert heart.handle_deadline(START + 0.35) is Beat.PING
    assert heart.due == near(0.5)
    assert not heart.is_overdue(START + 0.49)
    assert heart.is_overdue(START + 0.501)
    assert heart.handle_deadline(START + 0.501) is Beat.TIMEOUT


def test_the_next_ping_is_due_one_interval_after_the_pong(heart: Heartbeat) -> None:
    heart.handle_deadline(START + 0.3)
    heart.receive_pong(START + 0.4)
    assert heart.due == near(0.7)
    assert not heart.is_overdue(START + 0.6)
    assert heart.handle_deadline(START + 0.701) is Beat.PING


def test_a_pong_nobody_asked_for_does_not_put_off_the_ping(heart: Heartbeat) -> None:
    heart.receive_pong(START + 0.2)
    assert heart.due == near(0.3)


def test_a_message_gives_the_pong_more_time_once(heart: Heartbeat) -> None:
    heart.receive_message()
    assert heart.due == near(0.3)
    heart.handle_deadline(START + 0.3)
    heart.receive_message()
    heart.receive_message()
    assert heart.due == near(0.7)
    heart.receive_pong(START + 0.6)
    heart.handle_deadline(START + 0.901)
    heart.receive_message()
    assert heart.due == near(1.3)


def test_a_ping_long_overdue_gives_the_peer_its_whole_time(heart: Heartbeat) -> None:
    assert heart.handle_deadline(START + 9) is Beat.PING
    assert heart.due == near(9.2)


def test_a_pong_long_overdue_may_be_unread_so_the_peer_gets_a_moment(heart: Heartbeat) -> None:
    heart.handle_deadline(START + 0.3)
    assert not heart.is_overdue(START + 9)
    assert heart.handle_deadline(START + 9) is None
    assert heart.due == near(9.1)
    assert heart.handle_deadline(START + 9.101) is Beat.TIMEOUT


@pytest.mark.parametrize("extended", [False, True])
def test_forgiving_a_pong_leaves_the_next_ping_where_it_was(heart: Heartbeat, *, extended: bool) -> None:
    heart.handle_deadline(START + 0.3)
    if extended:
        heart.receive_message()
    heart.forgive_pong()
    assert heart.due == near(0.6)
    assert heart.handle_deadline(START + 0.601) is Beat.PING


def test_it_tells_when_the_peer_last_proved_that_it_lives(heart: Heartbeat) -> None:
    assert heart.last_pong == near(0)
    heart.handle_deadline(START + 0.3)
    assert heart.last_pong == near(0)
    heart.receive_message()
    assert heart.last_pong == near(0), "a message is no pong"
    heart.receive_pong(START + 0.35)
    assert heart.last_pong == near(0.35)
    heart.handle_deadline(START + 0.65)
    assert heart.last_pong == near(0.35)


def test_forgiving_nothing_changes_nothing(heart: Heartbeat) -> None:
    heart.forgive_pong()
    assert heart.due == near(0.3)


def test_a_stopped_heart_is_never_due(heart: Heartbeat) -> None:
    heart.handle_deadline(START + 0.3)
    heart.stop()
    assert heart.due == inf
    assert heart.handle_deadline(START + 1e9) is None
    assert not heart.is_overdue(START + 1e9)


def test_lateness_does_not_add_up() -> None:
    heart = Heartbeat(SETTINGS, START)
    for beat in range(100):
        due = heart.due
        assert heart.handle_deadline(due + 0.05) is Beat.PING
        heart.receive_pong(due + 0.05)
        assert heart.due == near(0.3 + (beat + 1) * 0.35)


def test_it_knows_when_it_pinged_for_as_long_as_the_pong_is_awaited(heart: Heartbeat) -> None:
    assert heart.pinged_at == inf
    ends: list[Callable[[], None]] = [partial(heart.receive_pong, START + 0.4), heart.forgive_pong, heart.stop]
    for end in ends:
        sent = heart.due + 0.01
        heart.handle_deadline(sent)
        assert heart.pinged_at == sent
        end()
        assert heart.pinged_at == inf
