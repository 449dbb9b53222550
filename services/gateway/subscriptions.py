"""What one client is subscribed to, and what joining and leaving do to rooms, windows and feeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.gateway.charts import Series
from services.gateway.fanout import Fanout
from services.gateway.hub import Hub
from services.gateway.market import UNKNOWN, Change, Market
from services.gateway.outbox import Outbox
from services.gateway.phases import Window
from services.gateway.price_feed import PriceFeed
from services.gateway.windows import Windows
from shared.clock import Clock
from shared.names import events

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


IMMEDIATE = Delivery(as_batch=False, interval_ms=0)


class Subscriptions:
    """One client's symbols and charts. Empty until it subscribes.

    Attributes:
        outbox: the client's.
        gone: whether it has left.
    """

    __slots__ = ("_charts", "_prices", "_trades", "gone", "outbox")

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._prices: dict[str, Delivery] | None = None
        self._trades: dict[str, int] | None = None
        self._charts: dict[tuple[str, str], Series] | None = None
        self.gone = False

    def __len__(self) -> int:
        return len(self._prices or ()) + len(self._trades or ()) + len(self._charts or ())

    def prices(self) -> dict[str, Delivery]:
        """Symbol -> delivery."""
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
    """Joins and leaves for all clients."""

    def __init__(
        self,
        hub: Hub,
        market: Market,
        feed: PriceFeed,
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
        outbox = subscriptions.outbox
        if delivery == IMMEDIATE:
            self._hub.join(events.price_room(symbol), outbox)
        else:
            self._window_of(delivery).add(outbox, symbol)
        if self._audience == "subscribers" and not delivery.as_batch:
            self._default_window().add(outbox, symbol)
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

    def join_trades(self, subscriptions: Subscriptions, symbol: str, position: int) -> None:
        """Subscribe trades behind a position of the symbol's log; harmless when subscribed."""
        subscriptions.trades().setdefault(symbol, position)
        self._hub.join(events.trades_room(symbol), subscriptions.outbox)

    def leave_trades(self, subscriptions: Subscriptions, symbol: str) -> None:
        """Unsubscribe trades; harmless when not subscribed."""
        subscriptions.trades().pop(symbol, None)
        self._hub.leave(events.trades_room(symbol), subscriptions.outbox)

    def depart(self, subscriptions: Subscriptions) -> None:
        """The client is gone: leave everything."""
        outbox = subscriptions.outbox
        for symbol in list(subscriptions.prices()):
            self.leave_price(subscriptions, symbol)
        for room in list(outbox.rooms):
            self._hub.leave(room, outbox)
        self._windows.everyone.discard(outbox)
        outbox.owes_market = False

    def is_live(self, symbol: str) -> bool:
        """Whether the newest price of a subscribed symbol is known here, or that there is none."""
        return self._feed.is_live(symbol)

    def send_current(self, subscriptions: Subscriptions, symbols: Sequence[str], *, as_batch: bool) -> None:
        """Send prices as they are now, of those symbols that have one; later changes build on them."""
        outbox = subscriptions.outbox
        found = [Change(symbol, price, UNKNOWN) for symbol in symbols if (price := self._market.find(symbol))]
        for symbol, price, _ in found:
            self._note_base(subscriptions, symbol, UNKNOWN if outbox.behind else price.seq)
        if outbox.behind:
            return
        if as_batch and found:
            outbox.send(self._fanout.batch_frame(outbox.parser, found, self._clock.now_ms()))
        else:
            for change in found:
                outbox.send(self._fanout.price_event(*change).frame(outbox.parser))

    def _note_base(self, subscriptions: Subscriptions, symbol: str, base: int) -> None:
        """What is sent next of a symbol builds on this; an immediate update does so by itself."""
        outbox = subscriptions.outbox
        delivery = subscriptions.prices()[symbol]
        if delivery.as_batch:
            outbox.owed_batches = outbox.owed_batches or {}
            outbox.owed_batches[symbol] = base
        elif delivery != IMMEDIATE or outbox.behind:
            outbox.owed_prices = outbox.owed_prices or {}
            outbox.owed_prices[symbol] = base

    def _settle_audience(self, subscriptions: Subscriptions) -> None:
        """The whole market is for clients without batches of their own; who comes back to it gets all of it once."""
        outbox = subscriptions.outbox
        everyone = self._windows.everyone
        if any(delivery.as_batch for delivery in subscriptions.prices().values()):
            everyone.discard(outbox)
            outbox.owes_market = False
        elif self._audience == "everyone" and outbox not in everyone:
            everyone.add(outbox)
            everyone.owe(outbox)

    def _leave_delivery(self, subscriptions: Subscriptions, symbol: str) -> None:
        delivery = subscriptions.prices()[symbol]
        outbox = subscriptions.outbox
        self._hub.leave(events.price_room(symbol), outbox)
        if delivery != IMMEDIATE:
            self._window_of(delivery).remove(outbox, symbol)
        if self._audience == "subscribers":
            self._default_window().remove(outbox, symbol)
        if outbox.owed_prices is not None:
            outbox.owed_prices.pop(symbol, None)
        if outbox.owed_batches is not None:
            outbox.owed_batches.pop(symbol, None)

    def _window_of(self, delivery: Delivery) -> Window:
        return self._windows.window(delivery.interval_ms, as_batch=delivery.as_batch)

    def _default_window(self) -> Window:
        return self._windows.window(self._windows.batch_ms, as_batch=True)
