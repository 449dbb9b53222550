"""Binance's own frames, as somebody's relay passes them on.

Some of their one-letter names mean one thing in a trade and another in a ticker (`p` is a price there and a change
here), so the event type `e` decides. Spot's `bookTicker` has none.
"""

from collections.abc import Mapping, Sequence
from typing import Final

_BOOK_TICKER: Final = frozenset({b"u", b"s", b"b", b"B", b"a", b"A"})
_QUOTE: Final = {b"s": b"symbol", b"b": b"bid", b"B": b"bid_size", b"a": b"ask", b"A": b"ask_size"}
_TRADE: Final = {b"s": b"symbol", b"p": b"price", b"q": b"amount"}
_SIDES: Final = {b"true": b"sell", b"false": b"buy"}
"""Of `m`, whether the buyer is the maker: then the taker sold."""

_NAMES: Final[Mapping[bytes, Mapping[bytes, bytes]]] = {
    b"trade": {**_TRADE, b"t": b"id"},
    b"aggTrade": {**_TRADE, b"a": b"id"},
    b"24hrTicker": {**_QUOTE, b"c": b"price"},
    b"24hrMiniTicker": {b"s": b"symbol", b"c": b"price"},
    b"bookTicker": _QUOTE,
}


def is_frame(fields: Mapping[bytes, bytes]) -> bool:
    """Whether flat fields are one of these frames, used or not."""
    return b"s" in fields and (b"e" in fields or fields.keys() >= _BOOK_TICKER)


def unwrap(fields: Mapping[bytes, bytes]) -> Sequence[Mapping[bytes, bytes]]:
    """The trade, quote or price of a frame, nothing for any other."""
    event = fields.get(b"e", b"bookTicker")
    names = _NAMES.get(event)
    if names is None:
        return ()
    found = {ours: fields[theirs] for theirs, ours in names.items() if theirs in fields}
    moment = fields.get(b"T", fields.get(b"E"))
    if moment is not None:
        found[b"ts"] = moment
    if b"amount" in found and b"m" in fields:
        found[b"side"] = _SIDES.get(fields[b"m"].lower(), fields[b"m"])
    return (found,)
