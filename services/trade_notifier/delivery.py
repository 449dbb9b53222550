"""Appends trades to the logs that gateways read: each once, and only on behalf of the newest owner of a stream.

Fed by `consumer` with what `recipients` addressed. Every append is one atomic script per log, so a crash, a lost reply
or a second delivery by the upstream leaves each log with one entry per trade. With `LOG_REPLICAS` an append counts when
so many replicas have it.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from services.trade_notifier.recipients import SYMBOL_FIELD, USER_FIELD, FeedTrade, Record, address
from services.trade_notifier.settings import NotifierSettings
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys

MAX_RECORDS: Final = 1000
"""Per script: Redis does nothing else meanwhile. Trades that name many users make many records."""

FUSE: Final = 2
"""At so many times its length a log is cut, read or not: Redis's memory holds more than this log."""

_HOUR_MS: Final = 3_600_000


class Appended(NamedTuple):
    """What one attempt did.

    Attributes:
        trades: new in the trade logs.
        notifications: new in the user logs.
        unconfirmed: logs of which too few replicas had the end in time: append the same again before it is
            acknowledged.
    """

    trades: int
    notifications: int
    unconfirmed: list[str]


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
        self._limits = (settings.dedupe_window_hours * _HOUR_MS, FUSE * settings.trade_log_length)
        self._replicas = settings.log_replicas
        self._patience_ms = settings.log_replicas_ms

    async def open(self, stream: str, stamp: str) -> None:
        """Shut every log to former owners of `stream`; must come before the first `append` under a lease.

        Raises:
            FencedError: the stamp's lease is not the newest.
        """
        for shard in range(self._shards):
            for log in (redis_keys.trade_log(shard), redis_keys.user_log(shard)):
                await self._bus.run_script("raise_fence", [redis_keys.log_fences(log)], [stream, stamp])

    async def append(self, stream: str, stamp: str, trades: Sequence[FeedTrade]) -> Appended:
        """Append trades in their order. After an error, append the same again: what was done is not repeated.

        Raises:
            FencedError: a newer owner has opened a log.
            BusUnavailableError: none, some or all were appended.
        """
        addressed = address(trades, self._shards)
        unconfirmed: list[str] = []
        new = await self._append_all(stream, stamp, addressed.trade_logs, SYMBOL_FIELD, unconfirmed)
        notified = await self._append_all(stream, stamp, addressed.user_logs, USER_FIELD, unconfirmed)
        return Appended(new, notified, unconfirmed)

    async def _append_all(
        self, stream: str, stamp: str, logs: Mapping[str, Sequence[Record]], field: str, unconfirmed: list[str]
    ) -> int:
        new = 0
        for log, records in logs.items():
            keys = [log, redis_keys.log_fences(log), redis_keys.log_seen(log)]
            for start in range(0, len(records), MAX_RECORDS):
                args: list[str | bytes | int] = [stream, stamp, *self._limits, field]
                for record in records[start : start + MAX_RECORDS]:
                    args.extend(record)
                added, confirmed = await self._run(keys, args)
                new += added
                if not confirmed:  # what a failover may still take away must not be followed by later trades
                    unconfirmed.append(log)
                    break
        return new

    async def _run(self, keys: list[str], args: list[str | bytes | int]) -> tuple[int, bool]:
        if not self._replicas:
            return int(await self._bus.run_script("append_log", keys, args)), True
        added, having = await self._bus.run_script_confirmed(
            "append_log", keys, args, self._replicas, self._patience_ms
        )
        return int(added), having >= self._replicas
