"""The newest log entries, kept for clients that are behind or come back, shared by all of them.

Fed by `trade_feed.py` with every entry of every log, wanted here or not: who comes back from another gateway may want
it. Bounded in bytes. A client that is behind holds an index into this, one that comes back has a position in each log;
either can be served from here as long as nothing that it lacks has left the window.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from operator import attrgetter
from typing import Final

from services.gateway.hub import PARSERS

ENTRY_BYTES: Final = 420
"""What an entry costs beside its data, its cursor and its frames."""

FRAME_BYTES: Final = 100
"""What a frame costs beside its bytes."""

_COMPACT_FROM: Final = 64
_index_of = attrgetter("index")
_position_of = attrgetter("position")


class LogEntry:
    """One entry of a log as clients get it.

    Attributes:
        index: rises with every entry that this gateway reads, whatever its log.
        log: which one it stands in.
        position: and where; see `cursor.py`.
        room: who gets it.
        subject: the symbol or the user.
        data: an encoded `shared.messages.Trade`.
        cursor: where a client is that has got everything up to here.
        frames: those made so far, by parser, with the cursor first, without it then.
    """

    __slots__ = ("cursor", "data", "frames", "index", "log", "position", "room", "subject")

    def __init__(self, log: int, position: int, room: str, subject: str, data: bytes) -> None:
        self.index = -1
        self.log = log
        self.position = position
        self.room = room
        self.subject = subject
        self.data = data
        self.cursor = ""
        self.frames: list[bytes | None] | None = None


WriteEntry = Callable[[LogEntry, int, bool], bytes]
"""Makes the frame of an entry for a parser, with its cursor or without."""


_DROPPED: Final = LogEntry(0, 0, "", "", b"")


class _Run:
    """The entries of one room, oldest first."""

    __slots__ = ("entries", "first")

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.first = 0

    def drop_oldest(self) -> bool:
        """Give up the oldest entry; whether there is another one."""
        self.entries[self.first] = _DROPPED  # its place is kept for a while, what it holds is not
        self.first += 1
        if self.first >= _COMPACT_FROM and self.first * 2 >= len(self.entries):
            del self.entries[: self.first]
            self.first = 0
        return self.first < len(self.entries)

    def since(self, index: int) -> Iterator[LogEntry]:
        """Entries from an index on."""
        for at in range(bisect_left(self.entries, index, self.first, key=_index_of), len(self.entries)):
            yield self.entries[at]

    def index_after(self, position: int) -> int | None:
        """The index of the first entry behind a position."""
        at = bisect_right(self.entries, position, self.first, key=_position_of)
        return self.entries[at].index if at < len(self.entries) else None


class LogWindow:
    """A bounded run of entries with rising indexes.

    Args:
        max_bytes: of all entries and the frames made of them.
        write: makes frames.
        logs: how many logs there are.

    Attributes:
        floors: by log, the position from which on everything is here.
        size: bytes, about.
    """

    __slots__ = ("_max_bytes", "_order", "_runs", "_write", "floors", "next_index", "size")

    def __init__(self, max_bytes: int, write: WriteEntry, logs: int) -> None:
        self._max_bytes = max_bytes
        self._write = write
        self._order: deque[LogEntry] = deque()
        self._runs: dict[str, _Run] = {}
        self.floors = [0] * logs
        self.next_index = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._order)

    def begin(self, positions: Sequence[int]) -> None:
        """Forget everything; from these positions on everything will be here. Indexes go on rising."""
        self._order.clear()
        self._runs.clear()
        self.floors = list(positions)
        self.size = 0

    def append(self, entry: LogEntry) -> None:
        """Keep one more entry, dropping the oldest where there is no room; gives it its index."""
        entry.index = self.next_index
        self.next_index += 1
        self._order.append(entry)
        run = self._runs.get(entry.room)
        if run is None:
            run = self._runs[entry.room] = _Run()
        run.entries.append(entry)
        self.size += ENTRY_BYTES + len(entry.data) + len(entry.cursor)
        while self.size > self._max_bytes and len(self._order) > 1:
            self._drop_oldest()

    def frame(self, entry: LogEntry, parser: int, with_cursor: bool) -> bytes:  # noqa: FBT001 - as `WriteEntry`
        """The frame of an entry, made once."""
        frames = entry.frames
        if frames is None:
            frames = entry.frames = [None] * (2 * PARSERS)
        at = parser if with_cursor else PARSERS + parser
        frame = frames[at]
        if frame is None:
            frame = frames[at] = self._write(entry, parser, with_cursor)
            if self._order and entry.index >= self._order[0].index:
                self.size += FRAME_BYTES + len(frame)
        return frame

    def holds(self, index: int) -> bool:
        """Whether everything from `index` on is still here."""
        return index >= (self._order[0].index if self._order else self.next_index)

    def since(self, index: int, rooms: Iterable[str]) -> Iterator[LogEntry]:
        """Entries of some rooms from an index on, oldest first. Nothing may be appended while it is used."""
        return self._merged(dict.fromkeys(rooms, index))

    def after(self, positions: Mapping[str, int]) -> Iterator[LogEntry]:
        """Entries of some rooms, each behind its own position, oldest first; as `since`."""
        starts: dict[str, int] = {}
        for room, position in positions.items():
            run = self._runs.get(room)
            index = None if run is None else run.index_after(position)
            if index is not None:
                starts[room] = index
        return self._merged(starts)

    def newest(self, room: str) -> LogEntry | None:
        """The last entry of a room that is here."""
        run = self._runs.get(room)
        return None if run is None else run.entries[-1]

    def of_log(self, log: int) -> Iterator[LogEntry]:
        """The entries of one log, newest first."""
        return (entry for entry in reversed(self._order) if entry.log == log)

    def _merged(self, starts: Mapping[str, int]) -> Iterator[LogEntry]:
        runs = [run.since(index) for room, index in starts.items() if (run := self._runs.get(room)) is not None]
        return runs[0] if len(runs) == 1 else merge(*runs, key=_index_of)

    def _drop_oldest(self) -> None:
        entry = self._order.popleft()
        self.floors[entry.log] = entry.position
        self.size -= ENTRY_BYTES + len(entry.data) + len(entry.cursor)
        if entry.frames is not None:
            self.size -= sum(FRAME_BYTES + len(frame) for frame in entry.frames if frame is not None)
        if not self._runs[entry.room].drop_oldest():
            del self._runs[entry.room]
