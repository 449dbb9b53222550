"""What the trade-notifier trims: the upstream streams that this replica reads, and the logs, if it reads `feed:trades`.

Fed by `app` with who owns what; why nothing unread goes is said in `shared.trimming`.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from services.trade_notifier.settings import NotifierSettings
from shared.lifecycle import Runtime
from shared.names import redis_keys
from shared.trimming import TRIM_S, Keep, PriceReaders, Trimmer, UpstreamTrimming
from shared.upstream import UpstreamSettings

_MINUTE_MS: Final = 60_000


class Retention:
    """The loop that trims.

    Args:
        runtime: of the service.
        settings: what is kept of the logs.
        upstream: what is kept of upstream streams.
        owned: the streams that this replica reads now. One has a single reader, so one replica trims it; should two of
            them believe so for a moment, the same is trimmed twice.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: NotifierSettings,
        upstream: UpstreamSettings,
        owned: Callable[[], Collection[str]],
    ) -> None:
        shards = range(runtime.common.trade_shards)
        self._logs = [key(shard) for key in (redis_keys.trade_log, redis_keys.user_log) for shard in shards]
        self._keep = Keep(settings.trade_log_minutes * _MINUTE_MS, settings.trade_log_length)
        self._trimmer = Trimmer(runtime.bus, runtime.telemetry, runtime.clock)
        self._upstream = UpstreamTrimming(self._trimmer, upstream)
        self._prices = PriceReaders(runtime.bus, runtime.instance, runtime.clock)
        self._owned = owned
        self._trimmed: set[str] = set()

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            BusUnavailableError: Redis is away; run it again.
        """
        while True:
            await asyncio.sleep(TRIM_S)  # first: who has just begun is behind, and that is no alarm
            await self.trim()

    async def trim(self) -> None:
        """Once."""
        await self._prices.look()
        streams = set(self._owned())
        logs = set(self._logs) if redis_keys.FEED_TRADES in streams else set[str]()
        for stream in self._trimmed - streams - logs:
            self._trimmer.forget(stream)
        self._trimmed = streams | logs
        for log in sorted(logs):
            await self._trimmer.trim_log(log, self._keep)
        for stream in sorted(streams):
            await self._upstream.trim(stream, redis_keys.TRADE_GROUP, self._prices.positions(stream))
