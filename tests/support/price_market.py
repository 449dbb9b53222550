"""What tests with a real price-ingest share. Holds no test itself."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final, cast

import msgspec

from shared.bus.redis_bus import RedisBus
from shared.bus.subscription import Subscription
from shared.messages import Candle, Price, decode_candle, decode_chart, decode_price, decode_price_batch
from shared.names import redis_keys
from shared.tasks import TaskGroup
from tests.support.waiting import eventually

INGEST: Final = "price-ingest"
SHARDS: Final = 16
FEED: Final = redis_keys.FEED_PRICES
CHUNK: Final = 2000

Fields = dict[str, str | bytes]


class Market:
    """All that was published, as a gateway that watches every shard hears it."""

    def __init__(self) -> None:
        self.prices: dict[str, list[Price]] = defaultdict(list)
        self.epochs: list[str] = []
        self.live: set[str] = set()

    def on_message(self, _channel: str, payload: bytes) -> None:
        batch = decode_price_batch(payload)
        if batch.epoch not in self.epochs:
            self.epochs.append(batch.epoch)
        for symbol, raw in batch.prices.items():
            self.prices[symbol].append(decode_price(raw))

    def last(self, symbol: str) -> Price | None:
        return self.prices[symbol][-1] if self.prices[symbol] else None

    def accounted(self, symbol: str) -> int:
        """The last number of a symbol, having checked that every step up to it says how many ticks it folds."""
        seq = 0
        for price in self.prices[symbol]:
            if price.seq != seq:  # the same number again is a restatement after a restart
                assert price.seq == seq + price.n, (symbol, seq, price)
                seq = price.seq
        return seq


def timeless(price: Price) -> Price:
    """Without the time since when its state is what it is, which is the service's clock's."""
    assert price.since > 0, price
    return msgspec.structs.replace(price, since=0)


@asynccontextmanager
async def listening(bus: RedisBus) -> AsyncIterator[Market]:
    """A market that hears everything published inside the context."""
    market = Market()
    subscription = Subscription(bus, market.on_message, market.live.add)
    channels = {redis_keys.price_channel(shard) for shard in range(SHARDS)}
    for channel in channels:
        subscription.want(channel)
    async with TaskGroup() as tasks:
        tasks.spawn("listen", subscription.run())
        await eventually(lambda: market.live == channels, "subscribed")
        yield market


async def snapshot(bus: RedisBus) -> dict[str, Price]:
    """Every last price."""
    found: dict[str, Price] = {}
    for shard in range(SHARDS):
        stored = await bus.hash_all(redis_keys.price_snapshot(shard))
        found.update((symbol.decode(), decode_price(raw)) for symbol, raw in stored.items())
    return found


async def candles(bus: RedisBus) -> dict[tuple[str, str, int], tuple[str, ...]]:
    """Every candle that stands, closed or not: (symbol, interval, start) -> open, high, low, close, volume, trades."""
    found: dict[tuple[str, str, int], tuple[str, ...]] = {}

    def keep(symbol: str, interval: str, candle: Candle) -> None:
        values = (candle.open, candle.high, candle.low, candle.close, candle.volume, str(candle.trades))
        found[symbol, interval, candle.start] = values

    # Open ones first: one that closes meanwhile is found among the closed.
    for shard in range(SHARDS):
        for name, chart in (await bus.hash_all(redis_keys.chart_snapshot(shard))).items():
            for interval, open_ones in decode_chart(chart).candles.items():
                for candle in open_ones:
                    keep(name.decode(), interval, candle)
    prefix = redis_keys.candle_history("", "").removesuffix(":")
    async for key in bus._client.scan_iter(match=f"{prefix}*", count=10_000):
        interval, _, symbol = key.decode().removeprefix(prefix).partition(":")
        for raw in await bus._client.zrange(key, 0, -1):
            keep(symbol, interval, decode_candle(cast("bytes", raw)))
    return found


async def feed(bus: RedisBus, entries: Iterable[Fields], stream: str = FEED) -> None:
    """Append entries, some thousands a round trip."""
    left = iter(entries)
    while chunk := list(islice(left, CHUNK)):
        await bus.append(stream, chunk, 1_000_000)


async def position(bus: RedisBus, stream: str = FEED) -> str:
    """How far a stream is folded."""
    return (await bus.hash_all(redis_keys.PRICE_POSITIONS)).get(stream.encode(), b"").decode()


async def read_up(bus: RedisBus, stream: str = FEED) -> None:
    """Wait until a stream is folded to its end, into prices and candles."""
    last = (await bus.last_ids([stream]))[stream].encode()

    async def positions() -> set[bytes | None]:
        keys = (redis_keys.PRICE_POSITIONS, redis_keys.CHART_POSITIONS)
        return {(await bus.hash_all(key)).get(stream.encode()) for key in keys}

    await eventually(positions, f"{stream} read up to {last!r}", lambda found: found == {last})


async def forget_prices(bus: RedisBus) -> None:
    """Take away all that price-ingest wrote, and leave the upstream streams."""
    written = [key async for key in bus._client.scan_iter(match="md:{prices}*")]
    await bus._client.delete(*written)


async def heard(market: Market, symbol: str, price: str) -> Price:
    """Wait until a symbol's last published price is this one."""
    found = await eventually(
        lambda: market.last(symbol), f"{symbol} at {price}", lambda now: now is not None and now.price == price
    )
    assert found is not None
    return found


def walk(ticks: int, symbols: int = 40, seed: int = 1, *, trades: bool = False) -> list[Fields]:
    """A market's worth of ticks, with repetitions and late ones among them."""
    chance = random.Random(seed)
    cents = [chance.randrange(1_000, 9_000_000) for _ in range(symbols)]
    entries: list[Fields] = []
    for number in range(ticks):
        symbol = chance.randrange(symbols)
        cents[symbol] += chance.choice((-3, -1, 0, 0, 1, 4))
        late = chance.choice((0, 0, 0, 0, 1000))
        price = f"{cents[symbol] // 100}.{cents[symbol] % 100:02d}"
        entry: Fields = {"symbol": f"S{symbol}-USD", "price": price, "ts": str(1_763_800_000_000 + 20 * number - late)}
        if trades:
            entry |= {"id": str(number), "amount": f"0.{chance.randrange(1, 1000):03d}"}
        entries.append(entry)
    return entries
