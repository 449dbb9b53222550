"""What one client is subscribed to, and what joining and leaving do to rooms, windows and feeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from services.gateway.charts import Series
from services.gateway.fanout import Fanout
from services.gateway.hub import Hub
from services.gateway.market import UNKNOWN, Change, Market
from services.gateway.outbox import Outbox
from services.gateway.phases import Window
from services.gateway.windows import Windows
from shared.clock import Clock
from shared.names import events
from shared.rights import Rights

Audience = Literal["everyone", "subscribers", "off"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a client gets the prices of a symbol.

    Attributes:
        as_batch: `price:batch` instead of `price:update`.
        interval_ms: least time between two; 0 for each change at once.
    """

    as_batch: bool
    interval_ms: int

    def at_pace(self, pace_ms: int) -> "Delivery":
        """The same, no more often than that."""
        return self if pace_ms <= self.interval_ms else Delivery(self.as_batch, pace_ms)


IMMEDIATE = Delivery(as_batch=False, interval_ms=0)
ALL_RIGHTS = Rights()


class Prices(Protocol):
    """Where prices come from: `PriceFeed`, or what keeps them back for a while."""

    def watch(self, symbol: str) -> None:
        """One more subscription."""

    def unwatch(self, symbol: str) -> None:
        """One subscription less."""

    def is_live(self, symbol: str) -> bool:
        """Whether the market has the price that a client is to see, or knows that there is none."""


class Subscriptions:
    """One client's symbols and charts. Empty until it subscribes.

    Attributes:
        outbox: the client's.
        delay_s: prices and trades come so much later; 0 for live. `DelayedSubscriber.change_delay` sets it.
        gone: whether it has left.
        pace_ms: least time between two prices of a symbol, whatever it asked for; 0 while it is not slow.
        rights: what its token grants; all there is for a client without one.
    """

    __slots__ = ("_charts", "_prices", "_trades", "delay_s", "gone", "outbox", "pace_ms", "rights")

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        outbox.member = self
        self.pace_ms = 0
        self.rights = ALL_RIGHTS
        self.delay_s = 0
        self._prices: dict[str, Delivery] | None = None
        self._trades: dict[str, int] | None = None
        self._charts: dict[tuple[str, str], Series] | None = None
        self.gone = False

    def __len__(self) -> int:
        return len(self._prices or ()) + len(self._trades or ()) + len(self._charts or ())

    def prices(self) -> dict[str, Delivery]:
        """Symbol -> delivery that the client asked for."""
        if self._prices is None:
            self._prices = {}
        return self._prices

    def trades(self) -> dict[str, int]:
        """Symbol -> position in its log behind which the client's trades begin."""
        if self._trades is None:
            self._trades = {}
        return self._trades

    def charts(self) -> dict[tuple[str, str], Series]:
        """(symbol, interval) -> chart; kept by `ChartRequests`."""
        if self._charts is None:
            self._charts = {}
        return self._charts


