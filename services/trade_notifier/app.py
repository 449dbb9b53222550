"""The trade-notifier put together: finds upstream streams and gives each a `Consumer`.

Fed by every `shared.upstream` source that may hold trades; feeds the trade logs and user logs, and trims both ends.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from services.trade_notifier.consumer import Consumer
from services.trade_notifier.delivery import Delivery
from services.trade_notifier.retention import Retention
from services.trade_notifier.settings import NotifierSettings
from services.trade_notifier.tally import Tally
from shared.bus.retrying import keep_trying
from shared.dead_letters import DeadLetters
from shared.lifecycle import Runtime
from shared.log import get_logger
from shared.names import metrics, redis_keys
from shared.upstream import FIXED_SOURCES, Source, SymbolNames, UpstreamSettings, find_sources

log = get_logger(__name__)

RESCAN_S: Final = 5.0
MAX_STREAMS: Final = 512
"""Each one costs a task, up to two connections and a few small requests a second: 250 idle ones a tenth of a core."""


class NotifierApp:
    """See `shared.lifecycle.App`."""

    def __init__(self, runtime: Runtime, settings: NotifierSettings, upstream: UpstreamSettings) -> None:
        self._runtime = runtime
        self._upstream = upstream
        self._names = SymbolNames.made_from(upstream.symbol_template, upstream.symbol_aliases)
        self._tally = Tally(runtime.telemetry, runtime.clock)
        self._owned = runtime.telemetry.gauge(metrics.OWNED_STREAMS)
        self._owned.set_function(self._count_owned)
        self._delivery = Delivery(runtime.bus, runtime.common.trade_shards, settings)
        self._dead_letters = DeadLetters(runtime.bus, redis_keys.DEAD_TRADES, runtime.telemetry, runtime.clock)
        self._consumers: dict[str, Consumer] = {}
        self._retention = Retention(runtime, settings, upstream, self._owned_streams)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to look for streams, and to trim; the fixed one needs no finding."""
        self._consume(FIXED_SOURCES)
        for name, work in (("find-streams", self._find), ("trim", self._retention.run)):
            self._tasks.append(self._runtime.tasks.spawn(name, keep_trying(name, work)))

    async def stop(self) -> None:
        """Finish what is in hand and give every lease back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers.values()))

    def fill_report(self, report: dict[str, Any]) -> None:
        """See `shared.lifecycle.App`."""
        report["figures"] = {
            **self._tally.figures(),
            metrics.DEAD_LETTERS.name: self._dead_letters.total,
            metrics.OWNED_STREAMS.name: self._count_owned(),
        }

    def _owned_streams(self) -> list[str]:
        return [stream for stream, consumer in self._consumers.items() if consumer.owned]

    def _count_owned(self) -> int:
        return len(self._owned_streams())

    async def _find(self) -> None:
        while True:
            self._consume(await find_sources(self._runtime.bus, self._upstream))
            await asyncio.sleep(RESCAN_S)

    def _consume(self, sources: Iterable[Source]) -> None:
        for source in sources:
            if source.stream in self._consumers or not source.may_hold_trades:
                continue
            if len(self._consumers) >= MAX_STREAMS:
                log.error("too_many_upstream_streams", limit=MAX_STREAMS, stream=source.stream)
                return
            consumer = Consumer(
                source,
                self._runtime.bus,
                self._runtime.instance,
                self._delivery,
                self._dead_letters,
                self._tally,
                self._names,
            )
            self._consumers[source.stream] = consumer
            consumer.start(self._runtime.tasks)
