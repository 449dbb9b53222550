"""Streams kept to an age and a length, and never trimmed past what a living reader has not read.

Driven by the trade-notifier (the logs, and upstream streams of trades) and by price-ingest (upstream streams of prices
alone); the rule itself is `trim_stream.lua`. A reader that keeps a stream beyond its limits, and one that lost entries
all the same, are told by metrics and by log lines.

Who counts as a reader:

- of a log: each gateway, by `shared.log_readers`;
- of an upstream stream: each consumer group with a consumer that was active in the last `IDLE_MS`, the trade-notifiers'
  always, up to its oldest pending entry; and price-ingest, by the older of its two positions (`PriceReaders`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from shared.bus.entries import entry_order
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.log import get_logger
from shared.log_readers import LIVE_MS
from shared.names import metrics, redis_keys
from shared.telemetry import Telemetry
from shared.upstream import FIXED_SOURCES, UpstreamSettings

log = get_logger(__name__)

TRIM_S: Final = 5.0
"""How often its owner trims a stream."""

IDLE_MS: Final = 600_000
"""A foreign group, and price-ingest, count for so long after they were last seen at work."""

PRICE_READER: Final = "price-ingest"

_LOOKED_AT: Final = 1000
"""Entries that one script reads to find where the length ends."""

_MOST_PARTS: Final = 1000
"""Of one stream in one go."""

_LOG_S: Final = 60.0
"""At most one log line of a postponed stream in so long."""

_LOGS: Final = "log"
_UPSTREAM: Final = "upstream"
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Keep:
    """What stays of a stream: entries younger than `ms`, and of those the newest `length`."""

    ms: int
    length: int


class _Outcome(NamedTuple):
    trimmed: int
    reader: str
    position: str
    length: int
    overtaken: list[bytes]


class Trimmer:
    """Trims streams, and tells what it could not trim.

    Args:
        bus: where they live.
        telemetry: counts.
        clock: spaces the log lines.
    """

    def __init__(self, bus: RedisBus, telemetry: Telemetry, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._entries = telemetry.counter(metrics.TRIM_ENTRIES)
        self._postponed = telemetry.gauge(metrics.TRIM_POSTPONED)
        self._unread = telemetry.counter(metrics.TRIM_UNREAD)
        self._held: dict[str, dict[str, float]] = {_LOGS: {}, _UPSTREAM: {}}
        self._overtaken: dict[str, set[tuple[bytes, bytes]]] = {}
        for kind, held in self._held.items():
            self._entries.labels(kind=kind)  # shown as 0 before the first one, so that a rate can be taken
            self._postponed.labels(kind=kind).set_function(partial(len, held))

    async def trim_log(self, stream: str, keep: Keep) -> None:
        """Trim a log of ours.

        Raises:
            BusUnavailableError: Redis is away; some of it may be trimmed.
        """
        outcome = await self._trim(_LOGS, [stream, redis_keys.log_readers(stream)], keep, "", {})
        lost = set(zip(outcome.overtaken[::2], outcome.overtaken[1::2], strict=True))
        for reader, position in lost - self._overtaken.get(stream, set()):
            self._unread.inc()
            hint = "raise TRADE_LOG_LENGTH, or find out why the reader is slow"
            log.error(
                "unread_entries_trimmed", stream=stream, reader=_text(reader), position=_text(position), hint=hint
            )
        self._overtaken[stream] = lost

    async def trim_upstream(self, stream: str, keep: Keep, group: str, positions: Mapping[str, str]) -> None:
        """Trim an upstream stream.

        Args:
            stream: its name.
            keep: what stays.
            group: whose position counts even while none of its consumers is active; "" for none.
            positions: reader -> last entry read, of readers that are in no group.

        Raises:
            BusUnavailableError: Redis is away; some of it may be trimmed.
        """
        await self._trim(_UPSTREAM, [stream], keep, group, positions)

    def forget(self, stream: str) -> None:
        """The stream is another one's to trim now: it is not postponed here any more."""
        for held in self._held.values():
            held.pop(stream, None)

    async def _trim(self, kind: str, keys: list[str], keep: Keep, group: str, positions: Mapping[str, str]) -> _Outcome:
        args: list[str | bytes | int] = [keep.ms, keep.length, _LOOKED_AT, LIVE_MS, group, IDLE_MS]
        for reader in positions.items():
            args += reader
        for _ in range(_MOST_PARTS):
            trimmed, reader, position, length, overtaken = await self._bus.run_script("trim_stream", keys, args)
            outcome = _Outcome(trimmed, _text(reader), _text(position), length, overtaken)
            self._entries.labels(kind=kind).inc(outcome.trimmed)
            if not outcome.trimmed:
                break
        self._tell(self._held[kind], keys[0], outcome)
        return outcome

    def _tell(self, held: dict[str, float], stream: str, outcome: _Outcome) -> None:
        if not outcome.reader:
            held.pop(stream, None)
            return
        now = self._clock.monotonic()
        if now >= held.setdefault(stream, now):
            held[stream] = now + _LOG_S
            log.warning(
                "trim_postponed",
                stream=stream,
                reader=outcome.reader,
                position=outcome.position,
                entries=outcome.length,
                hint="the stream grows until this reader reads on or is gone",
            )


