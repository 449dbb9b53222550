"""Prices for clients whose token has a `delay_s`: the same windows and frames as live ones, from a market that is late.

Each delay that somebody has is a tier: a `Market` of its own that gets what the live one was `delay_s` ago, and a
`Subscriber` on top of it, so that `n`, batches, slow clients and resync are what they are for everybody. Nothing of a
tier can show a younger price: its market does not have one. All tiers read one `DelayedHistory`. Without delayed
clients nothing is kept and nothing runs.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Final

import msgspec

from services.gateway.batches import BatchWriter
from services.gateway.delayed_history import STEP_S, DelayedHistory
from services.gateway.fanout import Fanout
from services.gateway.hub import Hub
from services.gateway.market import UNKNOWN, Market
from services.gateway.outbox import Flusher, Outbox
from services.gateway.subscriptions import Prices, Subscriber, Subscriptions
from services.gateway.windows import Windows
from shared.clock import Clock
from shared.messages import encode

MAX_TIERS: Final = 8
"""Different delays at a time; whoever brings one more gets the next longer one."""

PHASES: Final = 10
STEP_MS: Final = int(STEP_S * 1000)
LINGER_S: Final = 60.0
"""A tier and a symbol are kept so long after the last who wanted it: a page that reloads must not wait for a delay."""

MAX_LINGERING: Final = 1_000


class Tier:
    """Everything of one delay; what its `Subscriber` takes for the source of prices.

    Attributes:
        delay_s: how old the youngest price is.
        market: as it was then.
        clients: how many have this delay.
        idle_since: when the last of them left, in s.
        reached: the last sample that the market got, in s.
        waiting: symbols that somebody wants and of which there is no price that old yet.
    """

    subscriber: Subscriber
    windows: Windows

    def __init__(self, delay_s: int, source: "DelayedPrices") -> None:
        self.delay_s = delay_s
        self.market = Market(everything=False)
        self.clients = 0
        self.idle_since = 0.0
        self.reached = float("-inf")
        self.waiting: set[str] = set()
        self._source = source

    def watch(self, symbol: str) -> None:
        """See `Prices.watch`."""
        self._source.keep(symbol)
        self.market.watch(symbol)
        if self.market.find(symbol) is None and not self._source.take_quiet(self, symbol):
            self.waiting.add(symbol)

    def unwatch(self, symbol: str) -> None:
        """See `Prices.unwatch`."""
        if self.market.unwatch(symbol):
            self.waiting.discard(symbol)
        self._source.let_go(symbol)

    def is_live(self, symbol: str) -> bool:
        """See `Prices.is_live`."""
        return self.market.find(symbol) is not None or self._source.knows_none(symbol)


class DelayedPrices:
    """The tiers of one gateway.

    Args:
        hub, fanout, flusher, clock: as for live clients.
        market: the live one.
        feed: watches symbols in it.
        make_writers: of batches; each tier has its own, as their caches hold one price a symbol.
        longest_s: the longest delay that a client may have.
        max_bytes: of all samples.

    Attributes:
        history: what the tiers get.
    """

    def __init__(  # noqa: PLR0913 - the parts of one gateway
        self,
        hub: Hub,
        market: Market,
        feed: Prices,
        fanout: Fanout,
        flusher: Flusher,
        clock: Clock,
        make_writers: Callable[[], Sequence[BatchWriter]],
        *,
        longest_s: int,
        max_bytes: int,
    ) -> None:
        self._hub = hub
        self._market = market
        self._feed = feed
        self._fanout = fanout
        self._flusher = flusher
        self._clock = clock
        self._make_writers = make_writers
        self._longest_s = longest_s
        self.history = DelayedHistory(max_bytes)
        self._tiers: dict[int, Tier] = {}
        self._watchers: dict[str, int] = {}
        self._lingering: dict[str, float] = {}
        self._turn = 0
        self._wanted = asyncio.Event()

    @property
    def clients(self) -> int:
        """How many have a delay."""
        return sum(tier.clients for tier in self._tiers.values())

    # Clients

    def enter(self, delay_s: int) -> Tier:
        """One more client with a delay: its tier, which may be a longer one."""
        tier = self._find_tier(delay_s)
        tier.clients += 1
        self._wanted.set()
        return tier

    def leave(self, tier: Tier) -> None:
        """One less."""
        tier.clients -= 1
        tier.idle_since = self._clock.monotonic()

    def tier_of(self, subscriptions: Subscriptions) -> Tier | None:
        """The tier of a client, None of a live one."""
        return self._tiers[subscriptions.delay_s] if subscriptions.delay_s else None

    def market_of(self, member: Outbox) -> Market:
        """What a client is caught up with."""
        subscriptions = member.member
        tier = self.tier_of(subscriptions) if isinstance(subscriptions, Subscriptions) else None
        return self._market if tier is None else tier.market

    # Symbols

    def has_room_for(self, symbol: str) -> bool:
        """Whether its prices can be kept."""
        if symbol not in self.history and not self.history.has_room and self._lingering:
            self._forget(next(iter(self._lingering)))
        return symbol in self.history or self.history.has_room

    def keep(self, symbol: str) -> None:
        """One more subscription of a symbol."""
        self._watchers[symbol] = self._watchers.get(symbol, 0) + 1
        self._lingering.pop(symbol, None)
        if symbol not in self.history:
            self._feed.watch(symbol)
            self.history.begin(symbol, self._clock.monotonic())

    def let_go(self, symbol: str) -> None:
        """One less."""
        self._watchers[symbol] -= 1
        if self._watchers[symbol]:
            return
        del self._watchers[symbol]
        self._lingering[symbol] = self._clock.monotonic() + LINGER_S
        if len(self._lingering) > MAX_LINGERING:
            self._forget(next(iter(self._lingering)))

    def take_quiet(self, tier: Tier, symbol: str) -> bool:
        """Let a tier that has no price have the present one, if its feed has been silent for that long already."""
        price = self._market.find(symbol)
        if price is None or price.state != "stale" or tier.market.epoch != self._market.epoch:
            return False
        if self._clock.now_ms() - price.since < tier.delay_s * 1000:
            return False
        tier.market.apply({symbol: msgspec.Raw(encode(price))})
        return True

    def knows_none(self, symbol: str) -> bool:
        """Whether a symbol has no price at all."""
        return self._feed.is_live(symbol) and self._market.find(symbol) is None

    # Time

    async def run(self) -> None:
        """Work while there are delayed clients, until cancelled."""
        while True:
            await self._wanted.wait()
            while self._tiers:
                await asyncio.sleep(STEP_S / PHASES)
                self.turn()
            self._wanted.clear()

    def turn(self) -> None:
        """A phase's turn; once a step, look at the market, and let the tiers have what is old enough by now."""
        now = self._clock.monotonic()
        self._turn = (self._turn + 1) % PHASES
        if self._turn == 0:
            self.history.take(now, self._market.epoch, self._market.find)
        elif self._turn == 1:
            for tier in self._tiers.values():
                self._release(tier, now - tier.delay_s)
            self._forget_idle(now)
            self.history.drop(now - max(self._tiers, default=0))
        for tier in self._tiers.values():
            tier.windows.tick()

    def _release(self, tier: Tier, until: float) -> None:
        for at, epoch, prices in self.history.between(tier.reached, until):
            tier.reached = at
            if epoch != tier.market.epoch:
                tier.market.begin_epoch(epoch)
            for symbol, _, base in tier.market.apply(prices):
                tier.windows.note(symbol, base)
        for symbol in list(tier.waiting):
            if tier.market.find(symbol) is not None:
                tier.waiting.discard(symbol)
            elif self.take_quiet(tier, symbol):
                tier.waiting.discard(symbol)
                tier.windows.note(symbol, UNKNOWN)

    def _forget_idle(self, now: float) -> None:
        for symbol in [symbol for symbol, until in self._lingering.items() if until <= now]:
            self._forget(symbol)
        for tier in [tier for tier in self._tiers.values() if not tier.clients and tier.idle_since + LINGER_S <= now]:
            del self._tiers[tier.delay_s]

    def _forget(self, symbol: str) -> None:
        del self._lingering[symbol]
        self.history.end(symbol)
        self._feed.unwatch(symbol)
        for tier in self._tiers.values():
            tier.market.forget(symbol)

    def _find_tier(self, delay_s: int) -> Tier:
        tier = self._tiers.get(delay_s)
        if tier is not None:
            return tier
        if len(self._tiers) >= MAX_TIERS - 1:
            for idle in [tier for tier in self._tiers.values() if not tier.clients]:
                del self._tiers[idle.delay_s]
        if delay_s >= self._longest_s or len(self._tiers.keys() - {self._longest_s}) < MAX_TIERS - 1:
            return self._make_tier(delay_s)
        longer = [other for other in self._tiers if other > delay_s]
        return self._tiers[min(longer)] if longer else self._make_tier(self._longest_s)

    def _make_tier(self, delay_s: int) -> Tier:
        tier = self._tiers[delay_s] = Tier(delay_s, self)
        tier.market.epoch = self._market.epoch
        tier.windows = Windows(
            STEP_MS, tier.market, self._fanout, self._make_writers(), self._flusher, self._clock, phases=PHASES
        )
        for _ in repeat(None, (self._turn - 1) % PHASES):  # so that its first phase is served as prices are let out
            tier.windows.tick()
        tier.subscriber = Subscriber(self._hub, tier.market, tier, self._fanout, tier.windows, "off", self._clock)
        tier.subscriber.least_ms = STEP_MS
        self._release(tier, self._clock.monotonic() - delay_s)
        return tier
