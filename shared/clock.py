"""Time as a value that is handed in, so that tests can move it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings: one to compare with other machines, one to measure with."""

    def now_ms(self) -> int:
        """Wall clock, ms since the epoch. May jump."""

    def monotonic(self) -> float:
        """Seconds since some moment. Never goes back."""


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()
