"""Which upstream streams are read, and how far. Pure but for the search for partitions.

Fed by what Redis says of its streams; feeds `services.price_ingest.pipeline`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from shared.bus.entries import StreamEnds, entry_order
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys

BEGINNING: Final = "0-0"
MAX_STREAMS: Final = 256
"""Partitions beyond are left alone, and the log says so."""


class Feed(StrEnum):
    """What an upstream stream holds."""

    PRICES = "prices"
    TRADES = "trades"


_ROOTS: Final = {redis_keys.FEED_PRICES: Feed.PRICES, redis_keys.FEED_TRADES: Feed.TRADES}


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


def feed_of(stream: str) -> Feed | None:
    """What a stream holds: `feed:prices`, `feed:trades` or a numbered partition of either; None for any other key."""
    for root, feed in _ROOTS.items():
        if stream == root or redis_keys.is_partition(stream, root):
            return feed
    return None


async def find_feeds(bus: RedisBus) -> list[str]:
    """The two streams, which need not exist yet, and the partitions that do."""
    found = [name for root in _ROOTS for name in await bus.find_streams(f"{root}:*") if feed_of(name)]
    return [*_ROOTS, *found]


class Positions:
    """The last entry folded of every stream.

    Args:
        committed: where to go on from.
    """

    def __init__(self, committed: Mapping[str, str]) -> None:
        self._at = dict(committed)
        self._moved: dict[str, str] = {}

    @property
    def now(self) -> Mapping[str, str]:
        """Stream -> last entry folded."""
        return self._at

    def add(self, streams: list[str]) -> list[str]:
        """Read these streams too, a new one from its beginning; returns those for which there is no room."""
        new = [stream for stream in streams if stream not in self._at]
        room = max(0, MAX_STREAMS - len(self._at))
        self._at.update(dict.fromkeys(new[:room], BEGINNING))
        return new[room:]

    def move(self, stream: str, entry_id: str) -> None:
        """Everything up to this entry is folded."""
        self._at[stream] = self._moved[stream] = entry_id

    def take_moved(self) -> dict[str, str]:
        """What moved since the last call."""
        moved, self._moved = self._moved, {}
        return moved

    def reconcile(self, all_ends: Mapping[str, StreamEnds]) -> list[Gap]:
        """Compare with what the streams hold now.

        A position ahead of its stream would wait for ever: Redis came back with a shorter history. The stream is read
        again from its beginning, for what repeats drops out as unchanged or out of date. A position before the oldest
        entry means that the ones between were trimmed, unless there were none; reading goes on with the oldest.
        """
        gaps = []
        for stream, ends in all_ends.items():
            position = self._at[stream]
            at = entry_order(position)
            if at > entry_order(ends.last):
                gaps.append(Gap(stream, GapReason.POSITION_AHEAD, position, *ends))
                self.move(stream, BEGINNING)
            elif position != BEGINNING and ends.first is not None and at < entry_order(ends.first):
                gaps.append(Gap(stream, GapReason.TRIMMED, position, *ends))
        return gaps
