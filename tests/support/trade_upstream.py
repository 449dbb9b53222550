"""An upstream of trades that knows what it wrote, and whether all of it is in the logs: each once, in order."""

import random
from collections.abc import Callable
from typing import Final

from shared.bus.errors import GroupMissingError
from shared.bus.redis_bus import RedisBus
from shared.messages import decode_trade
from shared.names import redis_keys
from tests.support.waiting import eventually

FEED: Final = redis_keys.FEED_TRADES
SHARDS: Final = 4
SYMBOLS: Final = [f"SYM{number}-USDT" for number in range(30)]


class Upstream:
    """Writes numbered trades of mixed symbols, each naming a user, and knows what it wrote."""

    def __init__(self, bus: RedisBus) -> None:
        self._bus = bus
        self._random = random.Random(20240809)
        self.written: dict[str, list[int]] = {}
        self.count = 0

    async def write(self, count: int) -> None:
        """XADD that many; each tenth is written twice, as upstreams do after a reconnect."""
        for start in range(0, count, 250):
            await self._bus.append(FEED, self._trades(min(250, count - start)), 1_000_000)

    def _trades(self, count: int) -> list[dict[str, str]]:
        made = []
        for _ in range(count):
            self.count += 1
            symbol = self._random.choice(SYMBOLS)
            self.written.setdefault(symbol, []).append(self.count)
            fields = {
                "id": str(self.count),
                "symbol": symbol,
                "price": "1.50",
                "amount": "2",
                "user_id": f"of-{symbol}",
            }
            made += [fields] * (2 if self.count % 10 == 0 else 1)
        return made


async def logged_ids(bus: RedisBus, key: Callable[[int], str], field: bytes) -> dict[str, list[int]]:
    """Symbol or user -> trade ids in the order of its log."""
    found: dict[str, list[int]] = {}
    for shard in range(SHARDS):
        reply = await bus.read({key(shard): "0"}, count=1_000_000, block_ms=0)
        for entry in reply.get(key(shard), []):
            found.setdefault(entry.fields[field].decode(), []).append(int(decode_trade(entry.fields[b"d"]).id))
    return found


async def log_length(bus: RedisBus) -> int:
    return sum([await bus.length(redis_keys.trade_log(shard)) for shard in range(SHARDS)])


async def pending(bus: RedisBus) -> int:
    return (await bus.group_info(FEED, redis_keys.TRADE_GROUP, 0)).pending


async def unfinished(bus: RedisBus) -> int:
    """Entries not read, or read and not acknowledged; -1 while there is no group."""
    try:
        info = await bus.group_info(FEED, redis_keys.TRADE_GROUP, 0)
    except GroupMissingError:
        return -1
    return info.pending + (info.lag or 0)


async def all_done(bus: RedisBus) -> None:
    await eventually(lambda: unfinished(bus), "entries not done", lambda count: count == 0)


async def assert_all_arrived_once_and_in_order(bus: RedisBus, upstream: Upstream) -> None:
    await all_done(bus)
    assert await logged_ids(bus, redis_keys.trade_log, b"s") == upstream.written
    told = await logged_ids(bus, redis_keys.user_log, b"u")
    assert told == {f"of-{symbol}": ids for symbol, ids in upstream.written.items()}
