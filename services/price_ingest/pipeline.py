"""One unit's source streams in, prices and candles out: what its owner does while it holds the lease.

Three loops share one state. Reading folds entries into it as fast as they come; publishing commits the prices that
changed, at once while they are few and every `PRICE_PUBLISH_MS` when they are many; drawing commits the candles that
changed, every `CHART_PUBLISH_MS`. Each commit holds the positions that led to it, so whatever fails is done again from
the commits before. What both lanes have committed of a stream may be trimmed.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from services.price_ingest.book import Book
from services.price_ingest.candles import Charts
from services.price_ingest.chart_store import ChartStore
from services.price_ingest.feeds import BEGINNING, Lane, Positions
from services.price_ingest.intake import SEEN_TRADES, Gear, Intake
from services.price_ingest.store import PriceStore
from shared.bus.redis_bus import LONGEST_BLOCK_MS
from shared.log import get_logger
from shared.messages import DecodeError
from shared.names import redis_keys
from shared.tasks import TaskGroup
from shared.trimming import PRICE_READER, TRIM_S

log = get_logger(__name__)

LOOK_S: Final = 3.0
"""How often new streams are taken up and positions compared with what the streams hold."""

WATCH_S: Final = 1.0
"""How often silent symbols are looked for, at most."""

READ_ENTRIES: Final = 1000
"""Entries of one read, over all streams; folding them keeps the event loop busy for some milliseconds."""

LEAST_ENTRIES: Final = 20
"""Of one stream in one read, however many streams there are."""

CROWD: Final = 5
"""Ticks in one commit that make the next one wait the whole interval; fewer wait a part of it, a single one none."""

MOST_REMEMBERED: Final = 10_000
"""Entries of one stream that are read back for the memory of trade ids."""


class Pipeline:
    """A unit while this replica owns it; a new one is built each time.

    Args:
        gear: shared with the replica's other units.
        store, chart_store: where prices and candles go.
        book, charts: empty; `run` restores them.
        sources: the unit's source streams, as far as they are known at the moment.
    """

    def __init__(
        self,
        gear: Gear,
        store: PriceStore,
        chart_store: ChartStore,
        book: Book,
        charts: Charts,
        sources: Callable[[], Iterable[str]],
    ) -> None:
        settings = gear.settings
        self._unit = store.unit
        self._bus = gear.bus
        self._gear = gear
        self._store = store
        self._chart_store = chart_store
        self._publish_s = settings.price_publish_ms / 1000
        self._draw_s = settings.chart_publish_ms / 1000
        self._watch_s = min(WATCH_S, settings.price_stale_ms / 4000) or WATCH_S
        self._book = book
        self._charts = charts
        self._sources = sources
        self._forward = redis_keys.price_forward(store.unit)
        self._positions = Positions({})
        self._changed = asyncio.Event()
        self._unpublished_since: float | None = None

    async def run(self) -> None:
        """Go on from what was committed, until cancelled.

        Raises:
            FencedError: another one took over, or Redis lost what had been committed.
            BusUnavailableError: Redis is away; build another one when it is back.
        """
        intake = await self._restore()
        async with TaskGroup() as tasks:
            tasks.spawn(f"unit-{self._unit}-read", self._read(intake))
            tasks.spawn(f"unit-{self._unit}-draw", self._draw())
            tasks.spawn(f"unit-{self._unit}-watch", self._watch())
            tasks.spawn(f"unit-{self._unit}-trim", self._trim())
            await self._publish(intake)

    async def _restore(self) -> Intake:
        committed = await self._store.load()
        charts = await self._chart_store.load(self._gear.homes.of_unit(self._unit))
        now = self._gear.clock.now_ms()
        for symbol, price in committed.prices.items():
            self._book.restore(symbol, price, now)
        for symbol, raw in charts.items():
            try:
                self._charts.restore(symbol, raw)
            except DecodeError as error:
                log.warning("chart_damaged", symbol=symbol, error=error)
        charted = await self._chart_store.load_positions()
        self._positions = Positions({Lane.PRICES: committed.positions, Lane.CHARTS: charted})
        self._show()
        await self._store.publish_all(committed.prices)
        await self._chart_store.publish(self._store.epoch, charts)
        log.info("prices_restored", unit=self._unit, symbols=len(self._book), charts=len(charts))
        return Intake(
            self._gear,
            self._store,
            self._chart_store,
            self._book,
            self._charts,
            self._positions,
        )

    async def _publish(self, intake: Intake) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            began = self._gear.clock.monotonic()
            read_at, self._unpublished_since = self._unpublished_since, None
            changes, moved = self._book.take(), self._positions.take_moved(Lane.PRICES)
            with self._gear.figures.timed_commit(Lane.PRICES):
                await self._store.save(changes, moved, intake.take_forwards())
            self._positions.commit(Lane.PRICES, moved)
            published = sum(change.fresh for change in changes)
            if published and read_at is not None:
                self._gear.figures.observe_publication(read_at)
            self._gear.figures.count_published(published)
            self._show()
            # A single tick goes at once; many share commits and publications, which cost more than the prices in them.
            ticks = sum(change.price.n for change in changes if change.fresh)
            pause = self._publish_s * min(1.0, max(0, ticks - 1) / (CROWD - 1))
            await asyncio.sleep(max(0.0, began + pause - self._gear.clock.monotonic()))

    async def _draw(self) -> None:
        while True:
            await asyncio.sleep(self._draw_s)
            changes = self._charts.take(self._gear.clock.now_ms())
            moved = self._positions.take_moved(Lane.CHARTS)
            if not changes and not moved:
                continue
            with self._gear.figures.timed_commit(Lane.CHARTS):
                forwarded = self._positions.done(self._forward)
                await self._chart_store.save(self._store.epoch, changes, moved, forwarded)
            self._positions.commit(Lane.CHARTS, moved)
            self._gear.figures.count_closed(sum(len(change.closed) for change in changes))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._watch_s)
            if self._book.look_for_stale(self._gear.clock.now_ms()):
                self._changed.set()
            self._show()

    async def _trim(self) -> None:
        """The streams that nobody reads but price-ingest; the others are trimmed by the trade-notifier."""
        trimming, ours = self._gear.trimming, set[str]()
        try:
            while True:
                await asyncio.sleep(TRIM_S)
                ours = {stream for stream in self._positions.now if self._gear.reader.reads_alone(stream)}
                for stream in sorted(ours):
                    await trimming.trim(stream, "", {PRICE_READER: self._positions.done(stream)})
        finally:
            for stream in ours:
                trimming.forget(stream)

    async def _read(self, intake: Intake) -> None:
        clock = self._gear.clock
        look_due = clock.monotonic()
        behind: Sequence[str] = ()
        while True:
            if clock.monotonic() >= look_due:
                await self._look_for_streams(intake)
                await self._look_for_gaps(list(self._positions.now))
                look_due = clock.monotonic() + LOOK_S
            elif behind:
                await self._look_for_gaps(behind)
            count = max(LEAST_ENTRIES, READ_ENTRIES // len(self._positions.now))
            replies = await self._bus.read(self._positions.now, count, LONGEST_BLOCK_MS)
            for stream, entries in replies.items():
                if self._unpublished_since is None:
                    self._unpublished_since = clock.monotonic()
                await intake.take_in(stream, entries)
                self._changed.set()
                await asyncio.sleep(0)  # the commits' turn: many streams together are much to fold
            behind = [stream for stream, entries in replies.items() if len(entries) == count]

    async def _look_for_streams(self, intake: Intake) -> None:
        known = set(self._positions.now)
        left_out = self._positions.add([self._forward, *self._sources()])
        if left_out:
            log.warning("too_many_streams", unit=self._unit, streams=len(left_out), stream=left_out[0])
        most = min(MOST_REMEMBERED, SEEN_TRADES // len(self._positions.now))
        for stream, position in self._positions.now.items():
            if stream not in known and position != BEGINNING:
                intake.remember(stream, await self._bus.read_back(stream, position, most))

    async def _look_for_gaps(self, streams: Sequence[str]) -> None:
        for gap in self._positions.reconcile(await self._bus.stream_ends(streams)):
            self._gear.figures.count_gap(gap.reason)
            self._changed.set()
            log.warning(
                "feed_gap",
                stream=gap.stream,
                reason=gap.reason,
                position=gap.position,
                first=gap.first,
                last=gap.last,
            )

    def _show(self) -> None:
        self._gear.figures.show_unit(self._unit, len(self._book), self._book.stale)
