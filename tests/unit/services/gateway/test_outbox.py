"""One write a turn while the client keeps up; bounded debts while it does not."""

import pytest

from services.gateway.outbox import NOT_BEHIND, Flusher, Outbox
from shared.names.close_reasons import BUFFER_FULL
from tests.support.fakes_gateway import FakeLink
from tests.support.manual_loop import ManualLoop


class Setup:
    def __init__(self, max_queued_bytes: int = 100) -> None:
        self.loop = ManualLoop()
        self.flusher = Flusher(self.loop.as_loop, max_queued_bytes)
        self.link = FakeLink()
        self.outbox = Outbox(self.link, self.flusher, 0)

    def fill(self) -> None:
        """Make the client fall behind."""
        self.link.writable = False
        self.outbox.send(b"full")
        self.loop.turn()
        assert self.outbox.behind


@pytest.fixture(name="setup")
def one_client() -> Setup:
    return Setup()


def test_all_of_a_turn_is_one_write_in_order(setup: Setup) -> None:
    for frame in (b"a", b"b", b"c"):
        setup.outbox.send(frame)
    assert setup.link.written == []
    setup.loop.turn()
    assert setup.link.written == [b"abc"]
    assert setup.flusher.sent_bytes == 3


def test_a_turn_asks_the_loop_once_for_all_clients(setup: Setup) -> None:
    others = [Outbox(FakeLink(), setup.flusher, 0) for _ in range(3)]
    for outbox in [setup.outbox, *others]:
        outbox.send(b"a")
    for outbox in others:
        outbox.queue.append(b"b")
    setup.flusher.touch_all(others)
    assert len(setup.loop.soon) == 1
    setup.loop.turn()
    assert [outbox.link.written for outbox in others if isinstance(outbox.link, FakeLink)] == [[b"ab"]] * 3
    setup.outbox.send(b"next")
    assert len(setup.loop.soon) == 1


def test_touching_nobody_asks_for_nothing(setup: Setup) -> None:
    setup.flusher.touch_all([])
    assert setup.loop.soon == []


def test_a_write_that_fills_the_socket_puts_the_client_behind(setup: Setup) -> None:
    setup.fill()
    assert setup.link.written == [b"full"]
    assert (setup.outbox.behind, setup.flusher.passes_behind) == (True, 1)


def test_nothing_is_written_to_who_is_behind_until_the_socket_drains(setup: Setup) -> None:
    setup.fill()
    setup.outbox.send(b"later")
    setup.outbox.send(b"and later")
    setup.loop.turn()
    assert setup.link.written == [b"full"]
    setup.link.writable = True
    assert setup.outbox.resume()
    assert setup.link.written == [b"full", b"laterand later"]
    assert not setup.outbox.behind
    assert setup.flusher.sent_bytes == len(b"fulllaterand later")


def test_who_fills_the_socket_again_while_resuming_stays_behind(setup: Setup) -> None:
    setup.fill()
    setup.outbox.send(b"later")
    assert not setup.outbox.resume()
    assert setup.outbox.behind
    assert (setup.outbox.behind, setup.flusher.passes_behind) == (True, 2)


def test_resuming_who_is_not_behind_is_harmless(setup: Setup) -> None:
    assert not setup.outbox.resume()
    assert not setup.outbox.behind


def test_control_frames_up_to_the_bound_wait_and_beyond_it_end_the_client(setup: Setup) -> None:
    setup.fill()
    for _ in range(10):
        setup.outbox.send(b"0123456789")
    setup.loop.turn()
    assert setup.link.endings == []
    setup.outbox.send(b"x")
    setup.loop.turn()
    assert setup.link.endings == [BUFFER_FULL]
    assert setup.outbox.queue == []


def test_a_client_is_never_ended_beneath_the_handler_that_answers_it(setup: Setup) -> None:
    setup.fill()
    setup.outbox.send(b"x" * 101)
    assert setup.link.endings == []
    setup.outbox.send(b"one more")
    setup.loop.turn()
    assert set(setup.link.endings) == {BUFFER_FULL}


def test_the_bound_counts_anew_after_each_stall(setup: Setup) -> None:
    for _ in range(3):
        setup.link.writable = False
        setup.outbox.send(b"x" * 90)
        setup.loop.turn()
        setup.outbox.send(b"y" * 90)
        setup.link.writable = True
        assert setup.outbox.resume()
    assert setup.link.endings == []


def test_a_pace_is_made_when_a_client_falls_behind_and_is_told_when_it_drains(setup: Setup) -> None:
    before = setup.outbox.pace
    setup.fill()
    pace = setup.outbox.pace
    assert before is None
    assert pace is not None
    setup.loop.now += 1
    setup.link.writable = True
    setup.outbox.resume()
    assert setup.outbox.pace is pace
    assert pace.widen(100)


def test_who_is_gone_holds_nothing_and_is_not_counted(setup: Setup) -> None:
    setup.fill()
    setup.outbox.send(b"x")
    setup.outbox.owed_prices = {"BTC": 1}
    setup.outbox.owed_batches = {"BTC": 1}
    setup.outbox.owes_market = True
    setup.outbox.log_position = 7
    for _ in range(2):
        setup.outbox.drop()
    setup.loop.turn()
    assert setup.link.written == [b"full"]
    assert not setup.outbox.behind
    outbox = setup.outbox
    debts = (outbox.owed_prices, outbox.owed_batches, outbox.owes_market, outbox.log_position, outbox.queue)
    assert debts == (None, None, False, NOT_BEHIND, [])
    assert (outbox.pace, outbox.member) == (None, None)


def test_a_turn_is_timed_once_from_its_first_frame_until_all_is_written() -> None:
    loop, seen, moment = ManualLoop(), list[float](), [5.0]
    flusher = Flusher(loop.as_loop, 100, seen.append, lambda: moment[0])
    clients = [Outbox(FakeLink(), flusher, 0) for _ in range(3)]
    for client in clients:
        client.send(b"a")
        moment[0] += 0.5
    loop.turn()
    assert seen == [1.5]
    loop.turn()
    assert seen == [1.5]
    clients[0].send(b"b")
    loop.turn()
    assert seen == [1.5, 0.0]
