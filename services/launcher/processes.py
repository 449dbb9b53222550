"""Child processes: started on a leash, started again when they die, stopped in time.

Fed by `plan`, which says what to run; feeds `up`, which shows it. A child that keeps dying soon after its start is not
tried for ever: it ends the run, with its last words.
"""

import asyncio
import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from services.launcher.errors import LauncherError
from services.launcher.leash import leashed
from shared.backoff import Backoff
from shared.tasks import TaskGroup

QUICK_S: Final = 10.0
"""A life shorter than this counts as a failed start."""

MOST_QUICK_DEATHS: Final = 5
WRONG_SETTINGS: Final = 2
"""The exit status of a service that refuses its settings: starting it again would not help."""

STOP_S: Final = 12.0
TAIL_LINES: Final = 15
_TAIL_BYTES: Final = 16_384


class State(StrEnum):
    """Where a child is in its life, as far as its process tells."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Command:
    """What to run.

    Attributes:
        name: what the user calls it.
        arguments: absolute path of the program, and its arguments.
        environment: all of it.
        log: file for what it writes; None: our own standard error.
        finite: it may end by itself, with exit status 0.
        speaks: its standard output is no log: each line says how it stands.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path | None = None
    finite: bool = False
    speaks: bool = False


class Child:
    """One process, and its successors.

    Args:
        command: what to run.
        tell: gets a sentence when something happens that a user should know.
    """

    def __init__(self, command: Command, tell: Callable[[str], None]) -> None:
        self.command = command
        self.state = State.WAITING
        self.restarts = 0
        self.started = 0.0
        self.said = ""
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Keep it running; return when a finite one has finished. Cancelling leaves the process: `stop` ends it.

        Raises:
            LauncherError: it dies again and again, or refuses its settings.
        """
        backoff = Backoff(base=0.5, cap=5.0, random=random.random)
        loop = asyncio.get_running_loop()
        quick_deaths = 0
        while True:
            status = await self._live()
            if status == 0 and self.command.finite:
                self.state = State.FINISHED
                self._tell(f"{self.command.name} finished")
                return
            self.state = State.WAITING
            quick = loop.time() - self.started < QUICK_S
            quick_deaths = quick_deaths + 1 if quick else 1
            if status == WRONG_SETTINGS or quick_deaths >= MOST_QUICK_DEATHS:
                raise LauncherError(f"{self.command.name} does not stay up: {_ending(status)}", self._last_words())
            if not quick:
                backoff.reset()
            delay = backoff.next_delay()
            self._tell(f"{self.command.name} died ({_ending(status)}); starting it again in {delay:.1f} s")
            await asyncio.sleep(delay)
            self.restarts += 1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def gone(self) -> None:
        """Return when no process runs."""
        if self._process is not None:
            await self._process.wait()
        self.state = State.FINISHED if self.state is State.FINISHED else State.STOPPED

    async def _live(self) -> int:
        """One life, from start to exit status."""
        self.started = asyncio.get_running_loop().time()
        with _output(self.command.log) as log:
            self._process = await asyncio.create_subprocess_exec(
                *leashed(self.command.arguments),
                env=self.command.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if self.command.speaks else log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which knows the order in which to stop
            )
        self.state = State.RUNNING
        if self._process.stdout is not None:
            async for line in self._process.stdout:
                self.said = line.decode(errors="replace").strip()
        return await self._process.wait()

    def _last_words(self) -> str:
        path = self.command.log
        if path is None:
            return "see its log lines above"
        with suppress(OSError), path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
            return "\n".join(["its last log lines:", *lines])
        return f"its log was {path}"


async def stop(children: Iterable[Child], hurry: asyncio.Event, extra_s: float = 0.0) -> None:
    """Ask them to end, and end them after `STOP_S` and `extra_s`, or as soon as `hurry` is set; return when none runs.

    Nothing starts them again: their `run` was cancelled before.
    """
    asked = list(children)
    for child in asked:
        child.signal(signal.SIGTERM)
    async with TaskGroup() as tasks:
        tasks.spawn("kill-late", _kill_late(asked, hurry, STOP_S + extra_s))
        for child in asked:
            await child.gone()


async def _kill_late(children: Iterable[Child], hurry: asyncio.Event, after_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(after_s):
            await hurry.wait()
    for child in children:
        child.signal(signal.SIGKILL)


@contextmanager
def _output(log: Path | None) -> Iterator[int]:
    """The file that a child writes to; our own standard error where there is none."""
    if log is None:
        yield sys.stderr.fileno()
        return
    with log.open("ab") as file:
        yield file.fileno()


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
