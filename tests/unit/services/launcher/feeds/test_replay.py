"""How a recording's times become a replay's."""

from pathlib import Path

import pytest

from services.launcher.feeds.replay import MOST_ROWS_AT_ONCE, SLICE_S, Recording, Tally, Timeline, slices
from services.launcher.feeds.trades_csv import CsvTrade

STARTED = 1_763_800_000_000


def row(pace_ms: float, time_ms: float | None = None) -> CsvTrade:
    """A trade received `pace_ms` after the recording's start."""
    begin = 1_723_161_600_000_000_000
    event = pace_ms if time_ms is None else time_ms
    return CsvTrade(begin + int(pace_ms * 1e6), begin + int(event * 1e6), "BTCUSDT", "1", "2", "3", "buy")


def timeline(speed: float | None = 1.0, *, original_time: bool = False) -> Timeline:
    return Timeline(Recording(Path("x.csv"), speed=speed, original_time=original_time), STARTED)


def test_the_first_row_happens_now_and_gaps_shrink_with_the_speed():
    line = timeline(speed=50)
    assert [line.due_s(row(ms)) for ms in (0, 100, 5000)] == [0, 0.002, 0.1]
    assert line.event_ms(row(0), now_ms=1) == STARTED
    assert line.event_ms(row(5000), now_ms=1) == STARTED + 100


def test_original_times_are_kept_where_asked_for():
    line = timeline(speed=50, original_time=True)
    assert line.due_s(row(5000)) == 0
    assert line.event_ms(row(5000), now_ms=1) == 1_723_161_605_000


def test_event_times_keep_their_own_distance_from_receive_times():
    line = timeline()
    line.due_s(row(0, time_ms=1000))
    assert line.event_ms(row(300, time_ms=1010), now_ms=1) == STARTED + 10


def test_at_full_speed_everything_is_due_and_happens_when_it_is_published():
    line = timeline(speed=None)
    assert [line.due_s(row(ms)) for ms in (0, 9_000_000)] == [0, 0]
    assert line.event_ms(row(9_000_000), now_ms=777) == 777


def test_rows_close_together_are_one_slice_and_none_is_early():
    line = timeline()
    cut = list(slices(iter([row(0), row(5), row(15), row(100), row(101)]), line))
    assert [[round((line.due_s(one)) * 1000) for one in rows] for _, rows in cut] == [[0, 5, 15], [100, 101]]
    assert [due for due, _ in cut] == [0.015, 0.101]
    assert all(due - line.due_s(rows[0]) <= SLICE_S for due, rows in cut)


def test_a_row_that_runs_backwards_goes_with_its_neighbours():
    cut = list(slices(iter([row(10), row(12), row(3)]), timeline()))
    assert [len(rows) for _, rows in cut] == [3]


def test_no_slice_is_longer_than_one_round_trip_should_be():
    cut = list(slices(iter([row(0)] * (2 * MOST_ROWS_AT_ONCE + 1)), timeline(speed=None)))
    assert [len(rows) for _, rows in cut] == [MOST_ROWS_AT_ONCE, MOST_ROWS_AT_ONCE, 1]


def test_an_empty_recording_has_no_slices():
    assert list(slices(iter([]), timeline())) == []


@pytest.mark.parametrize(
    ("tally", "said"),
    [
        (Tally(78_638, 0, 13.0, {"A", "B"}), "78,638 trades of 2 symbols in 13.0 s (6,049 a second)"),
        (Tally(1, 2, 0.0, {"A"}), "1 trades of 1 symbol in 0.0 s (0 a second); 2 bad rows left out"),
    ],
)
def test_the_user_is_told_what_came_of_it(tally, said):
    assert str(tally) == said
