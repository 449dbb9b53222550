"""One timer serves everybody, at the right time, however deadlines move."""

from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.deadlines import SLACK_S, Deadlines, Due
from tests.support.manual_loop import ManualLoop


class Client:
    def __init__(self, loop: ManualLoop, at: float) -> None:
        self.loop = loop
        self.at = at
        self.period = inf
        self.due: Due | None = None
        self.called: list[float] = []

    def next_deadline(self) -> float:
        return self.at

    def handle_deadline(self, now: float) -> None:
        assert now >= self.at
        self.called.append(self.loop.now)
        self.at = now + self.period


def test_the_loop_is_asked_for_the_earliest_deadline_alone() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    for at in (1030.0, 1010.0, 1020.0):
        deadlines.watch(Client(loop, at))
    assert loop.pending_timers() == [1010.0]
    loop.advance(10)
    assert loop.pending_timers() == [1020.0]


def test_a_deadline_that_moves_later_costs_no_new_timer_and_is_kept() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    client = Client(loop, 1010.0)
    deadlines.watch(client)
    client.at = 1050.0
    deadlines.watch(client)
    assert len(loop.timers) == 1
    loop.advance(49)
    assert client.called == []
    loop.advance(1)
    assert client.called == [1050.0]


def test_a_deadline_that_comes_nearer_is_met() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    client = Client(loop, 1050.0)
    deadlines.watch(client)
    client.at = 1005.0
    deadlines.watch(client)
    loop.advance(100)
    assert client.called == [1005.0]


def test_who_never_has_a_deadline_is_never_called_and_keeps_no_timer() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    deadlines.watch(Client(loop, inf))
    assert loop.timers == []


def test_who_is_forgotten_is_not_called() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    gone, here = Client(loop, 1010.0), Client(loop, 1010.0)
    deadlines.watch(gone)
    deadlines.watch(here)
    deadlines.forget(gone)
    deadlines.forget(gone)
    loop.advance(100)
    assert (gone.called, here.called) == ([], [1010.0])
    assert gone.due is None


def test_a_heartbeat_goes_on_by_itself() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    client = Client(loop, 1025.0)
    client.period = 25.0
    deadlines.watch(client)
    loop.advance(100)
    assert client.called == [1025.0, 1050.0, 1075.0, 1100.0]
    assert len(loop.pending_timers()) == 1


def test_nobody_is_called_after_the_stop() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    client = Client(loop, 1010.0)
    deadlines.watch(client)
    deadlines.stop()
    loop.advance(100)
    assert client.called == []


def test_one_client_that_is_called_may_end_another() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    other = Client(loop, 1010.0)

    class Ender(Client):
        def handle_deadline(self, now: float) -> None:
            super().handle_deadline(now)
            deadlines.forget(other)

    ender = Ender(loop, 1010.0)
    deadlines.watch(ender)
    deadlines.watch(other)
    loop.advance(50)
    assert ender.called == [1010.0]
    assert other.called == []


def test_a_client_that_stays_due_is_called_once_a_turn_and_holds_nobody_up() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    stuck, other = Client(loop, 1010.0), Client(loop, 1010.0)
    stuck.period = 0.0
    deadlines.watch(stuck)
    deadlines.watch(other)
    loop.now = 1010.0
    loop.timers.pop().call()
    assert (len(stuck.called), len(other.called)) == (1, 1)
    assert loop.pending_timers() == [1010.0]


def test_a_client_that_raises_costs_nobody_else_a_deadline() -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)

    class Broken(Client):
        def handle_deadline(self, _now: float) -> None:
            raise RuntimeError

    others = [Client(loop, 1010.0), Client(loop, 1020.0)]
    for client in (Broken(loop, 1010.0), *others):
        deadlines.watch(client)
    with pytest.raises(RuntimeError):
        loop.advance(10)
    loop.advance(20)
    assert [client.called for client in others] == [[1010.0], [1020.0]]


STEPS = st.lists(st.tuples(st.integers(0, 7), st.floats(0, 20), st.floats(0, 3)), max_size=80)


@given(STEPS)
@example([(0, 1.0, 0.0), (0, 1.0 + SLACK_S / 2, 1.0)]).via("a deadline that moved later by less than the slack")
def test_whatever_moves_nobody_is_called_early_or_missed(steps: list[tuple[int, float, float]]) -> None:
    loop = ManualLoop()
    deadlines = Deadlines(loop.as_loop)
    clients = [Client(loop, inf) for _ in range(8)]
    for number, delay, passed in steps:
        client = clients[number]
        client.at = loop.now + delay
        deadlines.watch(client)
        loop.advance(passed)
        assert all(other.at > loop.now - SLACK_S for other in clients)
        assert len(loop.pending_timers()) <= 1
