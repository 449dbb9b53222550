"""One timer for all clients.

Each client knows its own next deadline (heartbeat, connect, write); a heap orders them and the event loop is asked for
the earliest alone. A deadline that moves later, as nearly all do, costs nothing until it is reached.
"""

import asyncio
from collections import deque
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Final, Protocol

SLACK_S: Final = 0.001
"""Deadlines so close are handled together: an early tick is harmless, a second timer is not free."""


class Timed(Protocol):
    """What has deadlines."""

    due: "Due | None"
    """Kept by `Deadlines`; None to begin with."""

    def next_deadline(self) -> float:
        """When to call `handle_deadline`, on the event loop's clock; `inf` for never."""

    def handle_deadline(self, now: float) -> None:
        """Time has passed. Called again for the deadline that is next after it."""


class Due:
    """A place in the heap. An outdated one has lost its `timed` and is skipped."""

    __slots__ = ("at", "number", "timed")

    def __init__(self, at: float, number: int, timed: Timed) -> None:
        self.at = at
        self.number = number
        self.timed: Timed | None = timed

    def __lt__(self, other: "Due") -> bool:
        return (self.at, self.number) < (other.at, other.number)


class Deadlines:
    """The heap and the timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[Due] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    def watch(self, timed: Timed) -> None:
        """Note that a client's next deadline may have come nearer. Cheap when it has not."""
        at = timed.next_deadline()
        if timed.due is not None:
            if at >= timed.due.at:
                return
            timed.due.timed = None
        if at == inf:
            timed.due = None
            return
        timed.due = Due(at, next(self._numbers), timed)
        heappush(self._heap, timed.due)
        self._arm()

    def forget(self, timed: Timed) -> None:
        """A client is gone."""
        if timed.due is not None:
            timed.due.timed = None
            timed.due = None

    def stop(self) -> None:
        """Call nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        at = self._heap[0].at
        if at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._timer_at = inf
        now = self._loop.time()
        reached: deque[Due] = deque()  # once each: whatever a client does with its deadline, the loop goes on turning
        while self._heap and self._heap[0].at <= now + SLACK_S:
            reached.append(heappop(self._heap))
        try:
            while reached:
                self._meet(reached.popleft(), now)
        finally:  # one that raised has cost nobody else a deadline
            for due in reached:
                heappush(self._heap, due)
            if self._heap:
                self._arm()

    def _meet(self, due: Due, now: float) -> None:
        timed = due.timed
        if timed is None:
            return
        timed.due = None
        at = timed.next_deadline()  # not `due.at`: it may have moved later since
        if at <= now + SLACK_S:
            timed.handle_deadline(max(now, at))
        self.watch(timed)
