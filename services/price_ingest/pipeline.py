"""Upstream streams in, published prices out: what the instance that holds the lease does.

Two loops share one `Book`. Reading folds entries into it as fast as they come; publishing takes what changed, at most
every `PRICE_PUBLISH_MS`. A position moves in the same step in which its entries are folded, so a commit always holds a
state and exactly the positions that led to it, and whatever fails is done again from the commit before.
"""

import asyncio
from collections import Counter
from typing import Final

from services.price_ingest.book import Book, Verdict
from services.price_ingest.feeds import Feed, Positions, feed_of, find_feeds
from services.price_ingest.figures import Figures
from services.price_ingest.normalise import read_ticks
from services.price_ingest.store import PriceStore
from shared.bus.entries import StreamEntry
from shared.bus.redis_bus import LONGEST_BLOCK_MS, RedisBus
from shared.clock import Clock
from shared.dead_letters import DeadLetter, DeadLetters
from shared.log import get_logger
from shared.tasks import TaskGroup

log = get_logger(__name__)

LOOK_S: Final = 3.0
"""How often partitions are looked for and positions compared with what the streams hold."""

READ_ENTRIES: Final = 1000
"""Entries of one read, over all streams; folding them keeps the event loop busy for some milliseconds."""

LEAST_ENTRIES: Final = 20
"""Of one stream in one read, however many streams there are."""


class Pipeline:
    """The service while it holds the lease; a new one is built each time.

    Args:
        bus: where upstream writes.
        store: where the prices go.
        dead_letters: where unusable price entries go. Those of trades are the trade-notifier's to keep.
        figures: what is counted.
        clock: measures the intervals.
        publish_s: `PRICE_PUBLISH_MS` in seconds.
        book: empty; `run` restores it.
    """

    def __init__(
        self,
        bus: RedisBus,
        store: PriceStore,
        dead_letters: DeadLetters,
        figures: Figures,
        clock: Clock,
        publish_s: float,
        book: Book,
    ) -> None:
        self._bus = bus
        self._store = store
        self._dead_letters = dead_letters
        self._figures = figures
        self._clock = clock
        self._publish_s = publish_s
        self._book = book
        self._positions = Positions({})
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Go on from what was committed, until cancelled.

        Raises:
            FencedError: another one took over.
            BusUnavailableError: Redis is away; build another one when it is back.
        """
        committed = await self._store.load()
        self._positions = Positions({name: at for name, at in committed.positions.items() if feed_of(name)})
        for symbol, price in committed.prices.items():
            self._book.restore(symbol, price)
        self._figures.set_symbols(len(self._book))
        await self._store.publish_all(committed.prices)
        log.info("prices_restored", symbols=len(self._book), positions=committed.positions)
        async with TaskGroup() as tasks:
            tasks.spawn("price-read", self._read())
            await self._publish()

    async def _publish(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            due = self._clock.monotonic() + self._publish_s
            changes = self._book.take()
            await self._store.save(changes, self._positions.take_moved())
            self._figures.count_published(sum(change.fresh for change in changes))
            await asyncio.sleep(max(0.0, due - self._clock.monotonic()))

    async def _read(self) -> None:
        look_due = self._clock.monotonic()
        behind = False
        while True:
            if self._clock.monotonic() >= look_due:
                await self._look_for_partitions()
                await self._look_for_gaps()
                look_due = self._clock.monotonic() + LOOK_S
            elif behind:
                await self._look_for_gaps()
            count = max(LEAST_ENTRIES, READ_ENTRIES // len(self._positions.now))
            replies = await self._bus.read(self._positions.now, count, LONGEST_BLOCK_MS)
            for stream, entries in replies.items():
                await self._take_in(stream, entries)
            behind = any(len(entries) == count for entries in replies.values())

    async def _look_for_partitions(self) -> None:
        left_out = self._positions.add(await find_feeds(self._bus))
        if left_out:
            log.warning("too_many_partitions", left_out=len(left_out), stream=left_out[0])

    async def _look_for_gaps(self) -> None:
        for gap in self._positions.reconcile(await self._bus.stream_ends(list(self._positions.now))):
            self._figures.count_gap(gap.reason)
            self._changed.set()
            log.warning("feed_gap", **gap._asdict())

    async def _take_in(self, stream: str, entries: list[StreamEntry]) -> None:
        feed = feed_of(stream)
        assert feed is not None, stream
        ticks, refused = read_ticks(entries)
        if feed is Feed.PRICES:  # first, for what fails here is read again
            await self._dead_letters.put([DeadLetter(stream, entry, error) for entry, error in refused])
        dropped: Counter[str] = Counter(map(self._book.fold, ticks))
        self._positions.move(stream, entries[-1].id)
        self._changed.set()
        accepted = dropped.pop(Verdict.ACCEPTED, 0)
        if feed is Feed.TRADES:
            dropped.update(error.refusal for _, error in refused)
        self._figures.count_read(feed, len(entries))
        self._figures.count_outcomes(accepted, dropped, len(self._book))
