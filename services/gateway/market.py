"""The last price of every symbol, as far as somebody wants to know.

`price_feed.py` feeds it encoded prices; what nobody watches stays encoded. A price that is not newer than the known one
is dropped, so re-reading a snapshot and hearing it on Pub/Sub may overlap in any order.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from shared.messages import Price, decode_price, encode

UNKNOWN: Final = -1


class Change(NamedTuple):
    """A price that is new: `base` is the `seq` that it builds on, `UNKNOWN` where there was none."""

    symbol: str
    price: Price
    base: int


class Market:
    """Prices by symbol.

    Args:
        everything: decode every symbol, because everybody gets the whole market.
    """

    def __init__(self, *, everything: bool) -> None:
        self._everything = everything
        self._latest: dict[str, Price] = {}
        self._unread: dict[str, msgspec.Raw] = {}
        self._watchers: dict[str, int] = {}
        self.epoch = ""
        self.version = 0

    def find(self, symbol: str) -> Price | None:
        """The last price, of a watched symbol."""
        return self._latest.get(symbol)

    def items(self) -> Iterable[tuple[str, Price]]:
        """Every price that is decoded: the whole market, when everybody gets it."""
        return self._latest.items()

    def watch(self, symbol: str) -> bool:
        """One more subscription; True for the symbol's first."""
        count = self._watchers.get(symbol, 0)
        self._watchers[symbol] = count + 1
        unread = self._unread.pop(symbol, None)
        if unread is not None:
            self._latest[symbol] = decode_price(unread)
        return count == 0

    def unwatch(self, symbol: str) -> bool:
        """One subscription less; True for the symbol's last."""
        count = self._watchers[symbol] - 1
        if count:
            self._watchers[symbol] = count
            return False
        del self._watchers[symbol]
        if not self._everything and symbol in self._latest:
            self._unread[symbol] = msgspec.Raw(encode(self._latest.pop(symbol)))
        return True

    def apply(self, prices: Mapping[str, msgspec.Raw]) -> list[Change]:
        """Take published prices; returns those that are watched and new.

        Raises:
            DecodeError: one of them is not a `Price`; those before it were taken.
        """
        changes: list[Change] = []
        for symbol, raw in prices.items():
            if self._everything or symbol in self._watchers:
                self._take(symbol, decode_price(raw), changes)
            else:
                self._unread[symbol] = raw
        return changes

    def apply_snapshot(self, prices: Mapping[str, bytes]) -> list[Change]:
        """Take prices re-read from Redis; what was published meanwhile is newer and stays. Returns as `apply`.

        Raises:
            DecodeError: as `apply`.
        """
        changes: list[Change] = []
        for symbol, encoded in prices.items():
            price = decode_price(encoded)
            unread = self._unread.get(symbol)
            if unread is not None and decode_price(unread).seq >= price.seq:
                continue
            if self._everything or symbol in self._watchers:
                self._take(symbol, price, changes)
            else:
                self._unread[symbol] = msgspec.Raw(encoded)
        return changes

    def begin_epoch(self, epoch: str) -> None:
        """Forget everything: `seq` has begun anew, and old numbers would hide new prices."""
        self.epoch = epoch
        self._latest.clear()
        self._unread.clear()

    def _take(self, symbol: str, price: Price, changes: list[Change]) -> None:
        known = self._latest.get(symbol)
        if known is not None and price.seq <= known.seq:
            return
        self._latest[symbol] = price
        self.version += 1
        changes.append(Change(symbol, price, UNKNOWN if known is None else known.seq))
