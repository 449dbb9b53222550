"""Candles from Redis: Pub/Sub for the news, history and snapshot for the truth, the clock for the flat bars.

Only shards in which a client watches a chart are subscribed, and only candles of watched symbols are decoded. A chart
is read, in one step, once its shard's subscription is confirmed; what is published meanwhile is merged by `rev`.
Pub/Sub may lose: so at each confirmation and each new epoch charts are read again, and their newest candles every 30 s.
Feeds `ChartFanout` with bars, and `ChartRequests` with charts that are ready.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from services.gateway.chart_fanout import ChartFanout
from services.gateway.charts import MOST_BARS, Series
from services.gateway.due_heap import DueHeap
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.bus.subscription import Silence, Subscription
from shared.clock import Clock
from shared.log import get_logger
from shared.messages import VERSION, Candle, Chart, DecodeError, decode_candle, decode_chart, decode_chart_batch
from shared.names import redis_keys
from shared.tasks import TaskGroup

log = get_logger(__name__)

RESYNC_S: Final = 30.0
RESYNC_CANDLES: Final = 20
"""Closed ones, newest: a connection that stands loses nothing, so this is a fuse, and may not cost much."""

LINGER_S: Final = 5.0
"""A chart is dropped so long after its last watcher: a page that reloads must not read it again."""

TICK_S: Final = 0.1
"""How late a flat bar may be."""


class ChartRules(NamedTuple):
    """How charts are kept.

    Attributes:
        most: different ones at once, those that linger included.
        fill: make flat bars.
        grace_ms: a candle is over so long after its end.
    """

    most: int
    fill: bool
    grace_ms: int


class ChartFeed:
    """One gateway's view of the charts that its clients watch.

    Args:
        bus: where candles come from.
        clock: for the ends of candles.
        fanout: gets every change.
        on_ready: gets a chart when everything that Redis holds of it is known.
        shards: how many there are.
        rules: how charts are kept.

    Attributes:
        rejected: publications, charts and candles that could not be read.
        deaf: how often its connection was thrown away because it was deaf.
    """

    def __init__(
        self,
        bus: RedisBus,
        clock: Clock,
        fanout: ChartFanout,
        on_ready: Callable[[Series], None],
        *,
        shards: int,
        rules: ChartRules,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._fanout = fanout
        self._on_ready = on_ready
        self._rules = rules
        self._channels = [redis_keys.chart_channel(shard) for shard in range(shards)]
        self._shard_of_channel = {channel: shard for shard, channel in enumerate(self._channels)}
        self._shards: list[dict[str, dict[str, Series]]] = [{} for _ in range(shards)]
        self._watchers: dict[Series, int] = {}
        self._unread: dict[Series, int] = {}
        self._stale: dict[Series, int] = {}
        self._stale_added = asyncio.Event()
        self._live: set[int] = set()
        self._due = DueHeap[Series]()
        self._epoch = ""
        self._subscription = Subscription(bus, self._on_message, self._on_live, self._live.clear, on_deaf=self._on_deaf)
        self.rejected = 0
        self.deaf = 0

    def __len__(self) -> int:
        """How many charts are kept."""
        return len(self._watchers)

    def is_live(self, symbol: str) -> bool:
        """Whether publications of a symbol's shard are heard; charts that nobody watches here are not."""
        return self._shard_of(symbol) in self._live

    def watch(self, symbol: str, interval: str) -> Series | None:
        """One more subscription of a client: the chart, to be handed to `unwatch`; None where there are too many.

        Unless it is `ready`, `on_ready` says when it is.
        """
        shard = self._shard_of(symbol)
        series = self._shards[shard].get(symbol, {}).get(interval)
        if series is None:
            if len(self._watchers) >= self._rules.most:
                return None
            series = Series(symbol, interval, fill=self._rules.fill, grace_ms=self._rules.grace_ms)
            self._shards[shard].setdefault(symbol, {})[interval] = series
            self._watchers[series] = 0
            self._subscription.want(self._channels[shard])
            if shard in self._live:
                self._mark_stale([series])
        self._watchers[series] += 1
        return series

    def unwatch(self, series: Series) -> None:
        """One subscription less."""
        self._watchers[series] -= 1
        if self._watchers[series] == 0:
            asyncio.get_running_loop().call_later(LINGER_S, self._drop_if_unwatched, series)

    @property
    def subscription(self) -> Subscription:
        """How it hears; for figures."""
        return self._subscription

    async def run(self) -> None:
        """Work until cancelled."""
        async with TaskGroup() as tasks:
            tasks.spawn("chart-resync", self._mark_stale_regularly())
            tasks.spawn("chart-snapshots", keep_trying("chart-snapshots", self._reread_stale))
            tasks.spawn("chart-clock", self._fill_regularly())
            await self._subscription.run()

    def _shard_of(self, symbol: str) -> int:
        return redis_keys.shard_of(symbol, len(self._shards))

    def _drop_if_unwatched(self, series: Series) -> None:
        if self._watchers.get(series) != 0:
            return
        del self._watchers[series]
        self._unread.pop(series, None)
        self._stale.pop(series, None)
        self._due.discard(series)
        number = self._shard_of(series.symbol)
        shard = self._shards[number]
        del shard[series.symbol][series.interval]
        if not shard[series.symbol]:
            del shard[series.symbol]
        if not shard:
            self._subscription.unwant(self._channels[number])
            self._live.discard(number)

    def _in_shard(self, shard: int) -> Iterator[Series]:
        for charts in self._shards[shard].values():
            yield from charts.values()

    # What Redis says

    def _on_live(self, channel: str) -> None:
        shard = self._shard_of_channel[channel]
        self._live.add(shard)
        self._mark_stale(self._in_shard(shard))

    def _on_deaf(self, _: Silence) -> None:
        self.deaf += 1

    def _on_message(self, channel: str, payload: bytes) -> None:
        try:
            batch = decode_chart_batch(payload)
        except DecodeError as error:
            self._reject(str(error))
            return
        if batch.version != VERSION:
            self._reject("unknown version")
            return
        if batch.epoch != self._epoch:
            self._begin_epoch(batch.epoch)
        watched = self._shards[self._shard_of_channel[channel]]
        for symbol in watched.keys() & batch.charts.keys():
            chart = self._read_chart(batch.charts[symbol])
            if chart is not None:
                for series in watched[symbol].values():
                    self._tell(series, series.apply(chart))

    def _tell(self, series: Series, bars: Sequence[Candle]) -> None:
        self._fanout.send(series, bars)
        self._due.put(series, series.due_ms())

    def _read_chart(self, encoded: Any) -> Chart | None:  # noqa: ANN401 - bytes, or msgspec's Raw
        try:
            return decode_chart(encoded)
        except DecodeError as error:
            self._reject(str(error))
            return None

    def _read_candles(self, encoded: Sequence[bytes]) -> list[Candle]:
        candles = []
        for item in encoded:
            try:
                candles.append(decode_candle(item))
            except DecodeError as error:
                self._reject(str(error))
        return candles

    def _reject(self, reason: str) -> None:
        self.rejected += 1
        if self.rejected & (self.rejected - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: never a flood
            log.warning("chart_rejected", reason=reason, rejected=self.rejected)

    def _begin_epoch(self, epoch: str) -> None:
        """Candles of the epoch before are no longer in Redis, or others."""
        if self._epoch:
            log.warning("chart_epoch_began", epoch=epoch)
            for series in self._watchers:
                series.reset()
        self._epoch = epoch
        for shard in self._live:
            self._mark_stale(self._in_shard(shard))

    # Reading all

    def _mark_stale(self, charts: Iterable[Series], closed: int = MOST_BARS) -> None:
        """Have charts read again, with so many closed candles; those that clients wait for come first."""
        for series in charts:
            waiting = self._stale if series.ready else self._unread
            waiting[series] = max(closed, waiting.get(series, 0))
        self._stale_added.set()

    async def _mark_stale_regularly(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_S)
            for shard in self._live:
                self._mark_stale(self._in_shard(shard), RESYNC_CANDLES)

    async def _reread_stale(self) -> None:
        while True:
            await self._stale_added.wait()
            while waiting := self._unread or self._stale:
                series = next(iter(waiting))
                closed = waiting.pop(series)  # first: it may become stale again while it is read
                try:
                    await self._reread(series, closed)
                except BusUnavailableError:
                    if series in self._watchers:
                        self._mark_stale([series], closed)
                    raise
            self._stale_added.clear()

    async def _reread(self, series: Series, most: int) -> None:
        symbol = series.symbol
        keys = [
            redis_keys.PRICE_EPOCH,
            redis_keys.chart_snapshot(self._shard_of(symbol)),
            redis_keys.candle_history(symbol, series.interval),
        ]
        epoch, unclosed, closed = await self._bus.run_script("read_chart", keys, [symbol, most])
        if series not in self._watchers:
            return
        stands = epoch.decode(errors="replace")
        if stands and stands != self._epoch:
            self._begin_epoch(stands)
        if not series.ready and most < MOST_BARS:
            return  # an epoch began: all of it is read next
        self._unread.pop(series, None)
        chart = self._read_chart(unclosed) if unclosed else None
        self._tell(series, series.load(chart, self._read_candles(closed), self._clock.now_ms()))
        self._on_ready(series)

    # Time

    async def _fill_regularly(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now_ms = self._clock.now_ms()
            for series in self._due.pop_until(now_ms):
                self._tell(series, series.fill(now_ms))
