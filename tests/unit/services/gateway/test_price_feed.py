"""Prices from a real Redis: only watched shards, the snapshot at every beginning, and no harm from bad input."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from services.gateway import price_feed
from services.gateway.market import Change, Market
from services.gateway.price_feed import PriceFeed
from shared.bus.redis_bus import RedisBus
from shared.messages import VERSION, Price, PriceBatch, encode
from shared.names import redis_keys
from shared.reporting import REDIS_GRACE_S
from shared.tasks import TaskGroup
from tests.support.fakes_gateway import NOW_MS, make_price
from tests.support.manual_clock import ManualClock
from tests.support.waiting import PATIENCE_S, eventually

SHARDS = 4
A = "BTC-USDT"
B = next(name for name in ("B1", "B2", "B3", "B4") if redis_keys.shard_of(name, 4) != redis_keys.shard_of(A, 4))
SAME_SHARD = next(
    f"S{number}" for number in range(99) if redis_keys.shard_of(f"S{number}", 4) == redis_keys.shard_of(A, 4)
)


class Running:
    def __init__(self, bus: RedisBus, *, everything: bool = False) -> None:
        self.bus = bus
        self.clock = ManualClock(NOW_MS / 1000)
        self.market = Market(everything=everything)
        self.changes: list[Change] = []
        self.ages: list[float] = []
        self.feed = PriceFeed(
            bus,
            self.clock,
            self.market,
            self.changes.extend,
            shards=SHARDS,
            everything=everything,
            observe_age=self.ages.append,
        )

    async def snapshot(self, symbol: str, price: Price, epoch: str = "e1") -> None:
        await self.bus.set_if_absent(redis_keys.PRICE_EPOCH, epoch)
        key = redis_keys.price_snapshot(redis_keys.shard_of(symbol, SHARDS))
        await self.bus.hash_set(key, {symbol: encode(price)})

    async def publish(self, prices: dict[str, Price], epoch: str = "e1", version: int = VERSION) -> None:
        by_shard: dict[int, dict[str, msgspec.Raw]] = {}
        for symbol, price in prices.items():
            shard = redis_keys.shard_of(symbol, SHARDS)
            by_shard.setdefault(shard, {})[symbol] = msgspec.Raw(encode(price))
        published = self.clock.now_ms() - 250
        await self.bus.publish(
            (redis_keys.price_channel(shard), encode(PriceBatch(version, epoch, published, batch)))
            for shard, batch in by_shard.items()
        )

    async def publish_raw(self, symbol: str, payload: bytes) -> None:
        await self.bus.publish([(redis_keys.price_channel(redis_keys.shard_of(symbol, SHARDS)), payload)])

    async def live(self, symbol: str) -> None:
        await eventually(lambda: self.feed.is_live(symbol), "the snapshot was read")

    def seqs(self, symbol: str = A) -> list[tuple[int, int]]:
        return [(change.price.seq, change.base) for change in self.changes if change.symbol == symbol]


@pytest.fixture(name="start")
async def starter(bus: RedisBus) -> AsyncIterator[Callable[..., Running]]:
    async with TaskGroup() as tasks:

        def start(**options: Any) -> Running:
            running = Running(bus, **options)
            tasks.spawn("price-feed", running.feed.run())
            return running

        yield start


Start = Callable[..., Running]


async def subscribers(bus: RedisBus) -> dict[str, int]:
    channels = [redis_keys.price_channel(shard) for shard in range(SHARDS)]
    reply = await bus._client.pubsub_shardnumsub(*channels)
    return {str(name, "ascii") if isinstance(name, bytes) else name: count for name, count in reply}


async def test_a_watched_symbol_begins_with_its_snapshot_and_goes_on_with_the_news(start: Start) -> None:
    running = start()
    await running.snapshot(A, make_price(5))
    running.feed.watch(A)
    assert not running.feed.is_live(A)
    await running.live(A)
    await running.publish({A: make_price(8)})
    await eventually(lambda: len(running.changes) == 2, "two changes")
    assert running.seqs() == [(5, -1), (8, 5)]
    assert running.ages == [0.25]
    assert running.market.epoch == "e1"


async def test_only_the_shards_of_watched_symbols_are_listened_to(start: Start, bus: RedisBus) -> None:
    running = start()
    running.feed.watch(A)
    running.feed.watch(SAME_SHARD)
    await running.live(A)
    shard = redis_keys.shard_of(A, SHARDS)
    counts = await subscribers(bus)
    assert counts.pop(redis_keys.price_channel(shard)) == 1
    assert set(counts.values()) == {0}
    assert running.feed.shards_watched == 1
    await running.publish({A: make_price(1), B: make_price(1)})
    await eventually(lambda: bool(running.changes), "a change")
    assert running.seqs(B) == []


async def test_a_shard_is_left_some_time_after_its_last_watcher(
    start: Start, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_feed, "LINGER_S", 0.05)
    running = start()
    channel = redis_keys.price_channel(redis_keys.shard_of(A, SHARDS))
    running.feed.watch(A)
    running.feed.watch(SAME_SHARD)
    await running.live(A)
    running.feed.unwatch(A)
    await asyncio.sleep(0.1)
    assert (await subscribers(bus))[channel] == 1, "somebody still watches a symbol of this shard"
    running.feed.unwatch(SAME_SHARD)

    async def is_left() -> bool:
        return (await subscribers(bus))[channel] == 0

    await eventually(is_left, "the shard was left")
    assert not running.feed.is_live(A)
    running.feed.watch(A)
    await running.live(A)


async def test_the_whole_market_is_listened_to_where_everybody_gets_it(start: Start, bus: RedisBus) -> None:
    running = start(everything=True)
    await running.snapshot(A, make_price(3))
    await running.snapshot(B, make_price(4))
    await running.live(A)
    await running.live(B)
    assert running.feed.shards_watched == SHARDS
    assert set((await subscribers(bus)).values()) == {1}
    assert {symbol: price.seq for symbol, price in running.market.items()} == {A: 3, B: 4}


async def test_a_new_epoch_forgets_the_old_numbers_and_reads_the_snapshot_again(start: Start, bus: RedisBus) -> None:
    running = start()
    await running.snapshot(A, make_price(500))
    running.feed.watch(A)
    running.feed.watch(SAME_SHARD)
    await running.live(A)
    await bus._client.flushall()
    await running.snapshot(A, make_price(1), "e2")
    await running.snapshot(SAME_SHARD, make_price(1), "e2")
    await running.publish({A: make_price(2)}, "e2")
    await eventually(lambda: len(running.changes) == 3, "three changes")
    assert running.seqs() == [(500, -1), (2, -1)]
    assert running.seqs(SAME_SHARD) == [(1, -1)]


async def test_what_was_lost_on_the_way_is_found_by_a_regular_look(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_feed, "RESYNC_S", 0.05)
    running = start()
    running.feed.watch(A)
    await running.live(A)
    await running.snapshot(A, make_price(9))  # written, and its publication lost
    await eventually(lambda: bool(running.changes), "a change")
    assert running.seqs() == [(9, -1)]


async def test_a_lost_connection_is_no_longer_live_until_the_snapshot_is_read_again(
    start: Start, bus: RedisBus
) -> None:
    running = start()
    running.feed.watch(A)
    await running.live(A)
    await bus._client.client_kill_filter(_type="pubsub")
    await eventually(lambda: not running.feed.is_live(A), "the loss was noticed")
    await running.snapshot(A, make_price(9))
    await running.live(A)
    assert running.seqs() == [(9, -1)]


async def test_a_shard_that_is_confirmed_while_its_snapshot_is_read_is_read_again(
    start: Start, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    running = start()
    hash_all = bus.hash_all

    async def reading(key: str) -> dict[bytes, bytes]:
        read.append(key)
        found = await hash_all(key)
        if len(read) == 1:
            running.feed._on_live(redis_keys.price_channel(redis_keys.shard_of(A, SHARDS)))
            await running.snapshot(A, make_price(9))
        return found

    monkeypatch.setattr(bus, "hash_all", reading)
    running.feed.watch(A)
    await eventually(lambda: running.seqs() == [(9, -1)], "the newer snapshot")


@pytest.mark.parametrize("payload", [b"\x00", b"nonsense", b"\xc0", encode([1, 2])])
async def test_a_batch_that_cannot_be_read_is_counted_and_the_next_one_taken(start: Start, payload: bytes) -> None:
    running = start()
    running.feed.watch(A)
    await running.live(A)
    await running.publish_raw(A, payload)
    await running.publish({A: make_price(1)}, version=VERSION + 1)
    await running.publish({A: make_price(2)})
    await eventually(lambda: bool(running.changes), "a change")
    assert running.seqs() == [(2, -1)]
    assert running.feed.rejected == 2


async def test_one_bad_price_in_a_snapshot_loses_no_other(start: Start, bus: RedisBus) -> None:
    running = start()
    await running.snapshot(A, make_price(5))
    await bus.hash_set(redis_keys.price_snapshot(redis_keys.shard_of(A, SHARDS)), {SAME_SHARD: b"\xc1"})
    running.feed.watch(A)
    running.feed.watch(SAME_SHARD)
    await running.live(A)
    assert running.seqs() == [(5, -1)]
    assert running.market.rejected == 1


async def test_a_snapshot_that_was_being_read_when_the_subscription_was_lost_makes_nothing_live(
    start: Start, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    running.feed.watch(A)
    await running.live(A)
    reading, go_on = asyncio.Event(), asyncio.Event()
    read = bus.hash_all

    async def read_slowly(key: str) -> dict[bytes, bytes]:
        found = await read(key)
        reading.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(bus, "hash_all", read_slowly)
    await running.snapshot(A, make_price(5))
    running.feed._on_live(redis_keys.price_channel(redis_keys.shard_of(A, SHARDS)))
    await asyncio.wait_for(reading.wait(), PATIENCE_S)
    running.feed._on_lost()
    go_on.set()
    await eventually(running.seqs, "the snapshot was delivered")
    assert not running.feed.is_live(A)


async def test_a_deaf_shard_is_not_ready_until_its_snapshot_was_read_again(start: Start, bus: RedisBus) -> None:
    running = start()
    running.feed.watch(A)
    running.feed.watch(B)
    await running.live(A)
    await running.live(B)
    assert (running.feed.check(), running.feed.shards_stale) == (None, 0)
    shard = redis_keys.shard_of(A, SHARDS)
    running.feed._on_deaf({redis_keys.price_channel(shard): 2.0})
    running.feed._on_lost()
    running.clock.seconds += 1
    assert running.feed.check() == "1 of 2 price shards deaf for 3.0 s"
    assert running.feed.shards_stale == 2
    assert running.feed.deaf == 1
    await bus._client.client_kill_filter(_type="pubsub")
    await running.live(A)
    await running.live(B)
    assert (running.feed.check(), running.feed.shards_stale) == (None, 0)


async def test_a_deaf_shard_that_nobody_watches_any_more_is_ready(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_feed, "LINGER_S", 0.0)
    running = start()
    running.feed.watch(A)
    await running.live(A)
    running.feed._on_deaf({redis_keys.price_channel(redis_keys.shard_of(A, SHARDS)): 2.0})
    assert running.feed.check() == "1 of 1 price shards deaf for 2.0 s"
    running.feed.unwatch(A)
    await eventually(lambda: running.feed.check() is None, "forgotten")


async def test_shards_lost_with_redis_itself_have_the_grace_of_every_service() -> None:
    bus = RedisBus("redis://127.0.0.1:1", "never-connected")
    running = Running(bus, everything=True)
    async with TaskGroup() as tasks:
        tasks.spawn("price-feed", running.feed.run())
        await eventually(lambda: running.feed.shards_stale == SHARDS, "begun")
        running.clock.seconds += REDIS_GRACE_S
        assert running.feed.check() is None
        running.clock.seconds += 1
        assert running.feed.check() == "4 of 4 price shards not read for 16 s"
    await bus.close()