class Subscriber:
    """Joins and leaves for all clients.

    Attributes:
        least_ms: no price comes more often, whatever a client asks for; 0: each change at once.
    """

    def __init__(
        self,
        hub: Hub,
        market: Market,
        feed: Prices,
        fanout: Fanout,
        windows: Windows,
        audience: Audience,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._market = market
        self._feed = feed
        self._fanout = fanout
        self._windows = windows
        self._audience = audience
        self._clock = clock
        self.least_ms = 0

    def arrive(self, outbox: Outbox) -> None:
        """A client has connected: it gets the whole market, if everybody does."""
        if self._audience == "everyone":
            self._windows.everyone.add(outbox)

    def join_price(self, subscriptions: Subscriptions, symbol: str, delivery: Delivery) -> None:
        """Subscribe a price, or change how it is delivered."""
        prices = subscriptions.prices()
        before = prices.get(symbol)
        if before == delivery:
            return
        if before is not None:
            self._leave_delivery(subscriptions, symbol)
        else:
            self._feed.watch(symbol)
        prices[symbol] = delivery
        for route in self._routes(delivery, subscriptions.pace_ms):
            self._enter(subscriptions.outbox, symbol, route)
        if delivery.as_batch or (before is not None and before.as_batch):
            self._settle_audience(subscriptions)

    def leave_price(self, subscriptions: Subscriptions, symbol: str) -> None:
        """Unsubscribe a price; harmless when not subscribed."""
        prices = subscriptions.prices()
        if symbol not in prices:
            return
        self._leave_delivery(subscriptions, symbol)
        delivery = prices.pop(symbol)
        self._feed.unwatch(symbol)
        if delivery.as_batch:
            self._settle_audience(subscriptions)

    def granted(self, subscriptions: Subscriptions, delivery: Delivery) -> Delivery:
        """What a client gets that asks for this: no more often than its token allows."""
        max_hz = subscriptions.rights.max_hz
        return delivery if max_hz is None else delivery.at_pace(self._windows.granted(max_hz))

    def change_rights(self, subscriptions: Subscriptions, rights: Rights) -> list[str]:
        """Take other rights: keep to them in what is subscribed; returns the prices that were lost."""
        subscriptions.rights = rights
        prices = subscriptions.prices()
        lost = [symbol for symbol in prices if not rights.allows(symbol)]
        for symbol in lost:
            self.leave_price(subscriptions, symbol)
        for symbol, delivery in list(prices.items()):
            self.join_price(subscriptions, symbol, self.granted(subscriptions, delivery))
        self._settle_audience(subscriptions)
        return lost

    def change_pace(self, subscriptions: Subscriptions, pace_ms: int) -> None:
        """Deliver all its prices no more often than that from now on, 0: as it asked for.

        Each symbol goes on where it was: what the client got last is what its next price builds on, and what waited
        for the turn of a window that it leaves is sent at once, or owed by a client that is behind.
        """
        outbox = subscriptions.outbox
        before_ms, subscriptions.pace_ms = subscriptions.pace_ms, pace_ms
        missed: dict[bool, list[Change]] = {False: [], True: []}
        for symbol, delivery in subscriptions.prices().items():
            routes = zip(self._routes(delivery, before_ms), self._routes(delivery, pace_ms), strict=True)
            for before, after in routes:
                missed[after.as_batch] += self._reroute(outbox, symbol, before, after)
        self._send(outbox, missed[False], as_batch=False)
        self._send(outbox, missed[True], as_batch=True)
        self._change_crowd(outbox, before_ms, pace_ms)

    def granted_ms(self, subscriptions: Subscriptions, delivery: Delivery) -> int:
        """The interval at which a delivery comes now."""
        return self._paced(delivery, subscriptions.pace_ms).interval_ms

    def depart(self, subscriptions: Subscriptions) -> None:
        """The client is gone: leave everything."""
        outbox = subscriptions.outbox
        for symbol in list(subscriptions.prices()):
            self.leave_price(subscriptions, symbol)
        for room in list(outbox.rooms):
            self._hub.leave(room, outbox)
        self._windows.crowd(subscriptions.pace_ms).discard(outbox)
        subscriptions.pace_ms = 0
        outbox.owes_market = False

    def is_pending(self, subscriptions: Subscriptions, symbol: str) -> bool:  # noqa: ARG002 - of others it matters
        """Whether the price of a symbol that a client has subscribed is yet to come."""
        return not self._feed.is_live(symbol)

    def send_current(self, subscriptions: Subscriptions, symbols: Sequence[str], *, as_batch: bool) -> None:
        """Send prices as they are now, of those symbols that have one; later changes build on them."""
        outbox = subscriptions.outbox
        found = [Change(symbol, price, UNKNOWN) for symbol in symbols if (price := self._market.find(symbol))]
        for symbol, price, _ in found:
            self._note_base(subscriptions, symbol, UNKNOWN if outbox.behind else price.seq)
        if not outbox.behind:
            self._send(outbox, found, as_batch=as_batch)

    def _send(self, outbox: Outbox, changes: Sequence[Change], *, as_batch: bool) -> None:
        if as_batch and changes:
            outbox.send(self._fanout.batch_frame(outbox.parser, changes, self._clock.now_ms()))
        else:
            for change in changes:
                outbox.send(self._fanout.price_event(*change).frame(outbox.parser))

    def _note_base(self, subscriptions: Subscriptions, symbol: str, base: int) -> None:
        """What is sent next of a symbol builds on this; an immediate update does so by itself."""
        outbox = subscriptions.outbox
        route = self._paced(subscriptions.prices()[symbol], subscriptions.pace_ms)
        if route != IMMEDIATE or outbox.behind:
            _owed_on(outbox, route)[symbol] = base

    def _settle_audience(self, subscriptions: Subscriptions) -> None:
        """The whole market is for clients without batches of their own; who comes back to it gets all of it once."""
        outbox = subscriptions.outbox
        everyone = self._windows.crowd(subscriptions.pace_ms)
        own = any(delivery.as_batch for delivery in subscriptions.prices().values())
        if own or not subscriptions.rights.whole_market:
            everyone.discard(outbox)
            outbox.owes_market = False
        elif self._audience == "everyone" and outbox not in everyone:
            everyone.add(outbox)
            everyone.owe(outbox)

    def _change_crowd(self, outbox: Outbox, before_ms: int, after_ms: int) -> None:
        """Who gets the whole market goes on with all of it, once: its new crowd's batches build on others' bases."""
        crowd = self._windows.crowd(before_ms)
        if outbox in crowd:
            crowd.discard(outbox)
            self._windows.crowd(after_ms).owe(outbox)
            self._windows.crowd(after_ms).add(outbox)

    def _leave_delivery(self, subscriptions: Subscriptions, symbol: str) -> None:
        delivery = subscriptions.prices()[symbol]
        for route in self._routes(delivery, subscriptions.pace_ms):
            self._exit(subscriptions.outbox, symbol, route)

    def _routes(self, delivery: Delivery, pace_ms: int) -> list[Delivery]:
        """All ways in which a symbol comes to a client at a pace."""
        routes = [self._paced(delivery, pace_ms)]
        if self._audience == "subscribers" and not delivery.as_batch:
            routes.append(Delivery(as_batch=True, interval_ms=self._windows.batch_ms).at_pace(pace_ms))
        return routes

    def _paced(self, delivery: Delivery, pace_ms: int) -> Delivery:
        """How a symbol comes to a client at a pace: in whole windows."""
        window_ms = self._windows.batch_ms
        return delivery.at_pace(-(-max(delivery.interval_ms, pace_ms, self.least_ms) // window_ms) * window_ms)

    def _enter(self, outbox: Outbox, symbol: str, route: Delivery) -> None:
        if route == IMMEDIATE:
            self._hub.join(events.price_room(symbol), outbox)
        else:
            self._window_of(route).add(outbox, symbol)

    def _exit(self, outbox: Outbox, symbol: str, route: Delivery) -> None:
        if route == IMMEDIATE:
            self._hub.leave(events.price_room(symbol), outbox)
        else:
            self._window_of(route).remove(outbox, symbol)
        owed = outbox.owed_batches if route.as_batch else outbox.owed_prices
        if owed is not None:
            owed.pop(symbol, None)

    def _reroute(self, outbox: Outbox, symbol: str, before: Delivery, after: Delivery) -> list[Change]:
        """Move a symbol to another way; what is to be sent on it first."""
        if before == after:
            return []
        change = self._standing(outbox, symbol, before)
        self._exit(outbox, symbol, before)
        self._enter(outbox, symbol, after)
        return [change] if change is not None and self._go_on(outbox, change, after) else []

    def _standing(self, outbox: Outbox, symbol: str, route: Delivery) -> Change | None:
        """The newest price, and the `seq` that the client got last on this way; None where there is no price yet."""
        price = self._market.find(symbol)
        if price is None:
            return None
        owed = (outbox.owed_batches if route.as_batch else outbox.owed_prices) or {}
        phase = None if route == IMMEDIATE else self._window_of(route).find(outbox)
        if phase is None or symbol not in phase.changed:
            return Change(symbol, price, owed.get(symbol, price.seq))
        waiting = phase.changed[symbol]
        return Change(symbol, price, UNKNOWN if waiting == UNKNOWN else owed.get(symbol, waiting))

    def _go_on(self, outbox: Outbox, change: Change, route: Delivery) -> bool:
        """Let what comes next on this way build on what the client has; True when `change` is to be sent before it."""
        if outbox.behind:
            _owed_on(outbox, route)[change.symbol] = change.base
            return False
        if route != IMMEDIATE:
            _owed_on(outbox, route)[change.symbol] = change.price.seq
        return change.base != change.price.seq

    def _window_of(self, delivery: Delivery) -> Window:
        return self._windows.window(delivery.interval_ms, as_batch=delivery.as_batch)


def _owed_on(outbox: Outbox, route: Delivery) -> dict[str, int]:
    if route.as_batch:
        if outbox.owed_batches is None:
            outbox.owed_batches = {}
        return outbox.owed_batches
    if outbox.owed_prices is None:
        outbox.owed_prices = {}
    return outbox.owed_prices
