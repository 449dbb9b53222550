"""The last price of every symbol at home in a unit: drops what says nothing new, numbers and folds the rest. Pure.

Fed by `services.price_ingest.intake`; what `take` returns feeds `services.price_ingest.store`.

A venue's quotes and its trades have different clocks, so each is judged against its own kind: a quote is out of date
where a later quote was seen, a price or trade where a later one of those was. What is published is one `Price` with
the last price, the last bid and ask, and the newest time of either.
"""

from collections.abc import Iterator
from decimal import Context, Decimal
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from services.price_ingest.normalise import Kind, Tick
from shared.messages import FeedState, Price, Side

QuotePrice = Literal["mid", "bid", "ask"]
"""What a symbol costs that is known by quotes alone."""

_QUOTE: Final = Kind.QUOTE  # asked for with every tick, and an enum is slow to look into
_EXACT: Final = Context(prec=128)
"""Enough for the half of the sum of any two decimals that upstreams may write."""


class Verdict(StrEnum):
    """What became of a tick; all but the first are reasons for which it was dropped."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"
    OUT_OF_DATE = "out_of_date"
    DUPLICATE = "duplicate"
    TOO_MANY_SYMBOLS = "too_many_symbols"


class StoredPrice(Price, frozen=True, array_like=True, gc=False):
    """A `Price` as price-ingest writes it: readers stop at the fields that they know.

    Attributes:
        said_at: event time of the last price or trade, ns; 0 where there were quotes alone.
        quoted_at: event time of the last quote, ns; 0 where there was none.
    """

    said_at: int = 0
    quoted_at: int = 0


class Change(NamedTuple):
    """What a symbol has come to since it was taken last.

    Attributes:
        symbol: the upstream's.
        price: as snapshot and publication hold it.
        fresh: whether there is a new `seq` or `state` to publish; else only the time moved on.
    """

    symbol: str
    price: StoredPrice
    fresh: bool


class _Last:
    """One symbol: the fields of its `StoredPrice`, what is not published yet, and when it was heard of."""

    __slots__ = (
        "amount",
        "ask",
        "bid",
        "folded",
        "heard",
        "n",
        "price",
        "quoted_at",
        "said_at",
        "seq",
        "side",
        "since",
        "state",
        "state_moved",
        "ts",
        "venue",
    )

    def __init__(self, stored: StoredPrice, heard: int) -> None:
        self.price = stored.price
        self.ts = stored.ts
        self.seq = stored.seq
        self.n = stored.n
        self.bid = stored.bid
        self.ask = stored.ask
        self.amount = stored.amount
        self.side: Side | None = stored.side
        self.venue = stored.venue
        self.state: FeedState = stored.state
        self.since = stored.since
        self.said_at = stored.said_at
        self.quoted_at = stored.quoted_at
        self.heard = heard
        self.folded = 0
        self.state_moved = False

    def enter(self, state: FeedState, now_ms: int) -> None:
        """The feed's state changes."""
        self.state = state
        self.since = max(now_ms, self.since + 1)
        self.state_moved = True

    def take(self) -> tuple[StoredPrice, bool]:
        """As it is to be stored, and whether it is to be published."""
        fresh = self.folded > 0 or self.state_moved
        if fresh:
            self.n, self.folded, self.state_moved = self.folded, 0, False
        stored = StoredPrice(
            self.price,
            self.ts,
            self.seq,
            self.n,
            self.bid,
            self.ask,
            self.amount,
            self.side,
            self.venue,
            self.state,
            self.since,
            self.said_at,
            self.quoted_at,
        )
        return stored, fresh


