"""Event times of every magnitude and form."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstream import FUTURE_MS, Refusal, UpstreamError, read_time, read_time_ns
from shared.upstream.times import LATEST_MS, check_written

MS = 1_763_800_000_000
ENTRY = f"{MS}-0"


def time(raw: bytes, entry_id: str = ENTRY) -> int:
    return read_time({b"ts": raw}, entry_id)


def nanoseconds(raw: bytes, written: int = MS) -> int:
    return read_time_ns({b"ts": raw}, written)


@pytest.mark.parametrize("raw", [b"", b"None", b"null", b"nan", b"NaN"])
def test_the_words_for_nothing_leave_the_entry_s_own_time(raw: bytes):
    assert time(raw) == MS
    assert nanoseconds(raw) == MS * 1_000_000


@pytest.mark.parametrize(
    ("raw", "ms"),
    [
        (b"1763800000", MS),
        (b"1763800000.25", MS + 250),
        (b"1626992741.421", 1_626_992_741_421),
        (b"1763800000000", MS),
        (b"1763800000000.9", MS),
        (b"1763800000000250", MS),
        (b"1763800000000999999", MS),
        (b"1.7638e9", MS),
        (b"2025-11-22T08:26:40Z", MS),
        (b"2025-11-22T08:26:40", MS),
        (b"2025-11-22T09:26:40.5+01:00", MS + 500),
        (b"2025-11-22T08:26:40.123456789Z", MS + 123),
        (b"0", 0),
    ],
)
def test_a_time_may_be_in_any_unit_or_iso_8601(raw: bytes, ms: int):
    assert time(raw) == ms


@pytest.mark.parametrize("raw", [b"x", b"-1", b"inf", b"sNaN", b"1969-12-31T23:59:59Z", b"2025-13-01", b"1e300"])
def test_what_is_no_time_is_refused(raw: bytes):
    with pytest.raises(UpstreamError) as caught:
        time(raw)
    assert (caught.value.refusal, caught.value.field) == (Refusal.BAD_TIME, "ts")


def test_a_time_a_day_ahead_of_its_entry_is_a_mistake():
    assert time(str(MS + FUTURE_MS).encode()) == MS + FUTURE_MS
    with pytest.raises(UpstreamError) as caught:
        time(str(MS + FUTURE_MS + 1).encode())
    assert caught.value.refusal is Refusal.FUTURE


@given(st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)))  # noqa: DTZ001 - hypothesis wants them naive
def test_seconds_milliseconds_and_iso_of_one_moment_agree(moment: datetime):
    aware = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
    ms = int((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000 + 0.5)
    late = f"{LATEST_MS}-0"
    assert time(aware.isoformat().encode(), late) == ms
    assert time(f"{ms // 1000}.{ms % 1000:03d}".encode(), late) == ms


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        (b"1723161601", 1_723_161_601_000_000_000),
        (b"1723161601.4370001", 1_723_161_601_437_000_100),
        (b"1723161601.123456789", 1_723_161_601_123_456_789),
        (b"1723161601437", 1_723_161_601_437_000_000),
        (b"1723161601437.25", 1_723_161_601_437_250_000),
        (b"1723161601437001", 1_723_161_601_437_001_000),
        (b"1723161601437001584", 1_723_161_601_437_001_584),
        (b"1.723161601437e12", 1_723_161_601_437_000_000),
        (b"2024-08-09T00:00:01.437000Z", 1_723_161_601_437_000_000),
        (b"2024-08-09T00:00:01.437001584Z", 1_723_161_601_437_001_584),
        (b"2024-08-09T02:00:01.000000001+02:00", 1_723_161_601_000_000_001),
        (b"2024-08-09 00:00:01,5", 1_723_161_601_500_000_000),
    ],
)
def test_no_nanosecond_is_lost(raw: bytes, at: int):
    assert nanoseconds(raw) == at


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        (b"99999999999", 99_999_999_999 * 10**9),
        (b"100000000000", 10**11 * 10**6),
        (b"99999999999999", 99_999_999_999_999 * 10**6),
        (b"100000000000000", 10**14 * 10**3),
        (b"99999999999999999", 99_999_999_999_999_999 * 10**3),
        (b"100000000000000000", 10**17),
    ],
)
def test_the_borders_between_the_units(raw: bytes, at: int):
    assert nanoseconds(raw, 10**15) == at


@given(st.integers(10**17, 4 * 10**18))
def test_nanoseconds_of_any_moment_come_back_exactly_from_each_form(at: int):
    seconds, below = divmod(at, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    assert nanoseconds(str(at).encode(), 10**15) == at
    assert nanoseconds(f"{moment.isoformat()}.{below:09d}Z".encode(), 10**15) == at
    assert nanoseconds(f"{seconds}.{below:09d}".encode(), 10**15) == at


def test_an_entry_of_a_year_that_cannot_be_meant_is_refused():
    assert check_written(LATEST_MS) == LATEST_MS
    for written in (LATEST_MS + 1, 2**64 - 1):
        with pytest.raises(UpstreamError) as caught:
            time(b"5", f"{written}-0")
        assert caught.value.refusal is Refusal.FUTURE
