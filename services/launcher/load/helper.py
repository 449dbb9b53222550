"""The other processes of a load test: started, asked one thing at a time, ended with us.

A helper reads one JSON object a line from standard input and answers each with one on standard output; it ends when its
input does. Fed by `run`; workers, our publisher and the publishers of other servers all speak so.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self

from services.launcher.errors import LauncherError
from services.launcher.leash import leashed

ANSWER_S: Final = 30.0
END_S: Final = 3.0
_LINE_BYTES: Final = 2**22


class Helper:
    """One process; made by `start`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._turn = asyncio.Lock()
        self._owes_answer = False

    @classmethod
    async def start(cls, name: str, words: Sequence[str], environment: Mapping[str, str] | None = None) -> Self:
        """Start it on a leash: it does not outlive us.

        Args:
            name: what users call it.
            words: command line; the program as an absolute path.
            environment: all of it; None: ours.
        """
        process = await asyncio.create_subprocess_exec(
            *leashed(words),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is ours; we tell it
        )
        return cls(name, process)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def ask(self, question: Mapping[str, Any], patience_s: float = ANSWER_S) -> dict[str, Any]:
        """Put one question and return the answer.

        Raises:
            LauncherError: it has died, does not answer in time, or says that it cannot.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._owes_answer = True
            try:
                async with asyncio.timeout(patience_s):
                    self._process.stdin.write(json.dumps(question).encode() + b"\n")
                    await self._process.stdin.drain()
                    line = await self._process.stdout.readline()
            except TimeoutError:
                raise LauncherError(f"the {self.name} does not answer within {patience_s:g} s") from None
            except ConnectionError:
                line = b""
            self._owes_answer = False
        if not line:
            raise LauncherError(f"the {self.name} has ended", "see what it said above")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise LauncherError(f"the {self.name} answers {line[:80]!r}, which is no JSON") from None
        if "error" in answer:
            raise LauncherError(f"the {self.name}: {answer['error']}", str(answer.get("hint", "")))
        return answer

    async def end(self) -> None:
        """Close its input, and end it if that is not enough, or if nobody waits for its last answer any more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(0 if self._owes_answer else END_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
