"""The last price of every symbol: drops what says nothing new, numbers and folds the rest. Pure.

Fed by `services.price_ingest.normalise`; what `take` returns feeds `services.price_ingest.store`. The time of a symbol
is the newest at which its price was said, so a tick that repeats the price moves the time and nothing else: a late one
that contradicts it is out of date.
"""

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from services.price_ingest.normalise import Tick
from shared.messages import Price


class Verdict(StrEnum):
    """What became of a tick; all but the first are reasons for which it was dropped."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"
    OUT_OF_DATE = "out_of_date"
    TOO_MANY_SYMBOLS = "too_many_symbols"


class Change(NamedTuple):
    """What a symbol has come to since it was taken last.

    Attributes:
        symbol: the upstream's.
        price: as snapshot and publication hold it.
        fresh: whether there is a new `seq` to publish; else only the time moved on.
    """

    symbol: str
    price: Price
    fresh: bool


class _Last:
    """The state of one symbol: its last accepted tick, where that stands, and what is not published yet."""

    __slots__ = ("folded", "n", "seq", "tick", "ts")

    def __init__(self, tick: Tick, seq: int, n: int) -> None:
        self.tick = tick
        self.ts = tick.ts
        self.seq = seq
        self.n = n
        self.folded = 0


class Book:
    """All symbols.

    Args:
        max_symbols: further ones are refused, so that an upstream's mistake cannot fill the memory.
    """

    def __init__(self, max_symbols: int) -> None:
        self._max_symbols = max_symbols
        self._lasts: dict[str, _Last] = {}
        self._touched: dict[str, _Last] = {}

    def __len__(self) -> int:
        return len(self._lasts)

    def restore(self, symbol: str, price: Price) -> None:
        """Go on from a snapshot."""
        tick = Tick(symbol, price.price, price.ts, price.bid, price.ask, price.amount, price.side, price.venue)
        self._lasts[symbol] = _Last(tick, price.seq, price.n)

    def fold(self, tick: Tick) -> Verdict:
        """Take one tick in. Ticks of the same time count in order of arrival."""
        last = self._lasts.get(tick.symbol)
        if last is None:
            if len(self._lasts) >= self._max_symbols:
                return Verdict.TOO_MANY_SYMBOLS
            last = self._lasts[tick.symbol] = _Last(tick, 0, 0)
        elif tick.ts < last.ts:
            return Verdict.OUT_OF_DATE
        elif _says_the_same(tick, last.tick):
            if tick.ts > last.ts:
                last.ts = tick.ts
                self._touched[tick.symbol] = last
            return Verdict.UNCHANGED
        last.tick = tick
        last.ts = tick.ts
        last.seq += 1
        last.folded += 1
        self._touched[tick.symbol] = last
        return Verdict.ACCEPTED

    def take(self) -> list[Change]:
        """What changed since the last call, each symbol once; from now on it counts as published."""
        touched, self._touched = self._touched, {}
        return [_change(symbol, last) for symbol, last in touched.items()]


def _change(symbol: str, last: _Last) -> Change:
    fresh = last.folded > 0
    if fresh:
        last.n, last.folded = last.folded, 0
    tick = last.tick
    price = Price(tick.price, last.ts, last.seq, last.n, tick.bid, tick.ask, tick.amount, tick.side, tick.venue)
    return Change(symbol, price, fresh)


def _says_the_same(tick: Tick, last: Tick) -> bool:
    """Whether price, bid and ask are equal as numbers; a bid or ask that the tick does not give changes nothing."""
    return (
        _equal(tick.price, last.price)
        and (tick.bid is None or _equal(tick.bid, last.bid))
        and (tick.ask is None or _equal(tick.ask, last.ask))
    )


def _equal(text: str, other: str | None) -> bool:
    return text == other or (other is not None and Decimal(text) == Decimal(other))
