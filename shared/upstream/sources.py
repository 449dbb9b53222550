"""Which Redis streams are upstream, and what each may hold. What an entry says is read from the entry, never from here.

Fed by the names of all streams and by `UPSTREAM_STREAMS`; feeds price-ingest and trade-notifier.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from shared.upstream.settings import UpstreamSettings


class Holds(StrEnum):
    """What a stream may hold."""

    PRICES = "prices"
    TRADES = "trades"
    QUOTES = "quotes"
    MIXED = "mixed"


class Source(NamedTuple):
    """One upstream stream."""

    stream: str
    holds: Holds

    @property
    def may_hold_trades(self) -> bool:
        """Whether the trade-notifier reads it."""
        return self.holds in (Holds.TRADES, Holds.MIXED)


FIXED_SOURCES: Final = (Source(redis_keys.FEED_PRICES, Holds.PRICES), Source(redis_keys.FEED_TRADES, Holds.TRADES))
"""Read whether they exist yet or not."""

_GLOBS: Final = tuple(
    (glob, holds)
    for holds, globs in ((Holds.TRADES, redis_keys.FOREIGN_TRADES), (Holds.QUOTES, redis_keys.FOREIGN_QUOTES))
    for glob in globs
)


async def find_sources(bus: RedisBus, settings: UpstreamSettings) -> list[Source]:
    """The two fixed streams and, in order of name, all others that exist.

    Raises:
        BusUnavailableError: Redis is away.
    """
    names = await bus.find_streams("*")
    fixed = {source.stream for source in FIXED_SOURCES}
    return [*FIXED_SOURCES, *pick_sources((name for name in names if name not in fixed), settings.upstream_streams)]


def pick_sources(streams: Iterable[str], more: Sequence[str]) -> list[Source]:
    """Those of the streams that are upstream; `more` as in `UPSTREAM_STREAMS`."""
    return [Source(stream, holds) for stream in streams if (holds := _what_holds(stream, more)) is not None]


def unit_name(stream: str) -> str:
    """The name without what the stream holds, so that a symbol's trades and quotes are in one unit of work.

    `3` for `feed:prices:3` and `feed:trades:3`, `BINANCE-BTC-USDT` for cryptofeed's two streams of it.
    """
    for source in FIXED_SOURCES:
        if stream == source.stream:
            return ""
        if redis_keys.is_partition(stream, source.stream):
            return stream.removeprefix(f"{source.stream}:")
    return redis_keys.without_kind(stream)


def _what_holds(stream: str, more: Sequence[str]) -> Holds | None:
    for source in FIXED_SOURCES:
        if stream == source.stream or redis_keys.is_partition(stream, source.stream):
            return source.holds
    if redis_keys.is_own(stream):
        return None
    for glob, holds in _GLOBS:
        if fnmatchcase(stream, glob):
            return holds
    return Holds.MIXED if any(stream == glob or fnmatchcase(stream, glob) for glob in more) else None
