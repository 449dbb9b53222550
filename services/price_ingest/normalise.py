"""One upstream entry becomes `Tick`s, or errors that name the field. Pure.

Fed by the entries of `feed:prices` and `feed:trades`, for a trade is a price too; feeds `services.price_ingest.book`.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final, Literal

import msgspec

from shared.bus.entries import StreamEntry, entry_order
from shared.messages import DecimalText, Name, Side, Symbol, Whole
from shared.upstream import (
    NS_PER_MS,
    Refusal,
    SymbolNames,
    UpstreamError,
    check_written,
    read_decimal,
    read_side,
    read_state,
    read_symbol,
    read_text,
    read_time_ns,
    unwrap,
)

_QUOTE: Final = b"quote"
_NUMBER_BITS: Final = 20
_LARGEST_NUMBER: Final = (1 << _NUMBER_BITS) - 1


class Kind(IntEnum):
    """What a tick says; a symbol's candles are made of the highest kind that it has had."""

    QUOTE = 0
    PRICE = 1
    TRADE = 2


_KIND_QUOTE, _KIND_PRICE, _KIND_TRADE = Kind  # needed for every tick, and an enum is slow to look into


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One usable upstream entry.

    Attributes:
        symbol: canonical, see `shared.symbols`.
        kind: a trade has an amount, a quote has no price of its own.
        price: canonical decimal text; None in a quote.
        ts: event time, ms.
        at: event time, ns.
        rank: orders arrivals, also across restarts: the entry id's `ms << 20 | number`.
        id: the upstream's trade id, if it gave one.
        bid, ask, amount, side, venue: as in `shared.messages.Price`.
        state: what the upstream says of the symbol's feed, if this entry says so.
    """

    symbol: Symbol
    kind: Kind
    price: DecimalText | None
    ts: Whole
    at: int
    rank: int
    id: Name | None = None
    bid: DecimalText | None = None
    ask: DecimalText | None = None
    amount: DecimalText | None = None
    side: Side | None = None
    venue: Name | None = None
    state: Literal["live", "halted"] | None = None


def read_tick(fields: Mapping[bytes, bytes], written: int, number: int, names: SymbolNames | None = None) -> Tick:
    """Read one canonical mapping of the entry with the id `{written}-{number}`.

    Raises:
        UpstreamError: it says nothing of a symbol, or any field is not what it should be.
    """
    symbol = read_symbol(fields, names)
    price = read_decimal(fields, b"price")
    amount = read_decimal(fields, b"amount", positive=True)
    bid, ask = read_decimal(fields, b"bid"), read_decimal(fields, b"ask")
    state = read_state(fields)
    if fields.get(b"type") == _QUOTE:
        amount = None  # whatever it counts, nothing was traded
    if price is None and (amount is not None or bid is ask is state is None):
        raise UpstreamError(Refusal.MISSING, "price")
    at = read_time_ns(fields, check_written(written))
    return Tick(
        symbol,
        _KIND_QUOTE if price is None else _KIND_PRICE if amount is None else _KIND_TRADE,
        price,
        at // NS_PER_MS,
        at,
        written << _NUMBER_BITS | min(number, _LARGEST_NUMBER),
        read_text(fields, b"id"),
        bid,
        ask,
        amount,
        read_side(fields),
        read_text(fields, b"venue"),
        state,
    )


def read_ticks(
    entries: Iterable[StreamEntry], names: SymbolNames | None = None
) -> tuple[list[Tick], list[tuple[StreamEntry, UpstreamError]]]:
    """The usable items of entries as ticks, in order, and the others with what is wrong with each.

    A refused item of several in one entry comes as an entry of its own, with the same id and the canonical fields.
    """
    ticks: list[Tick] = []
    refused: list[tuple[StreamEntry, UpstreamError]] = []
    for entry in entries:
        written, number = entry_order(entry.id)
        try:
            items = unwrap(entry.fields)
        except UpstreamError as error:
            refused.append((entry, error))
            continue
        for item in items:
            try:
                ticks.append(read_tick(item, written, number, names))
            except UpstreamError as error:
                refused.append((entry if len(items) == 1 else StreamEntry(entry.id, dict(item)), error))
    return ticks, refused
