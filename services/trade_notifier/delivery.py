"""Appends trades to the logs that gateways read: each once, and only on behalf of the newest owner of a stream.

Fed by `consumer` with what `recipients` addressed. Every append is one atomic script per log, so a crash, a lost reply
or a second delivery by the upstream leaves each log with one entry per trade.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from services.trade_notifier.recipients import SYMBOL_FIELD, USER_FIELD, FeedTrade, Record, address
from services.trade_notifier.settings import NotifierSettings
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys

MAX_RECORDS: Final = 1000
"""Per script: Redis does nothing else meanwhile. Trades that name many users make many records."""

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000


class Delivered(NamedTuple):
    """How many trades and notifications were new, and how many trades the log already held."""

    trades: int
    duplicates: int
    notifications: int


class Delivery:
    """The trade logs and user logs.

    Args:
        bus: where they live.
        shards: how many there are of each kind.
        settings: their length and the memory for ids.
    """

    def __init__(self, bus: RedisBus, shards: int, settings: NotifierSettings) -> None:
        self._bus = bus
        self._shards = shards
        self._limits = (
            settings.dedupe_window_hours * _HOUR_MS,
            settings.trade_log_length,
            settings.trade_log_minutes * _MINUTE_MS,
        )

    async def open(self, stream: str, stamp: str) -> None:
        """Shut every log to former owners of `stream`; must come before the first `append` under a lease.

        Raises:
            FencedError: the stamp's lease is not the newest.
        """
        for shard in range(self._shards):
            for log in (redis_keys.trade_log(shard), redis_keys.user_log(shard)):
                await self._bus.run_script("raise_fence", [redis_keys.log_fences(log)], [stream, stamp])

    async def append(self, stream: str, stamp: str, trades: Sequence[FeedTrade]) -> Delivered:
        """Append trades in their order. After an error, append the same again: what was done is not repeated.

        Raises:
            FencedError: a newer owner has opened a log.
            BusUnavailableError: none, some or all were appended.
        """
        addressed = address(trades, self._shards)
        new = await self._append_all(stream, stamp, addressed.trade_logs, SYMBOL_FIELD)
        notified = await self._append_all(stream, stamp, addressed.user_logs, USER_FIELD)
        return Delivered(new, len(trades) - new, notified)

    async def _append_all(self, stream: str, stamp: str, logs: Mapping[str, Sequence[Record]], field: str) -> int:
        new = 0
        for log, records in logs.items():
            keys = [log, redis_keys.log_fences(log), redis_keys.log_seen(log)]
            for start in range(0, len(records), MAX_RECORDS):
                args: list[str | bytes | int] = [stream, stamp, *self._limits, field]
                for record in records[start : start + MAX_RECORDS]:
                    args.extend(record)
                new += int(await self._bus.run_script("append_log", keys, args))
        return new
