"""One upstream stream of trades, read by one replica at a time, in order, each entry done before it is acknowledged.

Fed by a `shared.upstream.Source`; feeds `delivery` and the dead letters. Why nothing is lost, doubled or
reordered when replicas die or freeze: the README beside this file.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from services.trade_notifier.delivery import Delivery
from services.trade_notifier.recipients import FeedTrade
from services.trade_notifier.sorting import Sorted, sort_out
from services.trade_notifier.tally import Tally
from shared.bus.entries import StreamEntry, parse_entries
from shared.bus.errors import GroupMissingError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.dead_letters import DeadLetters
from shared.lease import Lease
from shared.log import get_logger
from shared.names import metrics, redis_keys
from shared.tasks import TaskGroup
from shared.upstream import Source, SymbolNames

log = get_logger(__name__)

BATCH: Final = 1000
"""Entries in hand at most."""

WAIT_MS: Final = 500
"""How long one wait for news lasts; a stop is noticed in between."""

STOP_CHECK_S: Final = 0.1

UNCONFIRMED_LOG_S: Final = 10.0
"""At most one log line of appends that no replica confirmed in so long."""

_BEGIN: Final = "0-0"
_GROUP: Final = redis_keys.TRADE_GROUP
_CONSUMER: Final = redis_keys.TRADE_CONSUMER


class Consumer:
    """The reader of one upstream stream; stands by while another replica reads it.

    Args:
        source: the stream, and whether it may hold more than trades.
        bus: where it lives.
        owner: unique per process.
        delivery: takes the good trades.
        dead_letters: takes the others.
        tally: counts.
        names: what upstream's symbols are called here.
    """

    def __init__(
        self,
        source: Source,
        bus: RedisBus,
        owner: str,
        delivery: Delivery,
        dead_letters: DeadLetters,
        tally: Tally,
        names: SymbolNames | None = None,
    ) -> None:
        self.stream = source.stream
        self._source = source
        self._bus = bus
        self._lease = Lease(bus, redis_keys.feed_lease(self.stream), owner)
        self._delivery = delivery
        self._dead_letters = dead_letters
        self._tally = tally
        self._names = names
        self._stopping = False
        self._unconfirmed_due = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def owned(self) -> bool:
        """Whether this replica believes that it is the one that reads the stream."""
        return self._lease.held

    def start(self, tasks: TaskGroup) -> None:
        """Begin to read, or to stand by."""
        self._task = tasks.spawn(f"consume-{self.stream}", keep_trying(f"consume-{self.stream}", self._hold))

    async def stop(self) -> None:
        """Finish and acknowledge the batch in hand, give the lease back, end."""
        self._stopping = True
        assert self._task is not None
        while not self._task.done():
            if not self._lease.held:
                self._task.cancel()  # it waits for the lease or for Redis: there is nothing in hand
            await asyncio.wait({self._task}, timeout=STOP_CHECK_S)

    async def _hold(self) -> None:
        if not self._stopping:
            await self._lease.hold(self._consume)

    async def _consume(self) -> None:
        """Everything that the holder of the lease does, from the takeover until told to stop."""
        await self._delivery.open(self.stream, self._lease.stamp)
        while not self._stopping:
            try:
                await self._take_over()
                await self._follow()
            except GroupMissingError:
                await self._make_group()

    async def _make_group(self) -> None:
        keys = [self.stream, redis_keys.feed_position(self.stream)]
        after = await self._bus.run_script("make_group", keys, [_GROUP])
        if after is not None:
            log.info("group_made", stream=self.stream, position=after.decode())

    async def _take_over(self) -> None:
        """Do what former owners read and did not acknowledge: all of it, whatever its age, for they are fenced off."""
        start, redelivered = _BEGIN, 0
        while not self._stopping:
            start, entries, trimmed = await self._bus.claim(self.stream, _GROUP, _CONSUMER, start, BATCH)
            self._declare_gap(trimmed)
            if entries:
                redelivered += len(entries)
                self._tally.add(metrics.REDELIVERED, len(entries))
                await self._process(entries)
            if start == _BEGIN:
                break
        if redelivered:
            log.info("pending_taken_over", stream=self.stream, entries=redelivered)

    async def _follow(self) -> None:
        """Read on until told to stop."""
        while not self._stopping:
            entries, position = await self._read()
            if entries:
                await self._process(entries)
            else:
                # A plain read takes nothing from the group: a reader that freezes in it can be passed over.
                await self._bus.read({self.stream: position}, count=1, block_ms=WAIT_MS)

    async def _read(self) -> tuple[list[StreamEntry], str]:
        """New entries, and the id of the last one that the group was ever given."""
        keys = [self._lease.key, self.stream]
        raw, trimmed, last = await self._bus.run_script(
            "read_group", keys, [self._lease.stamp, _GROUP, _CONSUMER, BATCH]
        )
        self._declare_gap(trimmed)
        return parse_entries(raw), last.decode()

    async def _process(self, entries: Sequence[StreamEntry]) -> None:
        """Deliver entries and acknowledge them, in parts: one entry can hold a thousand trades."""
        for part in sort_out(self._source, entries, self._names):
            if not await self._deliver(part.trades):
                return  # told to stop; the next owner does what is pending
            await self._finish(part)

    async def _deliver(self, trades: Sequence[FeedTrade]) -> bool:
        """Append until enough replicas have it all; False where told to stop before."""
        new = notified = 0
        while True:
            appended = await self._delivery.append(self.stream, self._lease.stamp, trades)
            new += appended.trades
            notified += appended.notifications
            if not appended.unconfirmed:
                break
            self._declare_unconfirmed(appended.unconfirmed)
            if self._stopping:
                break
        if new and not appended.unconfirmed:
            self._tally.observe_age(min(found.trade.ts for found in trades))
        self._tally.add(metrics.TRADES, new)
        self._tally.add(metrics.NOTIFICATIONS, notified)
        self._tally.add(metrics.DUPLICATES, 0 if appended.unconfirmed else len(trades) - new)
        return not appended.unconfirmed

    async def _finish(self, part: Sorted) -> None:
        """All trades of these entries are in the logs: keep the others, acknowledge."""
        self._declare_gap(part.gone)
        await self._dead_letters.put(part.refused)
        keys = [self._lease.key, self.stream, redis_keys.feed_position(self.stream)]
        await self._bus.run_script("finish_batch", keys, [self._lease.stamp, _GROUP, *part.entries])
        self._tally.add(metrics.NO_TRADES, part.ignored)

    def _declare_unconfirmed(self, logs: Sequence[str]) -> None:
        self._tally.add(metrics.UNCONFIRMED, len(logs))
        now = asyncio.get_running_loop().time()
        if now >= self._unconfirmed_due:
            self._unconfirmed_due = now + UNCONFIRMED_LOG_S
            log.warning("append_unconfirmed", stream=self.stream, logs=logs, hint="fewer than LOG_REPLICAS answer")

    def _declare_gap(self, entries: int) -> None:
        if entries:
            self._tally.add(metrics.TRIMMED, entries)
            log.error("upstream_gap", stream=self.stream, entries=entries, hint="raise the upstream's MAXLEN")