class UpstreamTrimming:
    """Upstream streams trimmed as the settings say; the same in both services that read them.

    Args:
        trimmer: does it.
        settings: say what is kept, and of which streams.
    """

    def __init__(self, trimmer: Trimmer, settings: UpstreamSettings) -> None:
        self._trimmer = trimmer
        self._which = settings.upstream_trim
        self._keep = Keep(settings.upstream_keep_minutes * _MINUTE_MS, settings.upstream_keep_length)

    def wants(self, stream: str) -> bool:
        """Whether it is one to trim."""
        return self._which == "all" or (self._which == "feed" and _is_feed(stream))

    async def trim(self, stream: str, group: str, positions: Mapping[str, str]) -> None:
        """See `Trimmer.trim_upstream`; nothing where the stream is not one to trim."""
        if self.wants(stream):
            await self._trimmer.trim_upstream(stream, self._keep, group, positions)

    def forget(self, stream: str) -> None:
        """See `Trimmer.forget`."""
        self._trimmer.forget(stream)


class PriceReaders:
    """How far price-ingest is in the upstream streams, for who trims them and is not price-ingest.

    Args:
        bus: where its positions are.
        instance: of who asks.
        clock: says how long price-ingest has been away.
    """

    def __init__(self, bus: RedisBus, instance: str, clock: Clock) -> None:
        self._bus = bus
        self._instance = instance
        self._clock = clock
        self._seen = clock.monotonic()
        self._prices: dict[bytes, bytes] = {}
        self._charts: dict[bytes, bytes] = {}

    async def look(self) -> None:
        """Read its positions. They only move forward, so those of a while ago keep a little more than must be kept.

        Raises:
            BusUnavailableError: Redis is away.
        """
        # With a lifetime of 0 one who is no replica counts the living and changes nothing.
        if await self._bus.run_script("count_replicas", [redis_keys.PRICE_REPLICAS], [self._instance, 0]):
            self._seen = self._clock.monotonic()
        self._prices = await self._bus.hash_all(redis_keys.PRICE_POSITIONS)
        self._charts = await self._bus.hash_all(redis_keys.CHART_POSITIONS)

    def positions(self, stream: str) -> dict[str, str]:
        """Reader -> last entry read, as `Trimmer.trim_upstream` takes it; empty when price-ingest is gone for long."""
        if (self._clock.monotonic() - self._seen) * 1000 > IDLE_MS:
            return {}
        key = stream.encode()
        both = (_text(read.get(key, b"0-0")) for read in (self._prices, self._charts))
        return {PRICE_READER: min(both, key=entry_order)}


def _is_feed(stream: str) -> bool:
    return any(stream == fixed.stream or redis_keys.is_partition(stream, fixed.stream) for fixed in FIXED_SOURCES)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
