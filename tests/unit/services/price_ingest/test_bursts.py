"""Where trades without an id stand."""

from itertools import count

import msgspec
import pytest

from services.price_ingest.aggregate import Point
from services.price_ingest.bursts import MAX_UNDECIDED, Member, Run
from services.price_ingest.normalise import Kind, Tick


class Feed:
    """One symbol's run, and where all its trades stand in the end."""

    def __init__(self) -> None:
        self.run = Run()
        self.points: dict[str, Point] = {}
        self.repeats: list[str] = []
        self._ranks = count(100)
        self._first: dict[tuple[str, int], int] = {}

    def say(self, *trades: tuple[int, str]) -> None:
        """Trades of (event time, price), which arrive in this order; a price names a trade, but for its repeats."""
        for at, price in trades:
            rank = next(self._ranks)
            echo = self._first.setdefault((price, at), rank)
            tick = Tick("X", Kind.TRADE, price, 0, at, rank, amount="1")
            self.run = msgspec.msgpack.decode(msgspec.msgpack.encode(self.run), type=Run)
            point = self.run.place(tick, None if echo == rank else echo)
            if point is None:
                self.repeats.append(price)
                continue
            self.points[price] = point
            correction = self.run.recognise()
            if correction is not None:
                self.repeats += [member.price for member in correction.repeats]
                for move in correction.moves:
                    self.points.update({point[3]: point for point in move.after})

    def order(self) -> str:
        return "".join(sorted(self.points, key=lambda price: self.points[price]))


def fed(*trades: tuple[int, str]) -> Feed:
    feed = Feed()
    feed.say(*trades)
    return feed


def test_a_live_feed_stands_as_it_arrives():
    assert fed((1, "a"), (1, "b"), (2, "c"), (2, "d"), (2, "e"), (3, "f")).order() == "abcdef"


def test_in_a_burst_trades_of_one_time_stand_in_reverse_from_its_head_on():
    feed = fed((9, "i"), (9, "h"), (8, "g"), (8, "f"), (7, "e"), (7, "d"), (6, "c"), (6, "b"), (6, "a"))
    assert feed.order() == "abcdefghi"
    assert feed.run.burst


def test_what_follows_a_burst_is_live_again():
    feed = fed((9, "d"), (8, "c"), (7, "b"), (6, "a"), (10, "e"), (10, "f"), (11, "g"))
    assert feed.order() == "abcdefg"


@pytest.mark.parametrize("late", [[(3, "c"), (3, "d")], [(4, "e"), (4, "f"), (3, "c"), (3, "d")]])
def test_late_trades_of_a_live_feed_keep_their_order(late: list[tuple[int, str]]):
    feed = fed((9, "g"), (9, "h"), *late, (10, "i"), (8, "x"), (11, "j"), (11, "k"))
    assert feed.order() == "".join(sorted(price for _, price in late)) + "xghijk"


def test_equal_trades_inside_one_burst_are_all_real():
    assert fed((9, "d"), (9, "d"), (8, "c"), (7, "b"), (6, "a"), (6, "a")).repeats == []


def test_a_burst_that_comes_again_is_all_repeats():
    snapshot = [(9, "f"), (9, "e"), (8, "d"), (7, "c"), (7, "b"), (6, "a")]
    feed = fed(*snapshot, *snapshot)
    assert sorted(feed.repeats) == list("abcdef")
    assert feed.order() == "abcdef"


def test_new_trades_at_the_head_of_a_burst_that_comes_again_are_real():
    snapshot = [(9, "d"), (8, "c"), (7, "b"), (6, "a")]
    feed = fed(*snapshot, (11, "g"), (11, "f"), (10, "e"), *snapshot)
    assert sorted(feed.repeats) == list("abcd")
    assert feed.order() == "abcdefg"


def test_a_burst_that_begins_with_the_very_trades_that_came_last_repeats_them():
    live = [(6, "a"), (7, "b"), (8, "c"), (9, "d"), (9, "e")]
    feed = fed(*live, *reversed(live))
    assert sorted(feed.repeats) == list("abcde")
    assert feed.order() == "abcde"


def test_the_same_trade_again_is_real_outside_a_burst():
    assert fed((5, "a"), (5, "a"), (6, "b"), (5, "a"), (7, "c"), (7, "c")).repeats == []


def test_a_run_of_one_time_keeps_no_more_than_a_bound():
    feed = Feed()
    for number in range(MAX_UNDECIDED + 5):
        feed.say((9, str(number)))
    assert len(feed.run.undecided) <= MAX_UNDECIDED
    feed.say((8, "c"), (7, "b"), (6, "a"), (6, "A"))
    assert feed.run.burst
    assert feed.points["A"] < feed.points["a"]


def test_a_member_is_before_a_trade_if_what_it_equals_is():
    member = Member(0, 0, 9, "1", "1", None, echo=5)
    assert member.is_before(6)
    assert not member.is_before(5)
    assert not Member(0, 0, 9, "1", "1", None, echo=None).is_before(6)
