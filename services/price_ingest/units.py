"""One unit of source streams as one replica sees it: tried for, owned and worked on, given back.

Driven by `services.price_ingest.replica`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final
from zlib import crc32

from shared.bus.errors import BusUnavailableError
from shared.lease import Lease
from shared.log import get_logger
from shared.names import redis_keys
from shared.tasks import TaskGroup
from shared.upstream.sources import unit_name

log = get_logger(__name__)

_FORWARDS: Final = {redis_keys.price_forward(unit): unit for unit in range(redis_keys.PRICE_UNITS)}


def unit_of(stream: str) -> int:
    """The unit that a source stream or a forward stream belongs to."""
    unit = _FORWARDS.get(stream)
    return crc32(unit_name(stream).encode()) % redis_keys.PRICE_UNITS if unit is None else unit


class Unit:
    """A unit, owned or not.

    Args:
        number: 0 to `redis_keys.PRICE_UNITS` - 1.
        lease: its own.
        work: what its owner does, until cancelled.
        tasks: where the work runs.
    """

    def __init__(self, number: int, lease: Lease, work: Callable[[], Awaitable[None]], tasks: TaskGroup) -> None:
        self.number = number
        self._lease = lease
        self._work = work
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None

    @property
    def owned(self) -> bool:
        """Whether this replica works on it."""
        return self._task is not None and not self._task.done()

    async def attempt(self) -> bool:
        """Own the unit from now on, if no other replica does; whether it is so.

        Raises:
            BusUnavailableError: Redis is away.
        """
        if not await self._lease.take():
            return False
        self._task = self._tasks.spawn(f"unit-{self.number}", self._own())
        return True

    async def give_back(self) -> None:
        """Stop working, release the lease. What was not committed is read again by the next owner, as after a crash."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _own(self) -> None:
        try:
            await self._lease.use(self._work)
        except BusUnavailableError as error:  # the replica tries again, as soon as it has Redis itself
            log.warning("redis_unavailable", task=f"unit-{self.number}", error=error)


def to_give_back(units: Collection[Unit], active: int, replicas: int) -> int:
    """How many of the owned units are more than this replica's share; below zero: how many it may still take."""
    share = -(-active // max(1, replicas))
    return sum(unit.owned for unit in units) - share
