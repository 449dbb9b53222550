"""Open, high, low, close, volume and count of some ticks, mergeable in any order. Pure.

Fed by `services.price_ingest.symbol_chart`, which keeps one per second until it merges it into the candles. Open and
close are the least and the greatest `Point`, high and low the greatest and the least `Number`, so the result depends
on which ticks went in and not on when. Everything is exact: prices keep the upstream's text, volume is a `Decimal` in
a context wider than any sum of the decimals that `shared.upstream` accepts.
"""

from collections.abc import Collection
from decimal import Context, Decimal
from typing import Final

from services.price_ingest.normalise import Kind

Order = tuple[int, int, int]
"""Where a tick stands: event time in ns; its trade id, else its rank; and what tells equal ones apart."""

Point = tuple[int, int, int, str]
"""An `Order` and the price there, as text. Points are compared as a whole."""

Number = tuple[Decimal, str]
"""A decimal and its text. Texts decide between equal numbers (1.0 and 1.00), so that order of arrival does not."""

EXACT: Final = Context(prec=200)
"""Accepted decimals have at most 40 digits before the point and 80 after it."""

ZERO: Final = Decimal(0)


def number(text: str) -> Number:
    """A price to compare."""
    return Decimal(text), text


def mid(bid: str, ask: str) -> str:
    """The price half way between two, exactly."""
    return format(EXACT.divide(EXACT.add(Decimal(bid), Decimal(ask)), Decimal(2)), "f")


class Aggregate:
    """Some ticks of one kind, at least one.

    Attributes:
        kind: of the ticks.
        first, last: open and close.
        high, low: of the prices.
        volume: sum of the amounts.
        trades: how many had one.
    """

    __slots__ = ("_text", "first", "high", "kind", "last", "low", "trades", "volume")

    def __init__(self, kind: Kind, point: Point) -> None:
        self.kind = kind
        self.first = self.last = point
        self.high = self.low = number(point[3])
        self.volume = ZERO
        self.trades = 0
        self._text = point[3]

    def add_price(self, point: Point) -> None:
        """Take a price in."""
        if point > self.last:
            self.last = point
        elif point < self.first:
            self.first = point
        if point[3] != self._text:  # most trades repeat the price before them
            self._text = point[3]
            price = number(point[3])
            if price > self.high:
                self.high = price
            elif price < self.low:
                self.low = price

    def add_amount(self, amount: str) -> None:
        """Count a trade."""
        self.volume = EXACT.add(self.volume, Decimal(amount))
        self.trades += 1

    def take_back(self, amount: str) -> None:
        """Count a trade no more. Its price stays: what repeats a trade changes no price."""
        self.volume = EXACT.subtract(self.volume, Decimal(amount))
        self.trades -= 1

    def merge(self, other: "Aggregate") -> bool:
        """Take another one in: the higher kind replaces the lower one. Says whether anything of it was used."""
        if other.kind is not self.kind:
            if other.kind < self.kind:
                return False
            self.become(other)
            return True
        # Not `max` and `min`, which take twice as long: this runs seven times for each symbol that is taken.
        if other.last > self.last:  # noqa: PLR1730
            self.last = other.last
        if other.first < self.first:  # noqa: PLR1730
            self.first = other.first
        if other.high > self.high:  # noqa: PLR1730
            self.high = other.high
        if other.low < self.low:  # noqa: PLR1730
            self.low = other.low
        if other.trades:
            self.volume = EXACT.add(self.volume, other.volume)
            self.trades += other.trades
        return True

    def become(self, other: "Aggregate") -> None:
        """Hold what the other one holds, and nothing else."""
        self.kind = other.kind
        self.first, self.last = other.first, other.last
        self.high, self.low = other.high, other.low
        self.volume, self.trades = other.volume, other.trades

    def reorder(self, before: Collection[Point], after: Collection[Point]) -> None:
        """Some ticks stand elsewhere than it seemed: open and close follow if they were of these."""
        if self.first in before:
            self.first = min(after)
        if self.last in before:
            self.last = max(after)
