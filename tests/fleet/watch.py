"""How quickly gateways' event loops turn, seen from outside: `python -m tests.fleet.watch OPS_PORT:PID...`.

Ten times a second it asks each gateway's ops port for `/livez`, which answers when the event loop comes to it, twice a
second for `/metrics`, where the gateway says itself how late its timers are. Asked for anything as `helper` says, it
answers with the worst of both since the last time, and with the longest answer less what the gateway waited meanwhile
for a core that ran something else (`/proc/PID/schedstat`): that is its own work, on however busy a machine. `Watch` is
the asking end. A gateway that is away is not counted.
"""

import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any, Final, Self

import msgspec
import uvloop

from services.launcher.leash import python_module
from services.launcher.load.answering import answer_questions
from services.launcher.load.helper import Helper
from shared.names import metrics
from shared.tasks import TaskGroup
from tests.support.cluster import Service
from tests.support.edge import Backend
from tests.support.process_table import waited_s

HOST: Final = "127.0.0.1"
ASK_EVERY_S: Final = 0.1
SCRAPE_EVERY: Final = 5
"""Of those."""

PATIENCE_S: Final = 5.0
_content_length: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE).search
_LAG: Final = f"\n{metrics.LOOP_LAG.name} ".encode()


class Worst(msgspec.Struct):
    """Since the last time; seconds.

    Attributes:
        answer: from a question to its answer.
        work: the same without the time that the gateway waited for a core.
        told: what a gateway's own gauge said.
        answers: how many there were.
    """

    answer: float = 0.0
    work: float = 0.0
    told: float = 0.0
    answers: int = 0


@dataclass(slots=True)
class _Eye:
    """What looks."""

    worst: Worst

    async def look_at(self, port: int, pid: int) -> None:
        """For ever."""
        while True:
            try:
                await self._ask(pid, *await asyncio.open_connection(HOST, port))
            except TimeoutError:
                self.worst.answer = max(self.worst.answer, PATIENCE_S)
            except OSError:
                await asyncio.sleep(ASK_EVERY_S)  # it is away

    async def _ask(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Over one connection, so that an answer takes one turn of the event loop."""
        due = monotonic()
        try:
            for turn in count(1):
                due = max(due + ASK_EVERY_S, monotonic())
                await asyncio.sleep(due - monotonic())
                began, waited = monotonic(), waited_s(pid)
                await _get(reader, writer, b"/livez")
                answer = monotonic() - began
                self.worst.answer = max(self.worst.answer, answer)
                self.worst.work = max(self.worst.work, answer - (waited_s(pid) - waited))
                self.worst.answers += 1
                if turn % SCRAPE_EVERY == 0:
                    body = await _get(reader, writer, b"/metrics")
                    self.worst.told = max(self.worst.told, float(body.partition(_LAG)[2].split(b"\n")[0]))
        finally:
            writer.close()

    async def answer(self, _question: dict[str, Any]) -> dict[str, Any]:
        """Tell, and begin anew."""
        told, self.worst = self.worst, Worst()
        return dict(msgspec.structs.asdict(told))


class Watch:
    """A running watch; made by `start`."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    @classmethod
    async def start(cls, gateways: Sequence[Service]) -> Self:
        """Begin to look at gateways that are ready."""
        told = [f"{Backend.of(gateway).ops_port}:{gateway.process.pid}" for gateway in gateways]
        return cls(await Helper.start("watch", [*python_module("tests.fleet.watch"), *told]))

    async def worst(self) -> Worst:
        """Since the last time."""
        return Worst(**await self._helper.ask({}))

    async def end(self) -> None:
        """Look no more."""
        await self._helper.end()


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: bytes) -> bytes:
    """The body of an answer.

    Raises:
        ConnectionError: the gateway has gone.
        TimeoutError: it does not answer.
    """
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            length = _content_length(head)
            return await reader.readexactly(int(length[1]) if length else 0)
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError from error


async def main(gateways: Sequence[str]) -> None:
    """Look until standard input ends."""
    async with TaskGroup() as tasks:
        eye = _Eye(Worst())
        for gateway in gateways:
            port, _, pid = gateway.partition(":")
            tasks.spawn(f"look-{port}", eye.look_at(int(port), int(pid)))
        await answer_questions(eye.answer)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
