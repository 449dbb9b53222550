"""Durations counted in classes 2 % wide, so that a million of them cost no more than one. Pure.

Fed by `clients`, sent from the workers as plain counts, added up by `crew`; feeds the tables and the plots. A value
read back is at most 1 % off, whatever its size; the largest is kept exactly.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

SMALLEST_S: Final = 1e-5
"""The lowest class holds everything up to this."""

LARGEST_S: Final = 1000.0
_GROWTH: Final = math.log(1.02)
LAST_CLASS: Final = math.ceil(math.log(LARGEST_S / SMALLEST_S) / _GROWTH)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """What is told of many durations; seconds, zero where there were none."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


class Histogram:
    """Counts by class. Empty until something is added."""

    __slots__ = ("_counts", "largest")

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.largest = 0.0

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, seconds: float) -> None:
        """Count one duration; a negative one, from clocks that disagree, counts as none."""
        self._counts[_class_of(seconds)] += 1
        self.largest = max(self.largest, seconds)

    def merge(self, other: Self) -> None:
        """Count what the other has counted too."""
        self._counts.update(other._counts)
        self.largest = max(self.largest, other.largest)

    def quantile(self, share: float) -> float:
        """The duration that `share` (0 to 1) of all do not exceed; 0 where there are none.

        Raises:
            ValueError: `share` is not between 0 and 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"{share} is no share")
        wanted = share * len(self)
        seen = 0
        for number, count in sorted(self._counts.items()):
            seen += count
            if seen >= wanted and seen:
                return min(_middle_of(number), self.largest)
        return 0.0

    def quantiles(self) -> Quantiles:
        """The usual ones."""
        return Quantiles(len(self), self.quantile(0.5), self.quantile(0.9), self.quantile(0.99), self.largest)

    def classes(self) -> Iterator[tuple[float, int]]:
        """(seconds, count) of each class that holds something, shortest first."""
        for number, count in sorted(self._counts.items()):
            yield _middle_of(number), count

    def to_plain(self) -> dict[str, float]:
        """As JSON can carry it: class number -> count, and the largest."""
        return {**{str(number): count for number, count in self._counts.items()}, "largest": self.largest}

    @classmethod
    def from_plain(cls, plain: Mapping[str, float]) -> Self:
        """The reverse of `to_plain`."""
        made = cls()
        made.largest = plain.get("largest", 0.0)
        made._counts.update({int(number): int(count) for number, count in plain.items() if number != "largest"})
        return made


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them in one."""
    together = Histogram()
    for histogram in histograms:
        together.merge(histogram)
    return together


def _class_of(seconds: float) -> int:
    if seconds <= SMALLEST_S:
        return 0
    return min(math.ceil(math.log(seconds / SMALLEST_S) / _GROWTH), LAST_CLASS)


def _middle_of(number: int) -> float:
    """The geometric middle of a class."""
    return SMALLEST_S * math.exp(_GROWTH * max(number - 0.5, 0))
