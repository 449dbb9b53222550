"""Prices from Redis: Pub/Sub for the news, the snapshot hashes for the truth.

Only shards in which a client watches a symbol are subscribed (all of them when everybody gets the whole market).
Pub/Sub may lose: so at each confirmation of a subscription, at each new epoch and every 30 s a snapshot is re-read, and
the market drops what is not newer. Feeds `Market`, with its changes `Fanout` and `Windows`, and readiness.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from services.gateway.market import Change, Market
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.bus.subscription import Silence, Subscription
from shared.clock import Clock
from shared.log import get_logger
from shared.messages import VERSION, DecodeError, decode_price_batch
from shared.names import redis_keys
from shared.reporting import REDIS_GRACE_S
from shared.tasks import TaskGroup

log = get_logger(__name__)

RESYNC_S: Final = 30.0
LINGER_S: Final = 5.0
"""A shard is left so long after its last watcher: a page that reloads must not resubscribe."""

Deliver = Callable[[Sequence[Change]], None]


class ShardState(NamedTuple):
    """What a feed knows of the shard of one symbol.

    Attributes:
        shard: its number.
        subscribed: whether somebody here wants it.
        live: whether the subscription is confirmed and the snapshot behind it read.
        silent_s: how long its connection has been deaf, or seemed so; 0 while it is heard.
        published_ms: the newest publication that was heard of it, by the publisher's clock; 0: none.
    """

    shard: int
    subscribed: bool
    live: bool
    silent_s: float
    published_ms: int


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

    Attributes:
        deaf: how often its connection was thrown away because it was deaf.
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
        self._away: dict[int, float] = {}
        self._deaf: dict[int, float] = {}
        self._published: dict[str, int] = {}
        self._subscription = Subscription(bus, self._on_message, self._on_live, self._on_lost, on_deaf=self._on_deaf)
        self._refused = 0
        self.deaf = 0

    @property
    def rejected(self) -> int:
        """Publications, and prices in them, that could not be read."""
        return self._refused + self._market.rejected

    @property
    def shards_watched(self) -> int:
        """How many shards are subscribed or about to be."""
        return len(self._watched) if self._everything else sum(count > 0 for count in self._watched)

    @property
    def shards_stale(self) -> int:
        """How many of them cannot be vouched for."""
        return len(self._away.keys() | self._silent_shards())

    def check(self) -> str | None:
        """The readiness check.

        A shard that is deaf while Redis answers is this gateway's own fault and counts at once, until its snapshot has
        been read again. Shards lost with Redis itself are every gateway's: the grace is that of `RedisWatch`.
        """
        silent = self._silent_shards()
        if silent:
            return f"{len(silent)} of {self.shards_watched} price shards deaf for {max(silent.values()):.1f} s"
        now = self._clock.monotonic()
        away = [now - since for since in self._away.values() if now - since > REDIS_GRACE_S]
        return f"{len(away)} of {self.shards_watched} price shards not read for {max(away):.0f} s" if away else None

    def is_live(self, symbol: str) -> bool:
        """Whether the market knows this symbol's newest price, or that there is none."""
        return redis_keys.shard_of(symbol, len(self._watched)) in self._live

    def state_of(self, symbol: str) -> ShardState:
        """How it stands with a symbol's shard, for who looks for what is missing."""
        shard = redis_keys.shard_of(symbol, len(self._watched))
        return ShardState(
            shard,
            self._everything or self._watched[shard] > 0,
            shard in self._live,
            self._silent_shards().get(shard, 0.0),
            self._published.get(self._channels[shard], 0),
        )

    def watch(self, symbol: str) -> None:
        """One more subscription of a client."""
        if not self._market.watch(symbol):
            return
        shard = redis_keys.shard_of(symbol, len(self._watched))
        self._watched[shard] += 1
        if self._watched[shard] == 1 and not self._everything:
            self._want(shard)

    def unwatch(self, symbol: str) -> None:
        """One subscription less."""
        if not self._market.unwatch(symbol):
            return
        shard = redis_keys.shard_of(symbol, len(self._watched))
        self._watched[shard] -= 1
        if self._watched[shard] == 0 and not self._everything:
            asyncio.get_running_loop().call_later(LINGER_S, self._leave_if_unwatched, shard)

    @property
    def subscription(self) -> Subscription:
        """How it hears; for figures."""
        return self._subscription

    async def run(self) -> None:
        """Work until cancelled."""
        if self._everything:
            for shard in range(len(self._channels)):
                self._want(shard)
        async with TaskGroup() as tasks:
            tasks.spawn("price-resync", self._mark_stale_regularly())
            tasks.spawn("price-snapshots", keep_trying("price-snapshots", self._reread_stale))
            await self._subscription.run()

    def _want(self, shard: int) -> None:
        if shard not in self._live:
            self._away.setdefault(shard, self._clock.monotonic())
        self._subscription.want(self._channels[shard])

    def _leave_if_unwatched(self, shard: int) -> None:
        if self._watched[shard] == 0:
            self._subscription.unwant(self._channels[shard])
            self._heard.discard(shard)
            self._live.discard(shard)
            self._away.pop(shard, None)
            self._deaf.pop(shard, None)

    def _silent_shards(self) -> dict[int, float]:
        """Shards that are deaf, or seem so, and those not read since they were: the seconds of it."""
        now = self._clock.monotonic()
        silent = {self._shard_of_channel[channel]: seconds for channel, seconds in self._subscription.doubted().items()}
        return silent | {shard: now - since for shard, since in self._deaf.items()}

    def _on_live(self, channel: str) -> None:
        shard = self._shard_of_channel[channel]
        self._heard.add(shard)
        self._mark_stale(shard)

    def _on_deaf(self, silence: Silence) -> None:
        self.deaf += 1
        now = self._clock.monotonic()
        for channel, seconds in silence.items():
            self._deaf.setdefault(self._shard_of_channel[channel], now - seconds)

    def _on_lost(self) -> None:
        now = self._clock.monotonic()
        for shard in self._live:
            self._away[shard] = now
        self._heard.clear()
        self._live.clear()

    def _on_message(self, channel: str, payload: bytes) -> None:
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
        self._published[channel] = batch.published
        self._deliver(self._market.apply(batch.prices, len(payload)))
        self._observe_age(max(0.0, (self._clock.now_ms() - batch.published) / 1000))

    def _reject(self, reason: str) -> None:
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: never a flood
            log.warning("price_batch_rejected", reason=reason, rejected=self._refused)

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
        epoch = ((await self._bus.get(redis_keys.PRICE_EPOCH)) or b"").decode(errors="replace")
        snapshot = await self._bus.hash_all(redis_keys.price_snapshot(shard))
        if epoch and epoch != self._market.epoch:
            self._begin_epoch(epoch)
        prices = {name.decode(errors="replace"): price for name, price in snapshot.items()}
        changes = self._market.apply_snapshot(prices)
        if shard in self._heard:  # it may have been lost or left while it was read
            self._live.add(shard)
            self._away.pop(shard, None)
            self._deaf.pop(shard, None)
        self._deliver(changes)
