"""One upstream entry becomes a `Tick`, or an error that names the field. Pure.

Fed by the entries of `feed:prices` and `feed:trades`, for a trade is a price too; feeds `services.price_ingest.book`.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Literal

import msgspec

from shared.bus.entries import StreamEntry
from shared.messages import Side
from shared.upstream import Refusal, UpstreamError, read_decimal, read_side, read_symbol, read_text, read_time


class Kind(IntEnum):
    """What a tick says; a symbol's candles are made of the highest kind that it has had."""

    QUOTE = 0
    PRICE = 1
    TRADE = 2


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

    symbol: str
    kind: Kind
    price: str | None
    ts: int
    at: int
    rank: int
    id: str | None = None
    bid: str | None = None
    ask: str | None = None
    amount: str | None = None
    side: Side | None = None
    venue: str | None = None
    state: Literal["live", "halted"] | None = None


def read_tick(fields: Mapping[bytes, bytes], entry_id: str) -> Tick:
    """Read one entry.

    Raises:
        UpstreamError: `symbol` or `price` is missing (a quote is no price), or any field is not what it should be.
    """
    symbol = read_symbol(fields)
    price = read_decimal(fields, b"price")
    if price is None:
        raise UpstreamError(Refusal.MISSING, "price")
    return Tick(
        symbol,
        price,
        read_time(fields, entry_id),
        read_decimal(fields, b"bid"),
        read_decimal(fields, b"ask"),
        read_decimal(fields, b"amount", positive=True),
        read_side(fields),
        read_text(fields, b"venue"),
    )


def read_ticks(entries: Iterable[StreamEntry]) -> tuple[list[Tick], list[tuple[StreamEntry, UpstreamError]]]:
    """The usable entries as ticks, in order, and the others with what is wrong with each."""
    ticks: list[Tick] = []
    refused: list[tuple[StreamEntry, UpstreamError]] = []
    for entry in entries:
        try:
            ticks.append(read_tick(entry.fields, entry.id))
        except UpstreamError as error:
            refused.append((entry, error))
    return ticks, refused
