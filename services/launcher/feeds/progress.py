"""How far a replay is: a bar in a terminal, lines elsewhere. Fed by `feeds.replay`."""

from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from services.launcher.feeds.publish import say
from shared.clock import Clock

_TELL_EVERY_S: Final = 2.0
_REDRAW_S: Final = 0.2


class Progress(Protocol):
    """Is told how far a replay is, as often as it likes."""

    def advance(self, rows: int, fraction: float) -> None:
        """`rows` published in all; `fraction` of the file read."""


class _Rate:
    """Rows a second since the last time it was asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self._rows = 0

    def after(self, seconds: float, rows: int) -> float | None:
        """The rate, or None when fewer than `seconds` have passed."""
        now = self._clock.monotonic()
        if now - self._since < seconds:
            return None
        rate = (rows - self._rows) / (now - self._since)
        self._since, self._rows = now, rows
        return rate


class ProgressLines:
    """A line every two seconds."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._rate = _Rate(clock)
        self._name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to put back."""

    def advance(self, rows: int, fraction: float) -> None:
        """See `Progress.advance`."""
        rate = self._rate.after(_TELL_EVERY_S, rows)
        if rate is not None:
            say(f"replay of {self._name}: {rows:,} trades, {rate:,.0f} a second, {fraction:.0%} of the file")


class ProgressBar:
    """A bar with rows, rows a second and time left."""

    def __init__(self, console: Console, clock: Clock, name: str) -> None:
        self._rate = _Rate(clock)
        self._bar = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[rows]} trades, {task.fields[rate]} a second"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task(name, total=1.0, rows="0", rate="0")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, rows: int, fraction: float) -> None:
        """See `Progress.advance`."""
        rate = self._rate.after(_REDRAW_S, rows)
        if rate is not None or fraction >= 1.0:
            if rate is not None:
                self._bar.tasks[self._task].fields["rate"] = f"{rate:,.0f}"
            self._bar.update(self._task, completed=fraction, rows=f"{rows:,}")
