"""How far a gateway has read each log, told to Redis, so that nothing is trimmed that it has not read.

Fed by the gateway's feed of the logs every `TELL_S`; feeds `trim_stream.lua`, by way of the hashes
`redis_keys.log_readers`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys

TELL_S: Final = 2.0
LIVE_MS: Final = 60_000
"""A reader counts for so long after its last word. What is younger than a log's age limit stays without it too."""


class LogReaders:
    """One reader among those of the logs.

    Args:
        bus: where the logs live.
        instance: unique per process.
    """

    def __init__(self, bus: RedisBus, instance: str) -> None:
        self._bus = bus
        self._instance = instance

    async def tell(self, positions: Mapping[str, str]) -> None:
        """Say which entry of each log was read last, `0-0` for none; say so again within `LIVE_MS`.

        Raises:
            BusUnavailableError: told for none, some or all of the logs.
        """
        await asyncio.gather(*(self._note(log, position) for log, position in positions.items()))

    async def leave(self, logs: Iterable[str]) -> None:
        """Read no more: keep nothing from being trimmed.

        Raises:
            BusUnavailableError: what was told runs out by itself.
        """
        await asyncio.gather(*(self._note(log, "") for log in logs))

    async def _note(self, log: str, position: str) -> None:
        await self._bus.run_script("note_reader", [redis_keys.log_readers(log)], [self._instance, position, LIVE_MS])
