"""The candles of a unit in Redis, and their publication.

Fed by `services.price_ingest.candles`. Writes the charts and the closed candles together with the positions up to which
the source streams are folded into them, then publishes.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from services.price_ingest.candles import CandleKey, ChartChange
from shared.bus.entries import entry_ms, parse_positions
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.lease import Lease
from shared.messages import VERSION, ChartBatch, encode
from shared.names import redis_keys

KEEP_FORWARDED_MS: Final = 10_000
"""Forwarded ticks are kept so long after both lanes had them: the memory of trade ids is rebuilt from them."""

CHARTS_A_BATCH: Final = 1000
"""In one publication at most: readers refuse what is larger than `shared.messages.MAX_BUS_MESSAGE`."""


class ChartStore:
    """Charts, histories and positions, as one unit's owner reads and writes them.

    Args:
        bus: where they live.
        unit: whose symbols.
        lease: of the unit; only its holder may write.
        shards: `PRICE_SHARDS`.
        history: `CANDLE_HISTORY`.
        clock: stamps publications.
    """

    def __init__(self, bus: RedisBus, unit: int, lease: Lease, shards: int, history: int, clock: Clock) -> None:
        self._bus = bus
        self._unit = unit
        self._lease = lease
        self._shards = shards
        self._history = history
        self._clock = clock
        self._order = asyncio.Lock()  # a late tick must not find the history as it was before a commit still on its way

    async def load(self, symbols: set[str]) -> dict[str, bytes]:
        """The charts of symbols, as they were saved."""
        found: dict[str, bytes] = {}
        for shard in range(self._shards):
            stored = await self._bus.hash_all(redis_keys.chart_snapshot(shard))
            named = ((symbol.decode(errors="replace"), raw) for symbol, raw in stored.items())
            found.update((symbol, raw) for symbol, raw in named if symbol in symbols)
        return found

    async def load_positions(self) -> dict[str, str]:
        """Stream -> last entry folded into the charts."""
        return parse_positions(await self._bus.hash_all(redis_keys.CHART_POSITIONS))

    async def load_candles(self, keys: Sequence[CandleKey]) -> Iterable[tuple[CandleKey, bytes | None]]:
        """Closed candles from history, all saves that began before included; None for one that is not there."""
        wanted = [(redis_keys.candle_history(key.symbol, key.interval), key.start) for key in keys]
        async with self._order:
            return zip(keys, await self._bus.scored(wanted), strict=True)

    async def save(
        self, epoch: str, changes: Sequence[ChartChange], positions: Mapping[str, str], forwarded: str
    ) -> None:
        """Commit charts, closed candles and positions together, then publish what changed.

        `forwarded`: up to where the unit's forward stream is needed no more.

        Raises:
            FencedError: another holds the lease, or began an epoch; nothing was written.
            BusUnavailableError: it is unknown what was written.
        """
        async with self._order:
            await self._commit(epoch, changes, positions, forwarded)
        await self.publish(epoch, {change.symbol: change.publication for change in changes})

    async def publish(self, epoch: str, charts: Mapping[str, bytes]) -> None:
        """Publish encoded charts."""
        items = list(charts.items())
        for start in range(0, len(items), CHARTS_A_BATCH):
            await self._publish(epoch, items[start : start + CHARTS_A_BATCH])

    async def _publish(self, epoch: str, charts: Iterable[tuple[str, bytes]]) -> None:
        shards: dict[int, dict[str, msgspec.Raw]] = {}
        for symbol, raw in charts:
            shards.setdefault(redis_keys.shard_of(symbol, self._shards), {})[symbol] = msgspec.Raw(raw)
        now = self._clock.now_ms()
        batches = ((shard, ChartBatch(VERSION, epoch, now, found)) for shard, found in shards.items())
        await self._bus.publish((redis_keys.chart_channel(shard), encode(batch)) for shard, batch in batches)

    async def _commit(
        self, epoch: str, changes: Sequence[ChartChange], positions: Mapping[str, str], forwarded: str
    ) -> None:
        keys = [
            self._lease.key,
            redis_keys.PRICE_EPOCH,
            redis_keys.CHART_POSITIONS,
            redis_keys.price_forward(self._unit),
        ]
        unneeded = entry_ms(forwarded) - KEEP_FORWARDED_MS
        args: list[str | bytes | int] = [
            self._lease.stamp,
            epoch,
            self._history,
            unneeded if unneeded > 0 else "",
            len(positions),
        ]
        for position in positions.items():
            args += position
        args.append(len(changes))
        key_index: dict[str, int] = {}
        for change in changes:
            key = redis_keys.chart_snapshot(redis_keys.shard_of(change.symbol, self._shards))
            args += (_index(keys, key_index, key), change.symbol, change.snapshot)
        for change in changes:
            for interval, start, raw in change.closed:
                key = redis_keys.candle_history(change.symbol, interval)
                args += (_index(keys, key_index, key), start, raw)
        await self._bus.run_script("commit_charts", keys, args)


def _index(keys: list[str], known: dict[str, int], key: str) -> int:
    """Where a key stands among a script's KEYS, which begin with 1; appends it where it is new."""
    index = known.get(key)
    if index is None:
        keys.append(key)
        index = known[key] = len(keys)
    return index
