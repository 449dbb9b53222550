"""Builds price-ingest from its parts and keeps it running: one instance writes, the others stand by."""

import asyncio
from typing import Any

from services.price_ingest.book import Book
from services.price_ingest.figures import Figures
from services.price_ingest.pipeline import Pipeline
from services.price_ingest.settings import IngestSettings
from services.price_ingest.store import PriceStore
from shared.bus.retrying import keep_trying
from shared.dead_letters import DeadLetters
from shared.lease import Lease
from shared.lifecycle import Runtime
from shared.names import redis_keys


class IngestApp:
    """The service; see `shared.lifecycle.App`."""

    def __init__(self, runtime: Runtime, settings: IngestSettings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._lease = Lease(runtime.bus, redis_keys.PRICE_LEASE, runtime.instance)
        self._store = PriceStore(runtime.bus, self._lease, runtime.common.price_shards, runtime.clock)
        self._dead_letters = DeadLetters(runtime.bus, redis_keys.DEAD_PRICES, runtime.telemetry, runtime.clock)
        self._figures = Figures(runtime.telemetry, runtime.clock)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; an instance that only stands by is ready too."""
        self._task = self._runtime.tasks.spawn("price-ingest", keep_trying("price-ingest", self._hold))

    async def stop(self) -> None:
        """Give the lease back. What was read and not committed is read again by the next writer, as after a crash."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    def fill_report(self, report: dict[str, Any]) -> None:
        """See `shared.lifecycle.App`."""
        report["figures"] = self._figures.report()

    async def _hold(self) -> None:
        await self._lease.hold(self._work)

    async def _work(self) -> None:
        runtime = self._runtime
        publish_s = self._settings.price_publish_ms / 1000
        book = Book(self._settings.price_max_symbols)
        self._figures.set_active(active=True)
        try:
            await Pipeline(
                runtime.bus, self._store, self._dead_letters, self._figures, runtime.clock, publish_s, book
            ).run()
        finally:
            self._figures.set_active(active=False)
