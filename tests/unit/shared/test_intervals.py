from datetime import UTC, datetime
from itertools import pairwise

import pytest

from shared.intervals import INTERVALS, start_of

MOMENT = datetime(2026, 11, 22, 17, 48, 31, 250_000, UTC)


@pytest.mark.parametrize(
    ("interval", "start"),
    [
        ("1s", datetime(2026, 11, 22, 17, 48, 31, tzinfo=UTC)),
        ("1m", datetime(2026, 11, 22, 17, 48, tzinfo=UTC)),
        ("5m", datetime(2026, 11, 22, 17, 45, tzinfo=UTC)),
        ("15m", datetime(2026, 11, 22, 17, 45, tzinfo=UTC)),
        ("1h", datetime(2026, 11, 22, 17, tzinfo=UTC)),
        ("4h", datetime(2026, 11, 22, 16, tzinfo=UTC)),
        ("1d", datetime(2026, 11, 22, tzinfo=UTC)),
    ],
)
def test_a_candle_begins_on_the_utc_calendar(interval: str, start: datetime) -> None:
    assert start_of(round(MOMENT.timestamp() * 1000), INTERVALS[interval]) == round(start.timestamp() * 1000)


def test_a_start_belongs_to_the_candle_that_begins_with_it() -> None:
    assert start_of(60_000, 60_000) == 60_000
    assert start_of(59_999, 60_000) == 0


def test_every_interval_divides_the_longer_ones() -> None:
    lengths = list(INTERVALS.values())
    assert lengths == sorted(lengths)
    assert all(longer % shorter == 0 for shorter, longer in pairwise(lengths))
