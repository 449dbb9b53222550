"""`tickwire feed replay`: recorded trades, published in file order at a multiple of their speed.

Fed by `feeds.trades_csv`; feeds `feed:trades`. By default the times are moved so that the recording looks live: its
first row happens now, gaps shrink with the speed. Ids stay the file's own, so a second replay into the same cluster is
dropped as duplicates while it remembers the first; `--loop` marks its later rounds.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console

from services.launcher.errors import LauncherError
from services.launcher.feeds.progress import Progress, ProgressBar, ProgressLines
from services.launcher.feeds.publish import Entry, Publisher, run_feed, say
from services.launcher.feeds.trades_csv import BadRow, CsvTrade, LayoutError, TradesFile
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.log import get_logger

log = get_logger(__name__)

SLICE_S: Final = 0.02
MOST_ROWS_AT_ONCE: Final = 1000
ROWS_PER_LAG_CHECK: Final = 5000
MOST_NAMED: Final = 5
"""So many bad rows are named one by one; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What to replay, and how.

    Attributes:
        path: the file.
        symbol: of all its rows, where it does not say so itself.
        speed: times faster than recorded; None: as fast as Redis and the readers take it.
        original_time: publish the recorded event times.
        loop: begin again at the end.
    """

    path: Path
    symbol: str | None = None
    speed: float | None = 1.0
    original_time: bool = False
    loop: bool = False


@dataclass(slots=True)
class Timeline:
    """Where the recording's times fall in the replay's.

    Args:
        recording: its speed, and whether times are moved.
        started_ms: wall clock at the replay's first row.
    """

    recording: Recording
    started_ms: int
    _first_pace: int | None = None
    _first_time: int = 0

    def due_s(self, row: CsvTrade) -> float:
        """Seconds after the start at which a row is to be published."""
        if self._first_pace is None:
            self._first_pace, self._first_time = row.pace_ns, row.time_ns
        speed = self.recording.speed
        return 0.0 if speed is None else (row.pace_ns - self._first_pace) / 1e9 / speed

    def event_ms(self, row: CsvTrade, now_ms: int) -> int:
        """The event time that is published with a row; `due_s` was asked first."""
        speed = self.recording.speed
        if self.recording.original_time:
            return row.time_ns // 1_000_000
        if speed is None:
            return now_ms
        return self.started_ms + int((row.time_ns - self._first_time) / 1e6 / speed)


@dataclass(slots=True)
class Tally:
    """What came of it."""

    rows: int = 0
    bad: int = 0
    seconds: float = 0.0
    symbols: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        """What the user is told."""
        rate = self.rows / self.seconds if self.seconds else 0.0
        bad = f"; {self.bad:,} bad rows left out" if self.bad else ""
        of = f"{len(self.symbols)} symbol{'' if len(self.symbols) == 1 else 's'}"
        return f"{self.rows:,} trades of {of} in {self.seconds:.1f} s ({rate:,.0f} a second){bad}"


class Replay:
    """One replay.

    Args:
        recording: what, and how.
        bus: where to.
        clock: of the pace.
        stopping: ends it early.
        progress: is told how far it is.
    """

    def __init__(
        self, recording: Recording, bus: RedisBus, clock: Clock, stopping: asyncio.Event, progress: Progress
    ) -> None:
        self._recording = recording
        self._publisher = Publisher(bus, clock, stopping)
        self._clock = clock
        self._stopping = stopping
        self._progress = progress
        self._unchecked = 0
        self.tally = Tally()

    async def run(self) -> None:
        """Publish until the end of the file, or until told to stop.

        Raises:
            LauncherError: the file cannot be read, or holds no trade at all.
        """
        began = self._clock.monotonic()
        rounds = 0
        try:
            while not self._stopping.is_set() and (rounds == 0 or self._recording.loop):
                rounds += 1
                with TradesFile(self._recording.path, self._recording.symbol) as file:
                    await self._once(file, rounds)
                if not self.tally.rows and not self._stopping.is_set():
                    raise LauncherError(f"{self._recording.path}: no usable trade in it")
        except OSError as error:
            raise LauncherError(f"{self._recording.path}: {error.strerror or error}") from error
        except LayoutError as error:
            raise LauncherError(f"{self._recording.path}: {error}") from error
        finally:
            self.tally.seconds = self._clock.monotonic() - began

    async def _once(self, file: TradesFile, rounds: int) -> None:
        timeline = Timeline(self._recording, self._clock.now_ms())
        began = self._clock.monotonic()
        for due, rows in slices(self._good(file), timeline):
            if not await self._wait_until(began + due):
                return
            entries = [_entry(row, timeline.event_ms(row, self._clock.now_ms()), rounds) for row in rows]
            await self._publisher.trades(entries)
            self.tally.rows += len(rows)
            self.tally.symbols.update(row.symbol for row in rows)
            self._progress.advance(self.tally.rows, file.fraction)
            self._unchecked += len(rows)
            if self._unchecked >= ROWS_PER_LAG_CHECK:
                self._unchecked = 0
                began += await self._publisher.wait_for_readers()  # time stood still meanwhile

    def _good(self, file: TradesFile) -> Iterator[CsvTrade]:
        for row in file:
            if isinstance(row, BadRow):
                self.tally.bad += 1
                if self.tally.bad <= MOST_NAMED:
                    log.warning("bad_row", file=file.name, line=row.line, reason=row.why)
            else:
                yield row

    async def _wait_until(self, due: float) -> bool:
        """Wait for the clock; False when told to stop first. Lets the event loop breathe even when late."""
        delay = due - self._clock.monotonic()
        try:
            async with asyncio.timeout(max(0.0, delay)):
                await self._stopping.wait()
        except TimeoutError:
            return not self._stopping.is_set()
        return False


def run_replay(recording: Recording, redis_url: str, clock: Clock, console: Console) -> None:
    """Replay until the end or a signal, with a bar in a terminal and lines elsewhere; then say what came of it.

    Raises:
        LauncherError: the file or Redis cannot be used.
    """
    name = recording.path.name
    tallies: list[Tally] = []

    async def work(bus: RedisBus, stopping: asyncio.Event) -> None:
        progress = ProgressBar(console, clock, name) if console.is_terminal else ProgressLines(clock, name)
        with progress:
            replay = Replay(recording, bus, clock, stopping, progress)
            tallies.append(replay.tally)
            await replay.run()

    run_feed(redis_url, work)
    for tally in tallies:
        say(f"replay of {name} done: {tally}")


def slices(rows: Iterator[CsvTrade], timeline: Timeline) -> Iterator[tuple[float, list[CsvTrade]]]:
    """Rows that are due within `SLICE_S` of one another, at most `MOST_ROWS_AT_ONCE`, with when to publish them.

    A slice is published when its last row is due: never early.
    """
    gathered: list[CsvTrade] = []
    opened = due = 0.0
    for row in rows:
        now_due = timeline.due_s(row)
        if gathered and (now_due - opened > SLICE_S or len(gathered) >= MOST_ROWS_AT_ONCE):
            yield due, gathered
            gathered = []
        if not gathered:
            opened = due = now_due
        due = max(due, now_due)
        gathered.append(row)
    if gathered:
        yield due, gathered


def _entry(row: CsvTrade, event_ms: int, rounds: int) -> Entry:
    return {
        "id": row.id if rounds == 1 else f"{row.id}-{rounds}",
        "symbol": row.symbol,
        "amount": row.amount,
        "price": row.price,
        "side": row.side,
        "ts": str(event_ms),
    }
