"""The trade-notifier put together: finds upstream streams and gives each a `Consumer`.

Fed by the streams `feed:trades` and `feed:trades:<n>`; feeds the trade logs and user logs.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from services.trade_notifier.consumer import Consumer
from services.trade_notifier.delivery import Delivery
from services.trade_notifier.settings import NotifierSettings
from services.trade_notifier.tally import Tally
from shared.bus.retrying import keep_trying
from shared.dead_letters import DeadLetters
from shared.lifecycle import Runtime
from shared.log import get_logger
from shared.names import metrics, redis_keys

log = get_logger(__name__)

RESCAN_S: Final = 5.0
MAX_STREAMS: Final = 256
"""Each one costs a task and two small requests a second; more of them than this is a mistake upstream."""


class NotifierApp:
    """See `shared.lifecycle.App`."""

    def __init__(self, runtime: Runtime, settings: NotifierSettings) -> None:
        self._runtime = runtime
        self._tally = Tally(runtime.telemetry)
        self._owned = runtime.telemetry.gauge(metrics.OWNED_STREAMS)
        self._owned.set_function(self._count_owned)
        self._delivery = Delivery(runtime.bus, runtime.common.trade_shards, settings)
        self._dead_letters = DeadLetters(runtime.bus, redis_keys.DEAD_TRADES, runtime.telemetry, runtime.clock)
        self._consumers: dict[str, Consumer] = {}
        self._finding: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look for streams; the unpartitioned one needs no finding."""
        self._consume([redis_keys.FEED_TRADES])
        self._finding = self._runtime.tasks.spawn("find-streams", keep_trying("find-streams", self._find))

    async def stop(self) -> None:
        """Finish what is in hand and give every lease back."""
        if self._finding is not None:
            self._finding.cancel()
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers.values()))

    def fill_report(self, report: dict[str, Any]) -> None:
        """See `shared.lifecycle.App`."""
        report["figures"] = {
            **self._tally.figures(),
            metrics.DEAD_LETTERS.name: self._dead_letters.total,
            metrics.OWNED_STREAMS.name: self._count_owned(),
        }

    def _count_owned(self) -> int:
        return sum(consumer.owned for consumer in self._consumers.values())

    async def _find(self) -> None:
        while True:
            found = await self._runtime.bus.find_streams(f"{redis_keys.FEED_TRADES}:*")
            self._consume(name for name in found if redis_keys.is_partition(name, redis_keys.FEED_TRADES))
            await asyncio.sleep(RESCAN_S)

    def _consume(self, streams: Iterable[str]) -> None:
        for stream in streams:
            if stream in self._consumers:
                continue
            if len(self._consumers) >= MAX_STREAMS:
                log.error("too_many_upstream_streams", most=MAX_STREAMS, ignored=stream)
                return
            consumer = Consumer(
                stream, self._runtime.bus, self._runtime.instance, self._delivery, self._dead_letters, self._tally
            )
            self._consumers[stream] = consumer
            consumer.start(self._runtime.tasks)
