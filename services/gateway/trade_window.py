"""The newest log entries that a client which is behind may still need, shared by all of them.

Entries are kept only while somebody is behind. A client that is behind holds an index into this; when that index has
left the window, the client can no longer be served from memory.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice

from services.gateway.encoding import Encoded


class TradeWindow:
    """A bounded run of (room name, event) with rising indexes."""

    __slots__ = ("_entries", "_first", "_length")

    def __init__(self, length: int) -> None:
        self._entries: deque[tuple[str, Encoded]] = deque()
        self._first = 0
        self._length = length

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, room: str, event: Encoded) -> int:
        """Keep one entry, dropping the oldest when full; returns its index."""
        if len(self._entries) == self._length:
            self._entries.popleft()
            self._first += 1
        self._entries.append((room, event))
        return self._first + len(self._entries) - 1

    def clear(self) -> None:
        """Nobody is behind: keep nothing. Indexes go on rising."""
        self._first += len(self._entries)
        self._entries.clear()

    def holds(self, index: int) -> bool:
        """Whether everything from `index` on is still here."""
        return index >= self._first

    def since(self, index: int) -> Iterator[tuple[int, str, Encoded]]:
        """Entries from `index` on, oldest first."""
        start = index - self._first
        for offset, (room, event) in enumerate(islice(self._entries, start, None), index):
            yield offset, room, event
