"""Entries of source streams, and of the streams in which units hand ticks to each other, as ticks. Pure.

Fed by `services.price_ingest.intake`; what upstreams write is read by `normalise`.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from services.price_ingest.normalise import Tick, read_ticks
from shared.bus.entries import StreamEntry
from shared.messages import MAX_BUS_MESSAGE, DecodeError, decoder_of, encode
from shared.names import redis_keys
from shared.upstream import Refusal, SymbolNames, UpstreamError
from shared.upstream.sources import FIXED_SOURCES, Holds, Source

FORWARD_FIELD: Final = b"t"
"""Of an entry of a forward stream: a list of ticks as MessagePack."""

_FORWARDS: Final = frozenset(redis_keys.price_forward(unit) for unit in range(redis_keys.PRICE_UNITS))
_decode_forward = decoder_of(list[Tick], MAX_BUS_MESSAGE)

encode_forward = encode
"""Ticks -> what stands in `FORWARD_FIELD`."""


class Reading(NamedTuple):
    """What entries say.

    Attributes:
        holds: of the stream; None for a forward stream, whose ticks were counted where they came in.
        entries: how many there were.
        ticks: the usable ones, in order.
        refused: the others, with what is wrong with each.
    """

    holds: Holds | None
    entries: int
    ticks: list[Tick]
    refused: Sequence[tuple[StreamEntry, UpstreamError]]

    @property
    def keeps_refused(self) -> bool:
        """Whether they are price-ingest's to keep: those of trades are the trade-notifier's."""
        return self.holds is not Holds.TRADES


class Reader:
    """Reads for all units of a replica.

    Args:
        names: what symbols are called here; None where every symbol keeps its name.
    """

    def __init__(self, names: SymbolNames | None) -> None:
        self._names = names
        self._holds: dict[str, Holds] = {}
        self.learn(FIXED_SOURCES)

    def learn(self, sources: Iterable[Source]) -> None:
        """What streams hold that will be read."""
        self._holds.update((source.stream, source.holds) for source in sources)

    def reads_alone(self, stream: str) -> bool:
        """Whether this is a source stream that the trade-notifier does not read."""
        holds = self._holds.get(stream)
        return holds is not None and not Source(stream, holds).may_hold_trades

    def read(self, stream: str, entries: Sequence[StreamEntry]) -> Reading:
        """Ticks of the next entries of a stream."""
        if stream in _FORWARDS:
            return _read_forwards(entries)
        ticks, refused = read_ticks(entries, self._names)
        return Reading(self._holds[stream], len(entries), ticks, refused)


def _read_forwards(entries: Sequence[StreamEntry]) -> Reading:
    ticks: list[Tick] = []
    refused = []
    for entry in entries:
        try:
            ticks += _decode_forward(entry.fields.get(FORWARD_FIELD, b""))
        except DecodeError:
            refused.append((entry, UpstreamError(Refusal.BAD_PAYLOAD, FORWARD_FIELD.decode())))
    return Reading(None, len(entries), ticks, refused)
