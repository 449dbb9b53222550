"""The last prices of a unit in Redis, and their publication.

Fed by `services.price_ingest.book`. Writes the snapshot together with the positions and with the ticks for other units,
and publishes in the same step: a reader that missed a publication finds the same or a newer price in the snapshot. What
nobody heard, because Redis died, is published again by the next owner's `publish_all`.
"""

import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from services.price_ingest.book import Change, StoredPrice
from services.price_ingest.homes import Homes
from services.price_ingest.normalise import Tick
from services.price_ingest.reader import encode_forward
from shared.bus.entries import parse_positions
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.lease import Lease
from shared.log import get_logger
from shared.messages import VERSION, DecodeError, PriceBatch, decoder_of, encode
from shared.names import redis_keys

log = get_logger(__name__)

MAX_FORWARDS: Final = 50_000
"""Entries of a forward stream. Its reader trims it long before, unless nobody can read it."""

TICKS_A_FORWARD: Final = 250

PRICES_A_BATCH: Final = 10_000
"""In one publication at most: readers refuse what is larger than `shared.messages.MAX_BUS_MESSAGE`."""

_EPOCH: Final = re.compile(r"[0-9a-zA-Z-]{1,64}")
_decode = decoder_of(StoredPrice)

Forwards = Mapping[int, Sequence[Tick]]
"""Unit -> the ticks whose symbols are at home there, in order."""


class Committed(NamedTuple):
    """What stands in Redis: the last price of each symbol of the unit, and how far its streams are folded into them."""

    prices: dict[str, StoredPrice]
    positions: dict[str, str]


class _Encoded(NamedTuple):
    shard: int
    symbol: str
    raw: bytes


