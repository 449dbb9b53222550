"""One process of the generator: keeps its share of the clients connected, and watches that it keeps up itself.

Started by `crew` as `python -m services.launcher.load.worker JOB`, JOB being JSON, then asked as `helper` says:
`{"do": "ramp", "first", "stop", "per_s"}`, `stall`, `storm`, `churn` and `calm`, `count`. A client whose connection
ends comes back after the stock client's own delays, except one that was to stall.
"""

import asyncio
import random
import socket
import sys
import time
from typing import Any, Final

import msgspec
import uvloop

from services.launcher.errors import LauncherError
from services.launcher.load.answering import answer_questions
from services.launcher.load.clients import Ending, LoadClient, Tally
from services.launcher.load.histogram import Histogram
from services.launcher.load.scenario import Scenario
from shared.backoff import Backoff
from shared.tasks import TaskGroup

CONNECT_S: Final = 10.0
LAG_EVERY_S: Final = 0.02
MOST_SAMPLED: Final = 50
"""Clients of the whole generator that look into what they get."""

_STALLED_BUFFER: Final = 4096
"""Receive buffer of a client that will stall, in bytes: the kernel is not to hide it."""

_CHURN_EVERY_S: Final = 0.01


class Job(msgspec.Struct, frozen=True):
    """What a worker is for: `number` of `workers`, it has every client `n` with `n % workers == number`."""

    scenario: Scenario
    host: str
    port: int
    number: int


class Worker:
    """The clients of one process."""

    def __init__(self, job: Job, tasks: TaskGroup) -> None:
        self._job = job
        self._tasks = tasks
        self._tally = Tally()
        self._lag = Histogram()
        self._clients: dict[int, LoadClient] = {}
        self._stalling = False
        self._churning: asyncio.Task[None] | None = None
        every = max(1, job.scenario.clients // MOST_SAMPLED)
        self._sample_every = every + (every % 2 == 0)  # odd: of `both` parsers, clients of both are sampled

    async def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked, or begin to."""
        match question["do"]:
            case "ramp":
                self._tasks.spawn("ramp", self._ramp(question["first"], question["stop"], question["per_s"]))
            case "stall":
                self._stall()
            case "storm":
                for client in self._clients.values():
                    client.drop()
            case "churn":
                self._churning = self._tasks.spawn("churn", self._churn(question["per_s"]))
            case "calm":
                self._calm()
            case "count":
                return self._counted()
            case unknown:
                raise LauncherError(f"nothing is called {unknown!r}")
        return {}

    def _stall(self) -> None:
        self._stalling = True
        for number, client in self._clients.items():
            if self._job.scenario.is_slow(number):
                client.stall()

    def _calm(self) -> None:
        if self._churning is not None:
            self._churning.cancel()

    def _counted(self) -> dict[str, Any]:
        lag, self._lag = self._lag, Histogram()
        return {**self._tally.take(), "lag": lag.to_plain(), "cpu_s": time.process_time()}

    async def watch_lag(self) -> None:
        """Measure how late this process wakes up, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self._lag.add(loop.time() - due)

    async def _ramp(self, first: int, stop: int, per_s: float) -> None:
        scenario = self._job.scenario
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(first, stop):
            if number % scenario.workers == self._job.number:
                due = began + (number - first) / per_s
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                self._tasks.spawn(f"client {number}", self._live(number))

    async def _live(self, number: int) -> None:
        """One client, connection after connection."""
        backoff = Backoff(base=1.0, cap=5.0, random=random.random)
        symbols = self._job.scenario.symbols_of(number)
        while True:
            client = self._clients[number] = self._make(number, symbols)
            ending = await self._connection(number, client)
            if ending is Ending.DROPPED:
                continue
            if ending is Ending.LOST:
                self._tally.lost += 1
                backoff.reset()
            elif ending is Ending.REFUSED:
                self._tally.refused += 1
            else:
                self._tally.failed += 1
            if self._stalling and self._job.scenario.is_slow(number):
                return
            await asyncio.sleep(backoff.next_delay())

    async def _connection(self, number: int, client: LoadClient) -> Ending:
        loop = asyncio.get_running_loop()
        host, port = self._job.host, self._job.port
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        made.setblocking(False)  # noqa: FBT003 - the only way to say it
        if self._job.scenario.is_slow(number):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _STALLED_BUFFER)
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(made, (host, port))
                await loop.create_connection(lambda: client, sock=made)
        except (OSError, TimeoutError):
            made.close()
            return Ending.FAILED
        return await client.ended

    def _make(self, number: int, symbols: list[str]) -> LoadClient:
        scenario = self._job.scenario
        return LoadClient(
            symbols,
            {"deliver": scenario.deliver},
            self._tally,
            _now,
            packed=scenario.parser == "msgpack" or (scenario.parser == "both" and number % 2 == 1),
            sampled=number % self._sample_every == 0 and not scenario.is_slow(number),
        )

    async def _churn(self, per_s: float) -> None:
        """Swap symbols of clients in turn, `per_s` of them a second."""
        loop = asyncio.get_running_loop()
        chance = random.Random(self._job.number)  # noqa: S311 - a load test that can be repeated
        began, swapped = loop.time(), 0
        while True:
            await asyncio.sleep(_CHURN_EVERY_S)
            due = int((loop.time() - began) * per_s)
            ready = [client for client in self._clients.values() if client.served]
            for turn in range(swapped, due if ready else swapped):
                self._swap(ready[turn % len(ready)], chance)
            swapped = due

    def _swap(self, client: LoadClient, chance: random.Random) -> None:
        left = chance.choice(client.symbols)
        had = set(client.symbols)
        client.swap(left, chance.choice([name for name in self._job.scenario.symbol_names() if name not in had]))


def _now() -> float:
    return time.time_ns() / 1e9


async def main(job: Job) -> None:
    """Work until standard input ends."""
    async with TaskGroup() as tasks:
        worker = Worker(job, tasks)
        tasks.spawn("lag", worker.watch_lag())
        await answer_questions(worker.answer)


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Job)))
