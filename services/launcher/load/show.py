"""Shows how far a run is: a bar in a terminal, a line for each stage elsewhere. Fed by `run`."""

from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

PLAIN_STEPS: Final = 4
"""Lines for each stage, at most, where there is no terminal."""


class Show(Protocol):
    """A `run.Progress` that begins and ends."""

    def stage(self, what: str, total: float) -> None:
        """See `run.Progress`."""

    def reach(self, value: float, note: str = "") -> None:
        """See `run.Progress`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Bar:
    """One moving bar, gone at the end."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, what: str, total: float) -> None:
        """Begin the bar anew."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=round(total), note="")

    def reach(self, value: float, note: str = "") -> None:
        """Move it."""
        if self._task is not None:
            self._progress.update(self._task, completed=round(value), note=note)


class Lines:
    """A few lines for each stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what, self._total, self._told = "", 1.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def stage(self, what: str, total: float) -> None:
        """Say what begins."""
        self._what, self._total, self._told = what, total, 0
        self._console.print(what, soft_wrap=True)

    def reach(self, value: float, note: str = "") -> None:
        """Say so at each quarter."""
        step = int(value / self._total * PLAIN_STEPS) if self._total else 0
        if step > self._told:
            self._told = step
            self._console.print(f"{self._what}: {min(value / self._total, 1):.0%} {note}".rstrip(), soft_wrap=True)


def show_on(console: Console) -> Show:
    """What suits the console."""
    return Bar(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)
