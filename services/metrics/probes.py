"""What metrics asks Redis: the services' reports, how long the streams are, how far the notifiers are.

Fed by Redis alone; feeds `snapshot` and `gauges`. Everything raises `BusUnavailableError` while Redis is away.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from services.metrics.snapshot import sum_groups
from shared.bus.entries import GroupInfo
from shared.bus.errors import GroupMissingError
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.names import redis_keys

RESCAN_S: Final = 5.0
"""How often partitions of the feeds are looked for; a scan reads the names of all keys."""

MAX_PARTITIONS: Final = 256
"""Of one feed; more are not looked at."""


class StreamStates(NamedTuple):
    """The streams at one moment.

    Attributes:
        lengths: stream -> entries. A feed with partitions is one stream.
        notifiers: how far the trade-notifiers are in `feed:trades`.
    """

    lengths: dict[str, int]
    notifiers: GroupInfo


class Probes:
    """The questions. Their number does not grow with clients or symbols.

    Args:
        bus: answers.
        clock: ages, and when to look for partitions again.
        trade_shards: how many trade logs and user logs there are.
    """

    def __init__(self, bus: RedisBus, clock: Clock, trade_shards: int) -> None:
        self._bus = bus
        self._clock = clock
        self._fixed = fixed_streams(trade_shards)
        self._prices = [redis_keys.FEED_PRICES]
        self._trades = [redis_keys.FEED_TRADES]
        self._scan_due = clock.monotonic()

    async def reports(self) -> dict[bytes, bytes]:
        """Instance -> encoded `ServiceReport`."""
        return await self._bus.hash_all(redis_keys.SERVICE_REPORTS)

    async def remove_reports(self, instances: Sequence[bytes]) -> None:
        """Take away reports of the dead."""
        if instances:
            await self._bus.hash_delete(redis_keys.SERVICE_REPORTS, instances)

    async def streams(self) -> StreamStates:
        """Lengths, and the state of the notifiers' group."""
        await self._find_partitions()
        lengths = {stream: await self._bus.length(stream) for stream in self._fixed}
        notifiers = sum_groups([await self._group(stream) for stream in self._trades])
        lengths[redis_keys.FEED_PRICES] = sum([await self._bus.length(stream) for stream in self._prices])
        lengths[redis_keys.FEED_TRADES] = notifiers.length
        return StreamStates(lengths, notifiers)

    async def _find_partitions(self) -> None:
        if self._clock.monotonic() < self._scan_due:
            return
        self._prices = await self._with_partitions(redis_keys.FEED_PRICES)
        self._trades = await self._with_partitions(redis_keys.FEED_TRADES)
        self._scan_due = self._clock.monotonic() + RESCAN_S

    async def _with_partitions(self, feed: str) -> list[str]:
        found = await self._bus.find_streams(f"{feed}:*")
        return [feed, *[name for name in found if redis_keys.is_partition(name, feed)][:MAX_PARTITIONS]]

    async def _group(self, stream: str) -> GroupInfo:
        try:
            return await self._bus.group_info(stream, redis_keys.TRADE_GROUP, self._clock.now_ms())
        except GroupMissingError:  # no notifier has been here yet: all of it is unread
            length = await self._bus.length(stream)
            return GroupInfo(length, length, 0, 0)


def fixed_streams(trade_shards: int) -> tuple[str, ...]:
    """Streams whose names are known beforehand, without the feeds."""
    shards = range(trade_shards)
    logs = [key(shard) for key in (redis_keys.trade_log, redis_keys.user_log) for shard in shards]
    return (*logs, redis_keys.DEAD_PRICES, redis_keys.DEAD_TRADES)
