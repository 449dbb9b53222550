"""Builds price-ingest from its parts and keeps it running: every replica works on its share of the units."""

import asyncio
import gc
from functools import partial
from typing import Any, Final

from services.price_ingest.book import Book
from services.price_ingest.candles import Charts
from services.price_ingest.chart_store import ChartStore
from services.price_ingest.figures import Figures
from services.price_ingest.homes import Homes
from services.price_ingest.intake import Gear
from services.price_ingest.pipeline import Pipeline
from services.price_ingest.reader import Reader
from services.price_ingest.relay import FEEDS, Relay
from services.price_ingest.replica import Replica
from services.price_ingest.settings import IngestSettings
from services.price_ingest.store import PriceStore
from services.price_ingest.units import Unit
from shared.dead_letters import DeadLetters
from shared.lease import Lease
from shared.lifecycle import Runtime
from shared.names import redis_keys
from shared.trimming import Trimmer, UpstreamTrimming
from shared.upstream import SymbolNames
from shared.upstream.settings import UpstreamSettings

COLLECT_EVERY: Final = (50_000, 20, 50)
"""`gc.set_threshold`: a read makes thousands of containers and no cycle; looking for cycles costs a tenth of all."""


class IngestApp:
    """The service; see `shared.lifecycle.App`."""

    def __init__(self, runtime: Runtime, settings: IngestSettings, upstream: UpstreamSettings) -> None:
        self._runtime = runtime
        self._settings = settings
        reader = Reader(SymbolNames.made_from(upstream.symbol_template, upstream.symbol_aliases))
        self._figures = Figures(runtime.telemetry, runtime.clock)
        self._gear = Gear(
            runtime.bus,
            settings,
            reader,
            Homes(runtime.bus, settings.price_max_symbols),
            DeadLetters(runtime.bus, redis_keys.DEAD_PRICES, runtime.telemetry, runtime.clock),
            self._figures,
            runtime.clock,
            UpstreamTrimming(Trimmer(runtime.bus, runtime.telemetry, runtime.clock), upstream),
        )
        self._relays: list[asyncio.Task[None]] = []
        self._replica = Replica(runtime.bus, runtime.instance, runtime.clock, reader, upstream)

    async def start(self) -> None:
        """Begin; a replica that owns nothing is ready too."""
        gc.set_threshold(*COLLECT_EVERY)
        tasks = self._runtime.tasks
        self._replica.start([self._make_unit(number) for number in range(redis_keys.PRICE_UNITS)], tasks)
        self._relays = [tasks.spawn(f"relay-{feed}", Relay(self._runtime, feed).run()) for feed in FEEDS]

    async def stop(self) -> None:
        """Give the leases back. What was read and not committed is read again by the next owner, as after a crash."""
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(self._replica.stop(), asyncio.wait(self._relays))

    def fill_report(self, report: dict[str, Any]) -> None:
        """See `shared.lifecycle.App`."""
        report["figures"] = self._figures.report()

    def _make_unit(self, number: int) -> Unit:
        """A unit; its stores live as long as the process, for they know what Redis has confirmed."""
        runtime, shards = self._runtime, self._runtime.common.price_shards
        lease = Lease(runtime.bus, redis_keys.price_lease(number), runtime.instance)
        store = PriceStore(runtime.bus, number, lease, self._gear.homes, shards, runtime.clock)
        charts = ChartStore(runtime.bus, number, lease, shards, self._settings.candle_history, runtime.clock)
        return Unit(number, lease, partial(self._work, store, charts), runtime.tasks)

    async def _work(self, store: PriceStore, charts: ChartStore) -> None:
        """What the owner of a unit does."""
        settings = self._settings
        book = Book(settings.quote_price, settings.price_stale_ms)
        candles = Charts(settings.candle_history, self._runtime.common.candle_grace_ms)
        sources = partial(self._replica.sources_of, store.unit)
        try:
            await Pipeline(self._gear, store, charts, book, candles, sources).run()
        finally:
            self._figures.hide_unit(store.unit)
