"""Which units this replica owns: as many as are its share, so that replicas split the source streams between them.

Every replica says once a second that it lives, looks for source streams every few seconds, and takes units that nobody
owns as long as it has fewer than its share, which is the active units by the living replicas, rounded up. One that
comes finds nothing free until the others, whose share it has lowered, give units back, one at a time; one that goes
lets its leases go or run out, and no longer counts. A replica never tries for a unit that it could not keep.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from services.price_ingest.reader import Reader
from services.price_ingest.units import Unit, to_give_back, unit_of
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.clock import Clock
from shared.log import get_logger
from shared.names import redis_keys
from shared.tasks import TaskGroup
from shared.upstream.settings import UpstreamSettings
from shared.upstream.sources import FIXED_SOURCES, Source, find_sources

log = get_logger(__name__)

ROUND_S: Final = 0.5
COUNT_S: Final = 1.0
ALIVE_MS: Final = 4000
"""As long as a lease lives."""

FIND_S: Final = 3.0


class Replica:
    """The owner of some units.

    Args:
        bus: of the cluster.
        instance: this replica's name among the others.
        clock: spaces what is done.
        reader: is told what the streams hold.
        settings: which streams are upstream.
    """

    def __init__(self, bus: RedisBus, instance: str, clock: Clock, reader: Reader, settings: UpstreamSettings) -> None:
        self._bus = bus
        self._instance = instance
        self._clock = clock
        self._reader = reader
        self._settings = settings
        self._units: list[Unit] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._sources: dict[int, list[str]] = {}
        self._active: set[int] = set()
        self._replicas = 1
        self._learn(FIXED_SOURCES, ())

    def start(self, units: list[Unit], tasks: TaskGroup) -> None:
        """Begin to look for streams and to own units."""
        self._units = units
        for name, work in (("find-sources", self._find), ("balance-units", self._balance)):
            self._tasks.append(tasks.spawn(name, keep_trying(name, work)))

    async def stop(self) -> None:
        """Give every unit back and be counted no more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(unit.give_back() for unit in self._units))
        try:
            await self._count(alive_ms=0)
        except BusUnavailableError as error:
            log.info("replica_left_to_expire", error=error)

    def sources_of(self, unit: int) -> list[str]:
        """The source streams of a unit, as far as they are known now."""
        return self._sources.get(unit, [])

    async def _find(self) -> None:
        while True:
            sources = await find_sources(self._bus, self._settings)
            read = await self._bus.hash_all(redis_keys.PRICE_POSITIONS)
            self._learn(sources, (stream.decode(errors="replace") for stream in read))
            await asyncio.sleep(FIND_S)

    def _learn(self, sources: Sequence[Source], read: Iterable[str]) -> None:
        """Streams that exist now, and those that were read once: their units have symbols to care for."""
        self._reader.learn(sources)
        found: dict[int, list[str]] = {}
        for source in sources:
            found.setdefault(unit_of(source.stream), []).append(source.stream)
        self._sources = found
        self._active = {*found, *map(unit_of, read)}

    async def _balance(self) -> None:
        count_due = self._clock.monotonic()
        while True:
            if self._clock.monotonic() >= count_due:
                count_due = self._clock.monotonic() + COUNT_S
                await self._count(ALIVE_MS)
            surplus = to_give_back(self._units, len(self._active), self._replicas)
            if surplus > 0:
                await self._give_one_back()
            elif surplus < 0:
                await self._take(-surplus)
            await asyncio.sleep(ROUND_S)

    async def _count(self, alive_ms: int) -> None:
        self._replicas = int(
            await self._bus.run_script("count_replicas", [redis_keys.PRICE_REPLICAS], [self._instance, alive_ms])
        )

    async def _give_one_back(self) -> None:
        unit = next(unit for unit in self._units if unit.owned)
        log.info("unit_given_back", unit=unit.number, replicas=self._replicas)
        await unit.give_back()

    async def _take(self, room: int) -> None:
        for unit in self._units:
            if room and unit.number in self._active and not unit.owned:
                room -= await unit.attempt()
