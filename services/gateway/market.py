"""The last price of every symbol, as far as somebody wants to know.

`price_feed.py` feeds it encoded prices; what nobody watches stays encoded. A price that is not newer than the known one
is dropped, so re-reading a snapshot and hearing it on Pub/Sub may overlap in any order. Who may publish prices may not
make this grow: neither with symbols, nor with what stands beside a price in its message.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from shared.log import get_logger
from shared.messages import MAX_BUS_ITEM, DecodeError, Price, decode_price, encode
from shared.symbols import is_symbol

log = get_logger(__name__)

UNKNOWN: Final = -1

MOST_SYMBOLS: Final = 100_000
"""Five times what price-ingest takes unless told otherwise; of further ones nothing is kept until they are watched."""

MOST_HELD: Final = 67_108_864
"""Bytes of messages that prices nobody has read may keep in memory; then each price is copied out of its own."""


class Change(NamedTuple):
    """A price that is new: `base` is the `seq` that it builds on.

    `UNKNOWN` where there was none, and where the price is the same and only the state of its feed is new: then it is
    restated.
    """

    symbol: str
    price: Price
    base: int


class Market:
    """Prices by symbol.

    Args:
        everything: decode every symbol, because everybody gets the whole market.

    Attributes:
        epoch: names the history that the `seq`s belong to.
        rejected: prices that could not be read; each is skipped alone.
    """

    def __init__(self, *, everything: bool) -> None:
        self._everything = everything
        self._latest: dict[str, Price] = {}
        self._unread: dict[str, msgspec.Raw] = {}
        self._watchers: dict[str, int] = {}
        self._held = 0
        self.epoch = ""
        self.rejected = 0

    def find(self, symbol: str) -> Price | None:
        """The last price, of a watched symbol."""
        return self._latest.get(symbol)

    def is_watched(self, symbol: str) -> bool:
        """Whether its price is decoded, and so `find` knows it."""
        return self._everything or symbol in self._watchers

    def items(self) -> Iterable[tuple[str, Price]]:
        """Every price that is decoded: the whole market, when everybody gets it."""
        return self._latest.items()

    def watch(self, symbol: str) -> bool:
        """One more subscription; True for the symbol's first."""
        count = self._watchers.get(symbol, 0)
        self._watchers[symbol] = count + 1
        price = self._read(symbol, self._unread.pop(symbol, None))
        if price is not None:
            self._latest[symbol] = price
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

    def apply(self, prices: Mapping[str, msgspec.Raw], size: int = 0) -> list[Change]:
        """Take published prices, of a message of `size` bytes; returns those that are watched and new."""
        changes: list[Change] = []
        watched = prices if self._everything else list(filter(self._watchers.__contains__, prices))
        for symbol in watched:
            self._take(symbol, self._read(symbol, prices[symbol]), changes)
        if len(watched) < len(prices):
            self._unread.update(prices)  # all, since that is one step in C: most of a large market is watched by nobody
            for symbol in watched:
                del self._unread[symbol]
            self._held += size
            self._bound()
        return changes

    def apply_snapshot(self, prices: Mapping[str, bytes]) -> list[Change]:
        """Take prices re-read from Redis; what was published meanwhile is newer and stays. Returns as `apply`."""
        changes: list[Change] = []
        for symbol, encoded in prices.items():
            price = self._read(symbol, encoded)
            if self._everything or symbol in self._watchers:
                self._take(symbol, price, changes)
                continue
            unread = self._read(symbol, self._unread.get(symbol))
            if price is not None and (unread is None or _is_newer(price, unread)):
                self._unread[symbol] = msgspec.Raw(encoded)
        self._bound()
        return changes

    def forget(self, symbol: str) -> None:
        """Know no price of a symbol."""
        self._latest.pop(symbol, None)
        self._unread.pop(symbol, None)

    def begin_epoch(self, epoch: str) -> None:
        """Forget everything: `seq` has begun anew, and old numbers would hide new prices."""
        self.epoch = epoch
        self._latest.clear()
        self._unread.clear()
        self._held = 0

    def _bound(self) -> None:
        while len(self._unread) > MOST_SYMBOLS:
            self._unread.popitem()  # the newest: those that have been here for longer are likelier to be real
            self.rejected += 1
        if self._held > MOST_HELD:  # a part of a message keeps all of it in memory
            self._held = 0
            self._unread = {symbol: raw.copy() for symbol, raw in self._unread.items() if _size(raw) <= MAX_BUS_ITEM}

    def _read(self, symbol: str, encoded: msgspec.Raw | bytes | None) -> Price | None:
        if encoded is None:
            return None
        try:
            return decode_price(encoded)
        except DecodeError as error:
            self.rejected += 1
            if self.rejected & (self.rejected - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: never a flood
                log.warning("price_rejected", symbol=symbol, error=error, rejected=self.rejected)
            return None

    def _take(self, symbol: str, price: Price | None, changes: list[Change]) -> None:
        known = self._latest.get(symbol)
        if price is None or (known is not None and not _is_newer(price, known)):
            return
        if known is None and (not is_symbol(symbol) or len(self._latest) >= MOST_SYMBOLS):
            self.rejected += 1
            return
        self._latest[symbol] = price
        changes.append(Change(symbol, price, UNKNOWN if known is None or known.seq == price.seq else known.seq))


def _is_newer(price: Price, known: Price) -> bool:
    return price.seq > known.seq or (price.seq == known.seq and price.since > known.since)


def _size(raw: msgspec.Raw) -> int:
    return memoryview(raw).nbytes
