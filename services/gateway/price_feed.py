"""Prices from Redis: Pub/Sub for the news, the snapshot hashes for the truth.

Only shards in which a client watches a symbol are subscribed (all of them when everybody gets the whole market).
Pub/Sub may lose: so at each confirmation of a subscription, at each new epoch and every 30 s a snapshot is re-read, and
the market drops what is not newer. Feeds `Market`, and with its changes `Fanout` and `Windows`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from services.gateway.market import Change, Market
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.bus.subscription import Subscription
from shared.clock import Clock
from shared.log import get_logger
from shared.messages import VERSION, DecodeError, decode_price_batch
from shared.names import redis_keys
from shared.tasks import TaskGroup

log = get_logger(__name__)

RESYNC_S: Final = 30.0
LINGER_S: Final = 5.0
"""A shard is left so long after its last watcher: a page that reloads must not resubscribe."""

Deliver = Callable[[Sequence[Change]], None]


class PriceFeed:
    """One gateway's view of the price shards.

    Args:
        bus: where prices come from.
        clock: for the age of a publication.
        market: is fed.
        deliver: gets what changed in it.
        shards: how many there are.
        everything: subscribe all of them, always.
        observe_age: gets each publication's age in seconds.
    """

    def __init__(
        self,
        bus: RedisBus,
        clock: Clock,
        market: Market,
        deliver: Deliver,
        *,
        shards: int,
        everything: bool,
        observe_age: Callable[[float], None],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._market = market
        self._deliver = deliver
        self._everything = everything
        self._observe_age = observe_age
        self._channels = [redis_keys.price_channel(shard) for shard in range(shards)]
        self._shard_of_channel = {channel: shard for shard, channel in enumerate(self._channels)}
        self._watched = [0] * shards
        self._stale: set[int] = set()
        self._stale_added = asyncio.Event()
        self._heard: set[int] = set()
        self._live: set[int] = set()
        self._subscription = Subscription(bus, self._on_message, self._on_live, self._on_lost)
        self.rejected = 0

    @property
    def shards_watched(self) -> int:
        """How many shards are subscribed or about to be."""
        return len(self._watched) if self._everything else sum(count > 0 for count in self._watched)

    def is_live(self, symbol: str) -> bool:
        """Whether the market knows this symbol's newest price, or that there is none."""
        return redis_keys.shard_of(symbol, len(self._watched)) in self._live

    def watch(self, symbol: str) -> None:
        """One more subscription of a client."""
        if not self._market.watch(symbol):
            return
        shard = redis_keys.shard_of(symbol, len(self._watched))
        self._watched[shard] += 1
        if self._watched[shard] == 1 and not self._everything:
            self._subscription.want(self._channels[shard])

    def unwatch(self, symbol: str) -> None:
        """One subscription less."""
        if not self._market.unwatch(symbol):
            return
        shard = redis_keys.shard_of(symbol, len(self._watched))
        self._watched[shard] -= 1
        if self._watched[shard] == 0 and not self._everything:
            asyncio.get_running_loop().call_later(LINGER_S, self._leave_if_unwatched, shard)

    async def run(self) -> None:
        """Work until cancelled."""
        if self._everything:
            for channel in self._channels:
                self._subscription.want(channel)
        async with TaskGroup() as tasks:
            tasks.spawn("price-resync", self._mark_stale_regularly())
            tasks.spawn("price-snapshots", keep_trying("price-snapshots", self._reread_stale))
            await self._subscription.run()

    def _leave_if_unwatched(self, shard: int) -> None:
        if self._watched[shard] == 0:
            self._subscription.unwant(self._channels[shard])
            self._heard.discard(shard)
            self._live.discard(shard)

    def _on_live(self, channel: str) -> None:
        shard = self._shard_of_channel[channel]
        self._heard.add(shard)
        self._mark_stale(shard)

    def _on_lost(self) -> None:
        self._heard.clear()
        self._live.clear()

    def _on_message(self, _channel: str, payload: bytes) -> None:
        try:
            batch = decode_price_batch(payload)
            if batch.version != VERSION:
                self._reject("unknown version")
                return
            if batch.epoch != self._market.epoch:
                self._begin_epoch(batch.epoch)
        except DecodeError as error:
            self._reject(str(error))
            return
        self._deliver(self._market.apply(batch.prices))
        self._observe_age(max(0.0, (self._clock.now_ms() - batch.published) / 1000))

    def _reject(self, error: str) -> None:
        self.rejected += 1
        if self.rejected & (self.rejected - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: never a flood
            log.warning("price_batch_rejected", error=error, rejected=self.rejected)

    def _begin_epoch(self, epoch: str) -> None:
        if self._market.epoch:
            log.warning("price_epoch_began", epoch=epoch)
        self._market.begin_epoch(epoch)
        for shard in list(self._live):
            self._mark_stale(shard)

    def _mark_stale(self, shard: int) -> None:
        self._stale.add(shard)
        self._stale_added.set()

    async def _mark_stale_regularly(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_S)
            for shard in list(self._live):
                self._mark_stale(shard)

    async def _reread_stale(self) -> None:
        while True:
            await self._stale_added.wait()
            for shard in sorted(self._stale):
                self._stale.discard(shard)  # first: it may become stale again while it is read
                try:
                    await self._reread(shard)
                except BusUnavailableError:
                    self._mark_stale(shard)
                    raise
            if not self._stale:
                self._stale_added.clear()

    async def _reread(self, shard: int) -> None:
        epoch = ((await self._bus.get(redis_keys.PRICE_EPOCH)) or b"").decode()
        snapshot = await self._bus.hash_all(redis_keys.price_snapshot(shard))
        if epoch and epoch != self._market.epoch:
            self._begin_epoch(epoch)
        prices = {name.decode(errors="replace"): price for name, price in snapshot.items()}
        changes = self._market.apply_snapshot(prices)
        if shard in self._heard:  # it may have been lost or left while it was read
            self._live.add(shard)
        self._deliver(changes)
