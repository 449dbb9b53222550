"""The machine's clocks."""

from datetime import UTC, datetime

from shared.clock import SystemClock


def test_the_wall_clock_counts_milliseconds_since_1970():
    told = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    assert abs((datetime.now(UTC) - told).total_seconds()) < 5


def test_the_other_clock_never_goes_back():
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)
