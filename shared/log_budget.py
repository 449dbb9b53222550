"""How many lines of one kind a log takes: what a client can cause without end must not fill a disk. Pure.

Asked by `shared.log` for every line of ours and of the libraries. A kind is a place in the code, so there are few of
them whatever comes in. The next line that goes through tells how many of its kind did not (CWE-779).
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

BURST: Final = 30
"""Lines of one kind that may come at once."""

PER_S: Final = 0.5
"""Lines of one kind in the long run."""

TRACEBACK_COST: Final = 10
"""A line with a traceback counts for so many."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    suppressed: int = 0


class LogBudget:
    """One token bucket for each kind of line.

    Args:
        monotonic: seconds of a clock that only goes forward.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: dict[Hashable, _Bucket] = {}

    def take(self, kind: Hashable, cost: int = 1) -> int | None:
        """Whether a line may be written: how many before it were not, None where this one is not either."""
        now = self._monotonic()
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = _Bucket(BURST, now)
        bucket.left = min(BURST, bucket.left + (now - bucket.at) * PER_S)
        bucket.at = now
        if bucket.left < cost:
            bucket.suppressed += 1
            return None
        bucket.left -= cost
        suppressed, bucket.suppressed = bucket.suppressed, 0
        return suppressed