class PriceStore:
    """Snapshot, positions and epoch, as one unit's owner reads and writes them.

    Args:
        bus: where they live.
        unit: whose symbols.
        lease: of the unit; only its holder may write.
        homes: says which symbols are the unit's; `load` reads them anew.
        shards: `PRICE_SHARDS`.
        clock: stamps publications.
    """

    def __init__(self, bus: RedisBus, unit: int, lease: Lease, homes: Homes, shards: int, clock: Clock) -> None:
        self._bus = bus
        self.unit = unit
        self._lease = lease
        self._homes = homes
        self._shards = shards
        self._clock = clock
        self._seqs: dict[str, int] = {}
        self.epoch = ""

    async def load(self) -> Committed:
        """Read what stands, and begin a new epoch where it does not continue what readers have seen.

        That is where Redis has lost its data, or came back with fewer commits than it had confirmed to this process.

        Raises:
            FencedError: another holds the lease, or another unit's owner begins an epoch in this moment.
        """
        stands = (await self._bus.get(redis_keys.PRICE_EPOCH)) or b""
        found = stands.decode(errors="replace")
        await self._homes.load()
        prices, damaged = await self._load_prices(self._homes.of_unit(self.unit))
        positions = await self._bus.hash_all(redis_keys.PRICE_POSITIONS)
        shortened = found == self.epoch and any(
            symbol not in prices or prices[symbol].seq < seq for symbol, seq in self._seqs.items()
        )
        is_anew = damaged or shortened or not _EPOCH.fullmatch(found)
        epoch = secrets.token_hex(8) if is_anew else found
        if epoch != found:
            await self._commit(stands, epoch, [], {}, {}, [])
            self._tell_epoch(epoch, before=found or self.epoch, symbols=len(prices), damaged=damaged)
        self.epoch = epoch
        self._seqs = {symbol: price.seq for symbol, price in prices.items()}
        return Committed(prices, parse_positions(positions))

    async def save(self, changes: Sequence[Change], positions: Mapping[str, str], forwards: Forwards) -> None:
        """Commit changes, positions and forwarded ticks together, and publish what is fresh.

        Raises:
            FencedError: another holds the lease, or began an epoch; nothing was written.
            BusUnavailableError: it is unknown what was written; `load` tells.
        """
        encoded = [self._encode(change.symbol, change.price) for change in changes]
        fresh = self._batches([item for item, change in zip(encoded, changes, strict=True) if change.fresh])
        await self._commit(self.epoch, self.epoch, encoded, positions, forwards, fresh)
        self._seqs.update((change.symbol, change.price.seq) for change in changes)

    async def claim(self, symbols: set[str]) -> None:
        """Give symbols that have no home one in this unit, and learn those of the others.

        Raises:
            FencedError: another holds the lease, or began an epoch; nothing was claimed.
        """
        await self._homes.claim(self.unit, self._lease, self.epoch, symbols)

    async def publish_all(self, prices: Mapping[str, StoredPrice]) -> None:
        """Publish a whole snapshot, as it was committed."""
        items = [self._encode(symbol, price) for symbol, price in prices.items()]
        for start in range(0, len(items), PRICES_A_BATCH):
            await self._bus.publish(self._batches(items[start : start + PRICES_A_BATCH]))

    async def _load_prices(self, symbols: set[str]) -> tuple[dict[str, StoredPrice], int]:
        prices: dict[str, StoredPrice] = {}
        damaged = 0
        for shard in range(self._shards):
            for symbol, raw in (await self._bus.hash_all(redis_keys.price_snapshot(shard))).items():
                name = symbol.decode(errors="replace")
                if name not in symbols:
                    continue
                try:
                    price = _decode(raw)
                except DecodeError as error:
                    damaged += 1
                    log.warning("price_damaged", symbol=name, error=error)
                    continue
                if name not in prices or price.seq > prices[name].seq:  # two where `PRICE_SHARDS` was raised
                    prices[name] = price
        return prices, damaged

    def _tell_epoch(self, epoch: str, *, before: str, symbols: int, damaged: int) -> None:
        level = logging.WARNING if before else logging.INFO  # the very first one is no incident
        log.log(level, "price_epoch_began", epoch=epoch, former_epoch=before, symbols=symbols, damaged=damaged)

    def _encode(self, symbol: str, price: StoredPrice) -> _Encoded:
        return _Encoded(redis_keys.shard_of(symbol, self._shards), symbol, encode(price))

    async def _commit(
        self,
        standing: str | bytes,
        epoch: str,
        encoded: list[_Encoded],
        positions: Mapping[str, str],
        forwards: Forwards,
        publications: list[tuple[str, bytes]],
    ) -> None:
        keys = [self._lease.key, redis_keys.PRICE_EPOCH, redis_keys.PRICE_POSITIONS]
        args: list[str | bytes | int] = [self._lease.stamp, standing, epoch, MAX_FORWARDS, len(positions)]
        for position in positions.items():
            args += position
        handed_on: list[str | bytes | int] = []
        for unit, ticks in forwards.items():
            keys.append(redis_keys.price_forward(unit))
            for start in range(0, len(ticks), TICKS_A_FORWARD):
                handed_on += (len(keys), encode_forward(ticks[start : start + TICKS_A_FORWARD]))
        args.append(len(handed_on) // 2)
        args += handed_on
        args.append(len(publications))
        for publication in publications:
            args += publication
        key_index: dict[int, int] = {}
        for shard, symbol, raw in encoded:
            index = key_index.get(shard)
            if index is None:
                keys.append(redis_keys.price_snapshot(shard))
                index = key_index[shard] = len(keys)
            args += (index, symbol, raw)
        await self._bus.run_script("commit_prices", keys, args)

    def _batches(self, encoded: list[_Encoded]) -> list[tuple[str, bytes]]:
        """Channel and message of each shard that has a price among these."""
        shards: dict[int, dict[str, msgspec.Raw]] = {}
        for shard, symbol, raw in encoded:
            shards.setdefault(shard, {})[symbol] = msgspec.Raw(raw)
        now = self._clock.now_ms()
        return [
            (redis_keys.price_channel(shard), encode(PriceBatch(VERSION, self.epoch, now, prices)))
            for shard, prices in shards.items()
        ]
