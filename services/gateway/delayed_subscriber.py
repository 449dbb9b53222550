"""Joins and leaves where some clients get prices later: the live ones are served here, each other one by its tier."""

from collections.abc import Sequence

from services.gateway.delayed_prices import DelayedPrices
from services.gateway.fanout import Fanout
from services.gateway.hub import Hub
from services.gateway.market import Market
from services.gateway.outbox import Outbox
from services.gateway.price_feed import PriceFeed
from services.gateway.requests import RequestError
from services.gateway.subscriptions import Audience, Delivery, Subscriber, Subscriptions
from services.gateway.windows import Windows
from shared.clock import Clock
from shared.names import error_codes


class DelayedSubscriber(Subscriber):
    """A `Subscriber` for clients of every delay."""

    def __init__(  # noqa: PLR0913 - the parts of one gateway
        self,
        hub: Hub,
        market: Market,
        feed: PriceFeed,
        fanout: Fanout,
        windows: Windows,
        audience: Audience,
        clock: Clock,
        *,
        delayed: DelayedPrices,
    ) -> None:
        super().__init__(hub, market, feed, fanout, windows, audience, clock)
        self._delayed = delayed

    def change_delay(self, subscriptions: Subscriptions, delay_s: int) -> list[str]:
        """Have all prices of a client come so much later from now on, 0: live; each goes on with what is current then.

        Returns:
            Symbols that were lost, because there is no room for their prices.
        """
        before = self._delayed.tier_of(subscriptions)
        after = self._delayed.enter(delay_s) if delay_s else None
        wanted = dict(subscriptions.prices())
        if after is not before:
            for symbol in wanted:
                self.leave_price(subscriptions, symbol)
            self._windows.crowd(subscriptions.pace_ms).discard(subscriptions.outbox)
            subscriptions.outbox.owes_market = False
        if before is not None:
            self._delayed.leave(before)
        subscriptions.delay_s = 0 if after is None else after.delay_s
        if after is before:
            return []
        if after is None:
            self._settle_audience(subscriptions)
        return self._join_again(subscriptions, wanted)

    def arrive(self, outbox: Outbox) -> None:
        """See `Subscriber.arrive`."""
        if not isinstance(outbox.member, Subscriptions) or not outbox.member.delay_s:
            super().arrive(outbox)

    def join_price(self, subscriptions: Subscriptions, symbol: str, delivery: Delivery) -> None:
        """See `Subscriber.join_price`.

        Raises:
            RequestError: there is no room for the delayed prices of one more symbol.
        """
        tier = self._delayed.tier_of(subscriptions)
        if tier is None:
            super().join_price(subscriptions, symbol, delivery)
        elif self._delayed.has_room_for(symbol):
            tier.subscriber.join_price(subscriptions, symbol, delivery)
        else:
            raise RequestError(error_codes.TOO_MANY_DELAYED, limit=len(self._delayed.history))

    def leave_price(self, subscriptions: Subscriptions, symbol: str) -> None:
        """See `Subscriber.leave_price`."""
        tier = self._delayed.tier_of(subscriptions)
        if tier is None:
            super().leave_price(subscriptions, symbol)
        else:
            tier.subscriber.leave_price(subscriptions, symbol)

    def change_pace(self, subscriptions: Subscriptions, pace_ms: int) -> None:
        """See `Subscriber.change_pace`."""
        tier = self._delayed.tier_of(subscriptions)
        if tier is None:
            super().change_pace(subscriptions, pace_ms)
        else:
            tier.subscriber.change_pace(subscriptions, pace_ms)

    def granted_ms(self, subscriptions: Subscriptions, delivery: Delivery) -> int:
        """See `Subscriber.granted_ms`."""
        tier = self._delayed.tier_of(subscriptions)
        if tier is None:
            return super().granted_ms(subscriptions, delivery)
        return tier.subscriber.granted_ms(subscriptions, delivery)

    def is_pending(self, subscriptions: Subscriptions, symbol: str) -> bool:
        """See `Subscriber.is_pending`."""
        tier = self._delayed.tier_of(subscriptions)
        if tier is None:
            return super().is_pending(subscriptions, symbol)
        return tier.subscriber.is_pending(subscriptions, symbol)

    def send_current(self, subscriptions: Subscriptions, symbols: Sequence[str], *, as_batch: bool) -> None:
        """See `Subscriber.send_current`."""
        tier = self._delayed.tier_of(subscriptions)
        if tier is None:
            super().send_current(subscriptions, symbols, as_batch=as_batch)
        else:
            tier.subscriber.send_current(subscriptions, symbols, as_batch=as_batch)

    def depart(self, subscriptions: Subscriptions) -> None:
        """See `Subscriber.depart`."""
        tier = self._delayed.tier_of(subscriptions)
        if tier is None:
            super().depart(subscriptions)
        else:
            tier.subscriber.depart(subscriptions)
            self._delayed.leave(tier)
            subscriptions.delay_s = 0

    def _join_again(self, subscriptions: Subscriptions, wanted: dict[str, Delivery]) -> list[str]:
        lost: list[str] = []
        joined: dict[bool, list[str]] = {False: [], True: []}
        for symbol, delivery in wanted.items():
            try:
                self.join_price(subscriptions, symbol, delivery)
                joined[delivery.as_batch].append(symbol)
            except RequestError:
                lost.append(symbol)
        for as_batch, symbols in joined.items():
            self.send_current(subscriptions, symbols, as_batch=as_batch)
        return lost
