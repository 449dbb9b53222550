"""Entries of an upstream stream sorted into trades, what is to be refused, and what is none of our business. Pure.

Fed by `consumer`, which delivers and acknowledges one part after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.trade_notifier.recipients import FeedTrade
from shared.bus.entries import StreamEntry
from shared.dead_letters import DeadLetter
from shared.upstream import ABSENT, Holds, Source, SymbolNames, UpstreamError, parse_trade, unwrap

PART: Final = 1000
"""Trades after which a part ends, with the entry that reached it: bounds what is in hand."""

_QUOTE: Final = b"quote"


@dataclass(slots=True)
class Sorted:
    """Some entries, one after the other.

    Attributes:
        entries: their ids; never empty.
        trades: in the order of the stream.
        refused: what should have been a trade and cannot be one.
        ignored: quotes, prices, bars and the like.
        gone: pending entries that were trimmed away.
    """

    entries: list[str] = field(default_factory=list)
    trades: list[FeedTrade] = field(default_factory=list)
    refused: list[DeadLetter] = field(default_factory=list)
    ignored: int = 0
    gone: int = 0


def sort_out(source: Source, entries: Sequence[StreamEntry], names: SymbolNames | None) -> Iterator[Sorted]:
    """Every entry is in exactly one part."""
    part = Sorted()
    for entry in entries:
        part.entries.append(entry.id)
        if entry.fields:
            _add(part, source, entry, names)
        else:
            part.gone += 1
        if len(part.trades) + len(part.refused) >= PART:
            yield part
            part = Sorted()
    if part.entries:
        yield part


def _add(part: Sorted, source: Source, entry: StreamEntry, names: SymbolNames | None) -> None:
    try:
        items = unwrap(entry.fields)
    except UpstreamError as error:
        part.refused.append(DeadLetter(source.stream, entry, error))
        return
    if not items:
        part.ignored += 1
    for index, item in enumerate(items):
        if _is_no_trade(item, source.holds):
            part.ignored += 1
            continue
        # Without an id of its own a trade is known by its place, so that it is the same one when it comes again.
        place = entry.id if len(items) == 1 else f"{entry.id}/{index}"
        try:
            part.trades.append(FeedTrade(parse_trade(item, place, names), source.stream, place))
        except UpstreamError as error:
            shown = entry if len(items) == 1 else StreamEntry(entry.id, dict(item))
            part.refused.append(DeadLetter(source.stream, shown, error))


def _is_no_trade(item: Mapping[bytes, bytes], holds: Holds) -> bool:
    """Where only trades belong, what lacks an amount is a trade that lacks it, unless it says that it is none."""
    if item.get(b"type") == _QUOTE:
        return True
    if item.get(b"amount", b"") not in ABSENT:
        return False
    says_other = b"price" not in item and (b"bid" in item or b"ask" in item or b"state" in item)
    return b"symbol" in item and (says_other or holds is Holds.MIXED)
