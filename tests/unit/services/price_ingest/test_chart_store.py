"""Candles in Redis, and their publication."""

import asyncio
from typing import Any, cast

import pytest

from services.price_ingest import chart_store
from services.price_ingest.candles import CandleKey, ChartChange
from services.price_ingest.chart_store import ChartStore
from shared.bus.errors import FencedError
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.lease import Lease
from shared.messages import decode_chart_batch, encode
from shared.names import redis_keys
from tests.support.waiting import PATIENCE_S

UNIT = 3
SHARDS = 4
EPOCH = "one"


def change(symbol: str, *closed: tuple[str, int, bytes]) -> ChartChange:
    return ChartChange(symbol, f"snapshot of {symbol}".encode(), list(closed), encode(f"publication of {symbol}"))


@pytest.fixture
async def lease(bus: RedisBus) -> Lease:
    made = Lease(bus, redis_keys.price_lease(UNIT), "one")
    assert await made.take()
    await bus.set_if_absent(redis_keys.PRICE_EPOCH, EPOCH)
    return made


@pytest.fixture
def store(bus: RedisBus, lease: Lease) -> ChartStore:
    return ChartStore(bus, UNIT, lease, SHARDS, 3, SystemClock())


async def test_charts_and_positions_are_loaded_as_they_were_saved(store: ChartStore):
    await store.save(EPOCH, [change("A"), change("B"), change("C")], {"feed:trades": "5-0"}, "0-0")
    assert await store.load({"A", "C", "D"}) == {"A": b"snapshot of A", "C": b"snapshot of C"}
    assert await store.load_positions() == {"feed:trades": "5-0"}


async def test_closed_candles_stand_in_history_once_each_and_the_oldest_leave_it(store: ChartStore, bus: RedisBus):
    for number in range(5):
        await store.save(EPOCH, [change("A", ("1m", number * 60_000, b"%d" % number), ("1s", 0, b"second"))], {}, "0-0")
    await store.save(EPOCH, [change("A", ("1m", 180_000, b"3 revised"))], {}, "0-0")
    keys = [CandleKey("A", "1m", start) for start in (60_000, 120_000, 180_000)] + [CandleKey("A", "1s", 0)]
    assert dict(await store.load_candles(keys)) == dict(zip(keys, [None, b"2", b"3 revised", b"second"], strict=True))
    assert await bus._client.zcard(redis_keys.candle_history("A", "1m")) == 3


async def test_one_batch_for_each_shard_carries_what_changed(store: ChartStore, bus: RedisBus):
    pubsub = bus.open_pubsub()
    shard = redis_keys.shard_of("A", SHARDS)
    await pubsub.subscribe([redis_keys.chart_channel(shard)])
    assert await pubsub.receive(PATIENCE_S)
    await store.save(EPOCH, [change("A")], {}, "0-0")
    event = await pubsub.receive(PATIENCE_S)
    assert event is not None
    assert event.data is not None
    batch = decode_chart_batch(event.data)
    assert (batch.epoch, bytes(batch.charts["A"])) == (EPOCH, encode("publication of A"))
    await pubsub.close()


async def test_one_who_lost_the_lease_or_the_epoch_writes_nothing(store: ChartStore, bus: RedisBus, lease: Lease):
    closed = change("A", ("1m", 0, b"candle"))
    with pytest.raises(FencedError):
        await store.save("another", [closed], {"feed:trades": "5-0"}, "0-0")
    await bus._client.delete(lease.key)
    with pytest.raises(FencedError):
        await store.save(EPOCH, [closed], {"feed:trades": "5-0"}, "0-0")
    assert await store.load({"A"}) == {}
    assert await store.load_positions() == {}
    assert await bus._client.exists(redis_keys.candle_history("A", "1m")) == 0


async def test_forwarded_ticks_are_trimmed_some_time_after_they_are_needed(
    store: ChartStore, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chart_store, "KEEP_FORWARDED_MS", 1000)
    stream = redis_keys.price_forward(UNIT)
    for number in range(10):
        large = {"t": b"x" * 5000}  # one to a node: whole nodes are trimmed
        await bus._client.xadd(stream, cast("Any", large), id=f"{1000 * (number + 1)}-0")
    await store.save(EPOCH, [], {stream: "5000-0"}, "5000-0")
    assert (await bus.stream_ends([stream]))[stream].first == "4000-0"
    await store.save(EPOCH, [], {stream: "9000-0"}, "0-0")
    assert (await bus.stream_ends([stream]))[stream].first == "4000-0"


async def test_history_is_read_as_every_save_that_began_before_leaves_it(store: ChartStore):
    key = CandleKey("A", "1s", 0)
    await store.save(EPOCH, [change("A", ("1s", 0, b"0"))], {}, "0-0")
    for number in range(1, 30):
        saving = store.save(EPOCH, [change("A", ("1s", 0, b"%d" % number))], {}, "0-0")
        _, found = await asyncio.gather(saving, store.load_candles([key]))
        assert dict(found) == {key: b"%d" % number}
