"""Other names for the canonical fields: what hand-written publishers, exchanges and libraries call them.

Feeds `generic`. A long name is taken at its word, so that a bad value is refused by name. A name of one letter means
one thing here and another there, so it is taken only where its value fits.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

CANONICAL: Final = (
    *(b"symbol", b"price", b"amount", b"side", b"id", b"bid", b"ask", b"bid_size", b"ask_size"),
    *(b"ts", b"venue", b"user_id", b"type", b"state"),
)
PAYLOAD_FIELD: Final = b"data"
PAYLOADS: Final = (PAYLOAD_FIELD, b"payload", b"json")
"""Names of a field that holds all the others as JSON or MessagePack."""

Reading = Callable[[bytes], bytes | None]

_NUMBER: Final = re.compile(rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_MS_DIGITS: Final = len("1763800000000")
_SIDES: Final = {b"buy": b"buy", b"sell": b"sell", b"buyer": b"buy", b"seller": b"sell"}
_MAKERS: Final = {b"true": b"sell", b"1": b"sell", b"false": b"buy", b"0": b"buy"}
"""Binance's `m`: whether the buyer is the maker, so that the taker sold."""

_TOTALS: Final = frozenset({b"q", b"v", b"volume"})
"""Beside the `last` price of a ticker these count a day, not a trade."""


def is_number(value: bytes) -> bool:
    """Whether a text is a decimal number, exponent or not."""
    return _NUMBER.fullmatch(value) is not None


def _as_is(value: bytes) -> bytes:
    return value


def _number(value: bytes) -> bytes | None:
    return value if is_number(value) else None


def _name(value: bytes) -> bytes | None:
    return None if not value or is_number(value) or value.lower() in _SIDES else value


def _integer(value: bytes) -> bytes | None:
    return value if value.isdigit() else None


def _moment(value: bytes) -> bytes | None:
    return value if value[:1].isdigit() else None


def _moment_beyond_doubt(value: bytes) -> bytes | None:
    """`t` is a trade id if it is an integer, unless it is the only time and looks like one since 2001."""
    return None if value.isdigit() and len(value) < _MS_DIGITS else _moment(value)


def _side(value: bytes) -> bytes | None:
    return _SIDES.get(value.lower())


def _taker(value: bytes) -> bytes | None:
    return _MAKERS.get(value.lower())


class Alias(NamedTuple):
    """A name and how its value is read; None: it does not mean this."""

    name: bytes
    read: Reading = _as_is


ALIASES: Final[Mapping[bytes, tuple[Alias, ...]]] = {
    b"symbol": (
        *(Alias(b"s", _name), Alias(b"S", _name), Alias(b"sym"), Alias(b"instId")),
        *(Alias(b"product_id"), Alias(b"pair"), Alias(b"s")),
    ),
    b"price": (Alias(b"p", _number), Alias(b"px"), Alias(b"last"), Alias(b"c", _number)),
    b"amount": (
        *(Alias(b"size"), Alias(b"qty"), Alias(b"s", _number), Alias(b"q", _number)),
        *(Alias(b"sz"), Alias(b"volume"), Alias(b"v", _number)),
    ),
    b"side": (Alias(b"S", _side), Alias(b"m", _taker), Alias(b"aggressor_side", _side)),
    b"ts": (
        *(Alias(b"timestamp"), Alias(b"time"), Alias(b"T", _moment), Alias(b"E", _moment)),
        *(Alias(b"ts_event"), Alias(b"t", _moment_beyond_doubt)),
    ),
    b"id": (Alias(b"trade_id"), Alias(b"tradeId"), Alias(b"t", _integer), Alias(b"a", _integer)),
    b"venue": (Alias(b"exchange"),),
}
"""Canonical name -> its aliases, best first. An alias that has one meaning has no other."""

FOREIGN: Final = frozenset({alias.name for aliases in ALIASES.values() for alias in aliases} | {*PAYLOADS, b"topic"})
"""An entry with none of these needs no look at what they mean."""


def rename(fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The same fields under their canonical names; what has none is left out."""
    found = {name: fields[name] for name in CANONICAL if name in fields}
    taken: set[bytes] = set()
    for name, aliases in ALIASES.items():
        if name in found:
            continue
        for alias in aliases:
            value = fields.get(alias.name) if alias.name not in taken else None
            read = alias.read(value) if value is not None else None
            if read is not None:
                found[name] = read
                taken.add(alias.name)
                break
        if name == b"price" and not taken.isdisjoint((b"last", b"c")):
            taken |= _TOTALS
    return found


def names_a_symbol(fields: Mapping[bytes, object]) -> bool:
    """Whether any of a symbol's names is there."""
    return b"symbol" in fields or any(alias.name in fields for alias in ALIASES[b"symbol"])
