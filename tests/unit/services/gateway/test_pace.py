"""How often a slow client gets prices: what widens it, what brings it back, and what is kept for its return."""

import pytest

from services.gateway.pace import CALM_S, LOOP_MS, STEPS, WIDEST, Pace, PaceRecord
from services.gateway.windows import LADDER

BATCH_MS = 100
NOON = 1_800_000_000_000


def behind(pace: Pace, at: float, seconds: float) -> bool:
    """Behind for so long from `at` on; whether it is widened for it."""
    pace.fall_behind(at)
    pace.catch_up(at + seconds)
    return pace.widen(BATCH_MS)


def test_every_step_is_an_interval_that_windows_offer() -> None:
    assert set(STEPS[1:]) <= set(LADDER)


def test_three_intervals_behind_are_one_step_each_longer_than_the_last() -> None:
    pace = Pace(0.0)
    assert pace.interval_ms(BATCH_MS) == 0
    assert not behind(pace, 1.0, 0.29)
    assert behind(pace, 1.3, 0.02)
    assert pace.interval_ms(BATCH_MS) == 200
    assert not behind(pace, 2.0, 0.59)
    assert behind(pace, 2.6, 0.02)
    assert behind(pace, 3.0, 30.0)
    assert pace.interval_ms(BATCH_MS) == 1000
    assert not behind(pace, 60.0, 30.0), "there is no wider one"


@pytest.mark.parametrize(("share", "widened"), [(0.2, False), (0.4, True)])
def test_many_short_times_behind_count_as_one_long_one_by_their_share(share: float, *, widened: bool) -> None:
    pace = Pace(0.0)
    assert any(behind(pace, 0.05 * turn, 0.05 * share) for turn in range(200)) == widened


def test_a_client_that_keeps_up_for_ten_seconds_goes_back_step_by_step() -> None:
    pace = Pace(0.0)
    behind(pace, 0.0, 1.0)
    behind(pace, 1.0, 1.0)
    assert pace.level == 2
    assert not pace.narrow(2.0 + CALM_S - 0.01)
    assert pace.narrow(2.0 + CALM_S)
    assert not pace.narrow(2.0 + CALM_S + 1)
    assert pace.narrow(2.0 + 2 * CALM_S)
    assert not pace.narrow(1000.0)
    assert pace.level == 0


def test_a_client_that_is_behind_is_not_calm() -> None:
    pace = Pace(0.0)
    behind(pace, 0.0, 1.0)
    pace.fall_behind(5.0)
    assert not pace.narrow(60.0)
    pace.catch_up(60.0)
    assert not pace.narrow(61.0)


def test_a_client_comes_back_at_the_pace_that_it_had() -> None:
    pace = Pace(0.0)
    behind(pace, 0.0, 1.0)
    again = Pace.restored(pace.record(), 7.0, NOON)
    assert again.level == 1
    assert not again.narrow(7.0 + CALM_S / 2)
    assert again.narrow(7.0 + CALM_S)


def test_who_was_ended_three_times_in_five_minutes_comes_back_at_the_widest() -> None:
    record = PaceRecord()
    for number in range(3):
        assert Pace.restored(record, 0.0, NOON).level == 0
        pace = Pace.restored(record, 0.0, NOON + number)
        pace.note_close(NOON + number)
        record = pace.record()
    assert Pace.restored(record, 0.0, NOON + 2).level == WIDEST
    late = Pace.restored(record, 0.0, NOON + LOOP_MS)
    assert (late.level, late.record().closes) == (0, (NOON + 1, NOON + 2))


def test_a_record_that_makes_no_sense_is_bounded() -> None:
    pace = Pace.restored(PaceRecord(99, tuple(range(NOON, NOON + 50))), 0.0, NOON + 50)
    assert pace.level == WIDEST
    assert len(pace.record().closes) == 3
