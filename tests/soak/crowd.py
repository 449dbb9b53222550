"""The process of the good clients: `python -m tests.soak.crowd JOB`, JOB being JSON.

Asked as `helper` says: `{"do": "connect"}` (all of them, until every one is subscribed) and `{"do": "count"}`, which
tells what `Tally` holds, the delays since the last time, how late this process itself wakes up, and the trades of each
client. `Crowd` is the asking end, which keeps the ledger.
"""

import asyncio
import socket
import sys
import time
from time import monotonic
from typing import Any, Final, NamedTuple, Self

import msgspec
import uvloop

from services.launcher.errors import LauncherError
from services.launcher.leash import python_module
from services.launcher.load.answering import answer_questions
from services.launcher.load.clients import Ending, Tally
from services.launcher.load.helper import Helper
from services.launcher.load.histogram import Histogram
from shared.tasks import TaskGroup
from tests.chaos.ledger import Ledger
from tests.soak.good_client import GoodClient
from tests.soak.market import PRICED, TRADED, share
from tests.support.waiting import PATIENCE_S

AT_ONCE: Final = 50
"""Connections begun together."""

SAMPLED: Final = 50
"""Clients whose prices are looked into, of all."""

LAG_EVERY_S: Final = 0.02


class Job(msgspec.Struct, frozen=True):
    """Where how many clients go."""

    host: str
    port: int
    clients: int


class Counts(msgspec.Struct, frozen=True):
    """What all good clients have seen since the start.

    Attributes:
        served: connected and subscribed now.
        lost, rejected, gaps, updates, sampled: as `Tally` has them.
        errors: events that told of an error.
    """

    served: int
    lost: int
    rejected: int
    gaps: int
    updates: int
    errors: int


class Delays(msgspec.Struct, frozen=True):
    """Since the last look: from a tick's publication to its arrival, and how late the clients' own process woke up."""

    latency: Histogram
    lag: Histogram


class Look(NamedTuple):
    """What they have seen."""

    counts: Counts
    delays: Delays


class Members:
    """The clients of one process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._tally = Tally()
        self._lag = Histogram()
        self._clients: list[GoodClient] = []

    async def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked.

        Raises:
            LauncherError: a client did not get in.
        """
        if question["do"] == "connect":
            for first in range(0, self._job.clients, AT_ONCE):
                await asyncio.gather(*map(self._connect, range(first, min(first + AT_ONCE, self._job.clients))))
        return self._counted()

    async def watch_lag(self) -> None:
        """Measure how late this process wakes up, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self._lag.add(loop.time() - due)

    async def _connect(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        every = max(1, self._job.clients // SAMPLED) | 1  # odd: clients of both parsers are sampled
        client = GoodClient(
            share(PRICED, number),
            share(TRADED, number),
            self._tally,
            _now,
            packed=number % 2 == 1,
            sampled=number % every == 0,
        )
        self._clients.append(client)
        raw = socket.socket()
        raw.setblocking(False)  # noqa: FBT003 - its own interface
        raw.bind((f"127.2.{number // 200}.{number % 200 + 1}", 0))  # each a household of its own
        try:
            async with asyncio.timeout(PATIENCE_S):
                await loop.sock_connect(raw, (self._job.host, self._job.port))
                await loop.create_connection(lambda: client, sock=raw)
                while not client.served and not client.ended.done():  # noqa: ASYNC110 - a load client has no event
                    await asyncio.sleep(LAG_EVERY_S)
        except (OSError, TimeoutError) as error:
            raise LauncherError(f"good client {number} does not get in: {error!r}") from error
        if not client.served:
            raise LauncherError(f"good client {number} is turned away")

    def _counted(self) -> dict[str, Any]:
        lag, self._lag = self._lag, Histogram()
        trades = {number: taken for number, client in enumerate(self._clients) if (taken := client.take_trades())}
        return {
            **self._tally.take(),
            "lost": sum(client.ended.done() and client.ended.result() is Ending.LOST for client in self._clients),
            "errors": sum(client.errors for client in self._clients),
            "lag": lag.to_plain(),
            "trades": trades,
        }


class Crowd:
    """The asking end.

    Args:
        helper: the process.
        clients: how many it has.

    Attributes:
        ledger: every client has joined it, and every delivery is in it.
    """

    def __init__(self, helper: Helper, clients: int) -> None:
        self._helper = helper
        self._clients = clients
        self.ledger = Ledger()

    @classmethod
    async def start(cls, host: str, port: int, clients: int) -> Self:
        """Start the process and get every client served.

        Raises:
            LauncherError: one is not.
        """
        job = msgspec.json.encode(Job(host, port, clients)).decode()
        crowd = cls(await Helper.start("crowd", [*python_module("tests.soak.crowd"), job]), clients)
        await crowd._helper.ask({"do": "connect"}, patience_s=2 * PATIENCE_S)
        now = monotonic()
        for number in range(clients):
            crowd.ledger.join(str(number), share(TRADED, number), now)
        return crowd

    async def look(self) -> Look:
        """What there is since the last look; trades go into the ledger."""
        said = await self._helper.ask({"do": "count"})
        now = monotonic()
        for name, numbers in said["trades"].items():
            self.ledger.deliver(name, numbers, now)
        delays = {name: Histogram.from_plain(said[name]) for name in Delays.__struct_fields__}
        return Look(msgspec.convert(said, Counts), Delays(**delays))

    async def end(self) -> None:
        """Let all clients go."""
        await self._helper.end()


def _now() -> float:
    return time.time_ns() / 1e9


async def main(job: Job) -> None:
    """Serve until standard input ends."""
    async with TaskGroup() as tasks:
        members = Members(job)
        tasks.spawn("lag", members.watch_lag())
        await answer_questions(members.answer)


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Job)))
