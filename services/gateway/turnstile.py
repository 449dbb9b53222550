"""Requests that one turn of the event loop takes: when thousands come at once, all else has its turn between them.

An event loop hands over everything that is ready before it looks at its timers, and a handshake is worth a hundred
microseconds and more: ten thousand clients that come back together would keep heartbeats and prices waiting for
seconds. Used by `http.py`, which keeps what it has read until it is let through, and reads no more.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

TURN_REQUESTS: Final = 128
"""A few tens of milliseconds, if all of them are handshakes of new clients."""


class Turnstile:
    """Lets so many through in a turn; the others wait in the order in which they came, each at most once."""

    def __init__(self, most: int = TURN_REQUESTS) -> None:
        self._most = most
        self._room = most
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def pass_through(self) -> bool:
        """Whether there is room in this turn; else call `wait`."""
        if self._room <= 0 or self._waiting:
            return False
        self._room -= 1
        self._schedule()
        return True

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have `go_on` called in one of the next turns."""
        self._waiting.append(go_on)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._room = self._most - min(len(self._waiting), self._most)
        for _ in range(self._most - self._room):
            self._waiting.popleft()()
        if self._room < self._most:
            self._schedule()
