"""What hand-written publishers send: flat fields, or one field `data`, `payload` or `json` with JSON or MessagePack.

A payload is an object, an array of objects, a `{SYM: price}` map, or any of these inside the envelopes of the exchanges
(`{"stream": ..., "data": {...}}`). Field names are looked up in `aliases`; Binance's frames have their own reader.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.symbols import is_symbol
from shared.upstream import binance
from shared.upstream.aliases import ALIASES, CANONICAL, PAYLOADS, is_number, names_a_symbol, rename
from shared.upstream.errors import Refusal, UpstreamError
from shared.upstream.payload import MAX_DEPTH, MAX_ITEMS, as_bytes, flatten, read_payload

_WORDS: Final = frozenset({*CANONICAL, *(alias.name for aliases in ALIASES.values() for alias in aliases)})
"""No symbols of a `{SYM: price}` map; one capital letter can be."""


def unwrap(fields: Mapping[bytes, bytes]) -> Sequence[Mapping[bytes, bytes]]:
    """What an entry of no other format says.

    Raises:
        UpstreamError: there is a payload that cannot be read, or is beyond a limit.
    """
    if not names_a_symbol(fields):
        for name in PAYLOADS:
            if name in fields:
                return unwrap_payload(read_payload(fields[name], name.decode()), name.decode())
    return _read_flat(fields)


def unwrap_payload(payload: object, field: str) -> Sequence[Mapping[bytes, bytes]]:
    """What a decoded payload says; `field` is for the error.

    Raises:
        UpstreamError: it holds more than `MAX_ITEMS`, or more than `MAX_DEPTH` envelopes.
    """
    found: list[Mapping[bytes, bytes]] = []
    for item in _items(payload, field, MAX_DEPTH):
        if len(found) >= MAX_ITEMS:
            raise UpstreamError(Refusal.TOO_MANY_ITEMS, field, MAX_ITEMS)
        found.extend(_read_flat(item))
    return found


def _read_flat(fields: Mapping[bytes, bytes]) -> Sequence[Mapping[bytes, bytes]]:
    return binance.unwrap(fields) if binance.is_frame(fields) else (rename(fields),)


def _items(value: object, field: str, depth: int) -> Iterator[Mapping[bytes, bytes]]:
    """Every object inside the envelopes, flat; what is no object comes as one without fields."""
    if depth == 0:
        raise UpstreamError(Refusal.TOO_DEEP, field, MAX_DEPTH)
    if isinstance(value, list):
        for held in value:
            yield from _items(held, field, depth - 1)
    elif not isinstance(value, dict):
        yield {}
    else:
        yield from _object(value, field, depth)


def _object(value: dict[Any, Any], field: str, depth: int) -> Iterator[Mapping[bytes, bytes]]:
    flat = flatten(value)
    if names_a_symbol(flat):
        yield flat
        return
    for name in PAYLOADS:
        held = value.get(name.decode())
        if isinstance(held, list | dict):
            yield from _items(held, field, depth - 1)
            return
    if _is_price_map(value, flat):
        for symbol, price in flat.items():
            yield {b"symbol": symbol, b"price": price}
    else:
        yield flat


def _is_price_map(value: dict[Any, Any], flat: Mapping[bytes, bytes]) -> bool:
    return 0 < len(flat) == len(value) and all(
        _may_be_symbol(name) and is_number(price) for name, price in flat.items()
    )


def _may_be_symbol(name: bytes) -> bool:
    return (name not in _WORDS or name.isupper()) and is_symbol(as_bytes(name).decode(errors="replace"))
