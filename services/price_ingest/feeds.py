"""Which source streams a unit reads, and how far: once for prices, once for candles. Pure.

Fed by what Redis says of its streams; feeds `services.price_ingest.pipeline`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from shared.bus.entries import StreamEnds, StreamEntry, entry_order

BEGINNING: Final = "0-0"
MAX_STREAMS: Final = 256
"""Of one unit. Further ones are left alone, and the log says so."""


class Lane(StrEnum):
    """What entries are folded into; each is committed by itself, with a position of its own."""

    PRICES = "prices"
    CHARTS = "charts"


BOTH: Final = frozenset(Lane)


class GapReason(StrEnum):
    """How a stream can have lost what was not read yet."""

    POSITION_AHEAD = "position_ahead"
    TRIMMED = "trimmed"


class Gap(NamedTuple):
    """Entries that were never read: in which stream, why, after which position, and what the stream holds now."""

    stream: str
    reason: GapReason
    position: str
    first: str | None
    last: str


class Part(NamedTuple):
    """Entries of one stream in order, and what they are still to be folded into."""

    entries: list[StreamEntry]
    lanes: frozenset[Lane]


class Positions:
    """The last entry read of every stream, and which lane had it already.

    Reading goes on at the older of a stream's two committed positions; up to the newer one its entries are folded into
    the other lane alone.

    Args:
        committed: lane -> stream -> where to go on from.
    """

    def __init__(self, committed: Mapping[Lane, Mapping[str, str]]) -> None:
        self._committed = {lane: dict(committed.get(lane, {})) for lane in Lane}
        self._ahead: dict[Lane, dict[str, str]] = {lane: {} for lane in Lane}
        self._at: dict[str, str] = {}
        self._moved: dict[Lane, dict[str, str]] = {lane: {} for lane in Lane}

    @property
    def now(self) -> Mapping[str, str]:
        """Stream -> last entry read."""
        return self._at

    def done(self, stream: str) -> str:
        """Up to where both lanes of a stream are committed."""
        return min((self._committed[lane].get(stream, BEGINNING) for lane in Lane), key=entry_order)

    def add(self, streams: Iterable[str]) -> list[str]:
        """Read these streams too, a new one from its beginning; returns those for which there is no room."""
        left_out = []
        for stream in streams:
            if stream in self._at:
                continue
            if len(self._at) >= MAX_STREAMS:
                left_out.append(stream)
                continue
            self._at[stream] = self.done(stream)
            for lane in Lane:
                committed = self._committed[lane].get(stream, BEGINNING)
                if committed != self._at[stream]:
                    self._ahead[lane][stream] = committed
        return left_out

    def split(self, stream: str, entries: list[StreamEntry]) -> list[Part]:
        """Entries that were read now, by the lanes that they are new to."""
        for lane in Lane:
            ahead = self._ahead[lane].get(stream)
            if ahead is not None:
                known = sum(entry_order(entry.id) <= entry_order(ahead) for entry in entries)
                parts = (Part(entries[:known], BOTH - {lane}), Part(entries[known:], BOTH))
                return [part for part in parts if part.entries]
        return [Part(entries, BOTH)]

    def move(self, stream: str, entry_id: str) -> None:
        """Everything up to this entry is folded."""
        self._at[stream] = entry_id
        for lane in Lane:
            ahead = self._ahead[lane].get(stream)
            if ahead is not None:
                if entry_order(entry_id) < entry_order(ahead):
                    continue
                del self._ahead[lane][stream]
            self._moved[lane][stream] = entry_id

    def take_moved(self, lane: Lane) -> dict[str, str]:
        """What moved since the last call."""
        moved, self._moved[lane] = self._moved[lane], {}
        return moved

    def commit(self, lane: Lane, moved: Mapping[str, str]) -> None:
        """What was taken is committed."""
        self._committed[lane].update(moved)

    def reconcile(self, all_ends: Mapping[str, StreamEnds]) -> list[Gap]:
        """Compare with what the streams hold now.

        A position ahead of its stream would wait for ever: the stream was taken away and begins anew. It is read from
        its beginning. A position before the oldest entry means that the ones between were trimmed, unless there were
        none; reading goes on with the oldest.
        """
        gaps = []
        for stream, ends in all_ends.items():
            position = self._at[stream]
            furthest = max((position, *self._aheads(stream)), key=entry_order)
            if entry_order(furthest) > entry_order(ends.last):
                gaps.append(Gap(stream, GapReason.POSITION_AHEAD, furthest, ends.first, ends.last))
                self._begin_anew(stream)
            elif position != BEGINNING and ends.first is not None and entry_order(position) < entry_order(ends.first):
                gaps.append(Gap(stream, GapReason.TRIMMED, position, ends.first, ends.last))
        return gaps

    def _aheads(self, stream: str) -> list[str]:
        return [ahead[stream] for ahead in self._ahead.values() if stream in ahead]

    def _begin_anew(self, stream: str) -> None:
        self._at[stream] = BEGINNING
        for lane in Lane:
            self._ahead[lane].pop(stream, None)
            self._moved[lane][stream] = BEGINNING
