"""Which trades came before: drops those whose id did, and says which trades without an id look like one that did. Pure.

Fed by `services.price_ingest.normalise`; what `filter` lets through feeds the price book and
`services.price_ingest.candles`. One bounded memory serves all symbols; it depends on nothing but the sequence of
ticks, so after a restart the tail of the source streams run through `filter` again rebuilds it.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from services.price_ingest.normalise import Kind, Tick


class Echo(NamedTuple):
    """A trade without an id, named by where it arrived."""

    symbol: str
    rank: int


class Sifted(NamedTuple):
    """What one batch has come to.

    Attributes:
        fresh: the ticks to go on with, in order of arrival.
        duplicates: trades dropped, because their id was seen.
        echoes: trade without an id in `fresh` -> `rank` of the first one that equals it in symbol, time, price, amount
            and side. It need not be a duplicate: `Charts.fold` decides, for only it knows the newest-first bursts.
    """

    fresh: list[Tick]
    duplicates: int
    echoes: Mapping[Echo, int]


class Seen:
    """The memory.

    Args:
        capacity: trades remembered over all symbols; the oldest is forgotten first. One takes about 200 bytes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._ranks: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def filter(self, ticks: Sequence[Tick]) -> Sifted:
        """Drop the trades whose (symbol, venue, id) was seen; what is no trade passes."""
        fresh: list[Tick] = []
        echoes: dict[Echo, int] = {}
        ranks = self._ranks
        for tick in ticks:
            if tick.kind is Kind.TRADE:
                fingerprint = _fingerprint(tick)
                before = ranks.get(fingerprint)
                if before is None:
                    ranks[fingerprint] = tick.rank
                elif tick.id is None:
                    echoes[Echo(tick.symbol, tick.rank)] = before
                else:
                    continue
            fresh.append(tick)
        self._forget()
        return Sifted(fresh, len(ticks) - len(fresh), echoes)

    def _forget(self) -> None:
        excess = len(self._ranks) - self._capacity
        for oldest in list(islice(self._ranks, max(0, excess))):
            del self._ranks[oldest]


def _fingerprint(tick: Tick) -> str:
    """What makes two trades the same, in one text: a tuple would hold five objects instead of one."""
    if tick.id is not None:
        return f"{tick.symbol}\n{tick.venue}\n{tick.id}"
    return f"{tick.symbol}\n{tick.at}\n{tick.price}\n{tick.amount}\n{tick.side}"
