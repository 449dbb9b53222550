"""What is due when, for many things that are mostly told again before it: a heap that forgets lazily. Pure."""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

SLACK: Final = 64
"""Entries that are out of date beside as many that are not, until the heap is built anew."""


class DueHeap(Generic[T]):
    """Each thing is due at one time, or not at all."""

    def __init__(self) -> None:
        self._due: dict[T, int] = {}
        self._heap: list[tuple[int, int, T]] = []
        self._numbers = count()

    def put(self, thing: T, at: int | None) -> None:
        """A thing is due at `at` from now on, None: not at all."""
        if at is None:
            self._due.pop(thing, None)
        elif self._due.get(thing) != at:
            self._due[thing] = at
            heappush(self._heap, (at, next(self._numbers), thing))
            if len(self._heap) > 2 * len(self._due) + SLACK:
                self._heap = [(due, next(self._numbers), known) for known, due in self._due.items()]
                heapify(self._heap)

    def discard(self, thing: T) -> None:
        """Forget a thing; harmless when it is not known."""
        self._due.pop(thing, None)

    def pop_until(self, now: int) -> list[T]:
        """Take what is due by `now`, earliest first."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            at, _, thing = heappop(self._heap)
            if self._due.get(thing) == at:
                del self._due[thing]
                found.append(thing)
        return found
