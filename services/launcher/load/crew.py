"""All workers of a generator, asked together, and what they have counted, added up.

Fed by `worker` processes; feeds `observer`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

import msgspec

from services.launcher.leash import python_module
from services.launcher.load.helper import Helper
from services.launcher.load.histogram import Histogram, merged
from services.launcher.load.scenario import Scenario
from services.launcher.load.target import Target
from services.launcher.load.worker import Job

_HISTOGRAMS: Final = ("latency", "connecting", "answers", "lag")


class Counts(msgspec.Struct, frozen=True):
    """What clients have seen since the start; `served` is how many are connected and subscribed now.

    Attributes:
        refused, failed, lost: connections that the server refused, that could not be made, that ended by themselves.
        rejected: subscriptions answered with an error.
        unreadable: price events that were none.
        updates, pairs: prices delivered, by `price:update` and by `price:batch`.
        sampled, represented: prices that were looked into, and how many ticks they stood for.
        gaps: of those, how many did not follow the one before by `seq` and `n`.
    """

    served: int = 0
    refused: int = 0
    failed: int = 0
    lost: int = 0
    rejected: int = 0
    unreadable: int = 0
    frames: int = 0
    received_bytes: int = 0
    updates: int = 0
    pairs: int = 0
    sampled: int = 0
    represented: int = 0
    gaps: int = 0

    def combine(self, other: "Counts", sign: int = 1) -> "Counts":
        """Sum, or difference with `sign` -1."""
        return Counts(**{name: getattr(self, name) + sign * getattr(other, name) for name in self.__struct_fields__})


class Tallied(msgspec.Struct, frozen=True):
    """One look at all workers.

    Attributes:
        counts: since the start.
        cpu_s: processor time of each worker since its start.
        latency, connecting, answers, lag: since the last look.
    """

    counts: Counts
    cpu_s: list[float]
    latency: Histogram
    connecting: Histogram
    answers: Histogram
    lag: Histogram


class Crew:
    """The workers; made by `start`, ended by `end`."""

    def __init__(self, workers: list[Helper]) -> None:
        self._workers = workers

    @classmethod
    async def start(cls, scenario: Scenario, target: Target) -> Self:
        """Start every worker; none connects a client yet."""
        jobs = [Job(scenario, target.host, target.port, number) for number in range(scenario.workers)]
        words = [(*python_module("services.launcher.load.worker"), msgspec.json.encode(job).decode()) for job in jobs]
        return cls([await Helper.start("generator", line) for line in words])

    async def tell(self, order: Mapping[str, Any]) -> None:
        """Have every worker do something."""
        await self._ask_all(order)

    async def look(self) -> Tallied:
        """What all of them have counted.

        Raises:
            LauncherError: a worker has died.
        """
        answers = await self._ask_all({"do": "count"})
        counts = Counts()
        for answer in answers:
            counts = counts.combine(msgspec.convert(answer, Counts))
        return Tallied(
            counts,
            [answer["cpu_s"] for answer in answers],
            *(_merged(answer[name] for answer in answers) for name in _HISTOGRAMS),
        )

    async def end(self) -> None:
        """Let all clients go."""
        await asyncio.gather(*(worker.end() for worker in self._workers))

    async def _ask_all(self, order: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await asyncio.gather(*(worker.ask(order) for worker in self._workers))


def _merged(plain: Iterable[Mapping[str, float]]) -> Histogram:
    return merged(Histogram.from_plain(one) for one in plain)