class Book:
    """All symbols of a unit.

    Args:
        quote_price: what a symbol costs that is known by quotes alone.
        stale_ms: a symbol not heard of for so long is stale; 0: never.
    """

    def __init__(self, quote_price: QuotePrice, stale_ms: int) -> None:
        self._quote_price: QuotePrice = quote_price
        self._stale_ms = stale_ms
        self._lasts: dict[str, _Last] = {}
        self._touched: dict[str, _Last] = {}
        self.stale = 0

    def __len__(self) -> int:
        return len(self._lasts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lasts)

    def restore(self, symbol: str, price: StoredPrice, now_ms: int) -> None:
        """Go on from a snapshot; silence counts from now."""
        self._lasts[symbol] = _Last(price, now_ms)
        self.stale += price.state == "stale"

    def fold(self, tick: Tick, now_ms: int) -> Verdict:
        """Take one tick in. Ticks of the same time count in order of arrival."""
        last = self._lasts.get(tick.symbol)
        if last is None:
            return self._begin(tick, now_ms)
        last.heard = now_ms
        if last.state == "stale":
            self.stale -= 1
            self._enter(tick.symbol, last, "live", now_ms)
        quote = tick.kind is _QUOTE
        if tick.at < (last.quoted_at if quote else last.said_at):
            return Verdict.OUT_OF_DATE
        changed = self._quote(last, tick) if quote else _say(last, tick)
        if tick.state is not None or last.state == "halted":
            self._hear_of_state(tick, last, now_ms)
        self._touched[tick.symbol] = last
        last.ts = max(last.ts, tick.ts)
        if not changed:
            return Verdict.UNCHANGED
        last.seq += 1
        last.folded += 1
        return Verdict.ACCEPTED

    def look_for_stale(self, now_ms: int) -> bool:
        """Mark the symbols that have been silent for too long; whether there are new ones."""
        if not self._stale_ms:
            return False
        before = self.stale
        silent_since = now_ms - self._stale_ms
        for symbol, last in self._lasts.items():
            if last.heard <= silent_since and last.state == "live":
                self.stale += 1
                self._enter(symbol, last, "stale", now_ms)
        return self.stale > before

    def take(self) -> list[Change]:
        """What changed since the last call, each symbol once; from now on it counts as published."""
        touched, self._touched = self._touched, {}
        return [Change(symbol, *last.take()) for symbol, last in touched.items()]

    def _begin(self, tick: Tick, now_ms: int) -> Verdict:
        """The first tick of a symbol; one that tells no price begins nothing."""
        quote = tick.kind is _QUOTE
        price = self._price_of(tick.bid, tick.ask) if quote else tick.price
        if price is None:
            return Verdict.UNCHANGED
        said_at, quoted_at = (0, tick.at) if quote else (tick.at, 0)
        rest = (tick.bid, tick.ask, tick.amount, tick.side, tick.venue, tick.state or "live", now_ms)
        last = _Last(StoredPrice(price, tick.ts, 1, 0, *rest, said_at, quoted_at), now_ms)
        last.folded = 1
        self._lasts[tick.symbol] = self._touched[tick.symbol] = last
        return Verdict.ACCEPTED

    def _hear_of_state(self, tick: Tick, last: _Last, now_ms: int) -> None:
        """What the entry says of the feed; a trade says that it is live."""
        state = tick.state or ("live" if tick.kind is Kind.TRADE else last.state)
        if state != last.state:
            self._enter(tick.symbol, last, state, now_ms)

    def _enter(self, symbol: str, last: _Last, state: FeedState, now_ms: int) -> None:
        last.enter(state, now_ms)
        self._touched[symbol] = last

    def _quote(self, last: _Last, tick: Tick) -> bool:
        """Take bid and ask over; whether one of them is new. What a quote does not give stays."""
        last.quoted_at = tick.at
        changed = False
        if tick.bid is not None and not _equal(tick.bid, last.bid):
            last.bid, changed = tick.bid, True
        if tick.ask is not None and not _equal(tick.ask, last.ask):
            last.ask, changed = tick.ask, True
        if changed and last.said_at == 0:
            last.price = self._price_of(last.bid, last.ask) or last.price
        return changed

    def _price_of(self, bid: str | None, ask: str | None) -> str | None:
        """The price that a bid and an ask make; of one alone, that one."""
        if bid is None or ask is None:
            return bid or ask
        if self._quote_price == "bid":
            return bid
        if self._quote_price == "ask":
            return ask
        return format(_EXACT.divide(_EXACT.add(Decimal(bid), Decimal(ask)), Decimal(2)), "f")


def _say(last: _Last, tick: Tick) -> bool:
    """Take a price or trade over; whether it says anything new."""
    assert tick.price is not None, tick
    first, last.said_at = last.said_at == 0, tick.at
    if not first and _says_the_same(tick, last):
        return False
    last.price = tick.price
    last.bid = tick.bid or last.bid
    last.ask = tick.ask or last.ask
    last.amount = tick.amount
    last.side = tick.side
    last.venue = tick.venue
    return True


def _says_the_same(tick: Tick, last: _Last) -> bool:
    """Whether price, bid and ask are equal as numbers; a bid or ask that the tick does not give changes nothing."""
    return (
        _equal(last.price, tick.price)
        and (tick.bid is None or _equal(tick.bid, last.bid))
        and (tick.ask is None or _equal(tick.ask, last.ask))
    )


def _equal(text: str, other: str | None) -> bool:
    return text == other or (other is not None and Decimal(text) == Decimal(other))
