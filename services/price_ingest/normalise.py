"""One upstream entry becomes a `Tick`, or an error that names the field. Pure.

Fed by the entries of `feed:prices` and `feed:trades`, for a trade is a price too; feeds `services.price_ingest.book`.
"""

from collections.abc import Iterable, Mapping

import msgspec

from shared.bus.entries import StreamEntry
from shared.messages import Side
from shared.upstream import Refusal, UpstreamError, read_decimal, read_side, read_symbol, read_text, read_time


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One usable upstream entry; the fields are those of `shared.messages.Price`."""

    symbol: str
    price: str
    ts: int
    bid: str | None = None
    ask: str | None = None
    amount: str | None = None
    side: Side | None = None
    venue: str | None = None


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
