"""The process of the hostile clients: `python -m tests.soak.attackers JOB`, JOB being JSON.

Asked as `helper` says: `{"do": "attack"}`, `{"do": "count"}` (kind -> what it has done so far), `{"do": "rest"}`. Each
attacker lives one connection after the other, from addresses that its kind shares (127.1.KIND.1 and on), with pauses
between them: the rate of an attack is bounded by how many attackers there are and how long they pause.
"""

import asyncio
import itertools
import os
import random
import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec
import uvloop

from services.launcher.errors import LauncherError
from services.launcher.load.answering import answer_questions
from shared.tasks import TaskGroup
from tests.soak import frame_kinds, http_kinds, packet_kinds
from tests.soak.kinds import Ground, Kind
from tests.soak.line import CutError, RefusedError, Toll

KINDS: Final = {kind.name: kind for kind in (*frame_kinds.KINDS, *packet_kinds.KINDS, *http_kinds.KINDS)}
NICENESS: Final = 10
"""Hostile clients yield to the good ones that share their core, whose delays are measured."""


class Job(msgspec.Struct, frozen=True):
    """What the process is for.

    Attributes:
        host, port: of the client port.
        kinds: names.
        seed: of all chance.
        pressure: divides every pause between connections.
    """

    host: str
    port: int
    kinds: list[str]
    seed: int
    pressure: float = 1.0


class Attackers:
    """All hostile clients of one process."""

    def __init__(self, job: Job, tasks: TaskGroup) -> None:
        self._job = job
        self._tasks = tasks
        self._tolls = {name: Toll() for name in job.kinds}
        self._working: list[asyncio.Task[None]] = []

    async def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        match question["do"]:
            case "attack":
                for name in self._job.kinds:
                    self._begin(name)
            case "rest":
                for task in self._working:
                    task.cancel()
                await asyncio.wait(self._working)
            case "count":
                pass
            case unknown:
                raise LauncherError(f"nothing is called {unknown!r}")
        return {name: toll.plain() for name, toll in self._tolls.items()}

    def _begin(self, name: str) -> None:
        kind = KINDS[name]()
        source = _addresses(kind)
        for number in range(kind.attackers):
            chance = random.Random(f"{self._job.seed}-{name}-{number}")
            ground = Ground((self._job.host, self._job.port), source, chance, self._tolls[name])
            self._working.append(self._tasks.spawn(f"{name}-{number}", self._work(kind, ground)))

    async def _work(self, kind: Kind, ground: Ground) -> None:
        """One attacker: life after life."""
        pause = kind.pause_s / self._job.pressure
        while True:
            await asyncio.sleep(ground.chance.uniform(0, pause))
            ground.toll.lives += 1
            try:
                line = await ground.line(small=kind.small)
            except RefusedError:
                ground.toll.refused += 1
                continue
            try:
                async with asyncio.timeout(kind.life_s):
                    await kind.attack(line, ground)
            except RefusedError:
                ground.toll.refused += 1
            except CutError:
                ground.toll.cut += 1
            except TimeoutError:
                pass  # it was let live for as long as it wanted
            finally:
                line.close()


def _addresses(kind: Kind) -> Callable[[], str]:
    """The addresses of a kind in turn, the same in every run."""
    turns = itertools.cycle(range(1, kind.addresses + 1))
    network = 1 + list(KINDS).index(kind.name)
    return lambda: f"127.1.{network}.{next(turns)}"


async def main(job: Job) -> None:
    """Attack when told to, until standard input ends."""
    os.nice(NICENESS)
    async with TaskGroup() as tasks:
        await answer_questions(Attackers(job, tasks).answer)


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Job)))
