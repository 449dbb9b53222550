"""The last prices in Redis, and their publication."""

from collections.abc import AsyncIterator

import pytest

from services.price_ingest.book import Change, StoredPrice
from services.price_ingest.homes import Homes
from services.price_ingest.normalise import Kind, Tick
from services.price_ingest.reader import FORWARD_FIELD, Reader
from services.price_ingest.store import Committed, PriceStore
from shared.bus.errors import FencedError
from shared.bus.redis_bus import RedisBus
from shared.bus.redis_pubsub import RedisPubSub
from shared.clock import SystemClock
from shared.lease import Lease
from shared.messages import VERSION, Price, PriceBatch, decode_price, decode_price_batch, encode
from shared.names import redis_keys

SHARDS = 4
UNIT = 3
OTHER = 5
X = Change("BTC-USDT", StoredPrice("64000.10", 5, 7, 3, bid="64000", side="buy", said_at=5, quoted_at=4), fresh=True)
Y = Change("ETH-USDT", StoredPrice("2500", 6, 1, 1), fresh=True)
QUIET = Change("SOL-USDT", StoredPrice("150", 8, 2, 2), fresh=False)
SYMBOLS = {X.symbol, Y.symbol, QUIET.symbol}
CHANNELS = [redis_keys.price_channel(shard) for shard in range(SHARDS)]


async def held(bus: RedisBus, owner: str) -> Lease:
    """A lease taken once, which nobody renews: one test is shorter than its life."""
    lease = Lease(bus, redis_keys.price_lease(UNIT), owner)
    assert await lease.take()
    return lease


@pytest.fixture
async def lease(bus: RedisBus) -> Lease:
    return await held(bus, "one")


@pytest.fixture
async def store(bus: RedisBus, lease: Lease) -> PriceStore:
    made = reader(bus, lease)
    await made.load()
    await made.claim(SYMBOLS)
    return made


@pytest.fixture
async def listener(bus: RedisBus) -> AsyncIterator[RedisPubSub]:
    pubsub = bus.open_pubsub()
    await pubsub.subscribe(CHANNELS)
    for _ in CHANNELS:
        assert await pubsub.receive(5)
    yield pubsub
    await pubsub.close()


async def heard(listener: RedisPubSub, batches: int) -> list[tuple[str, PriceBatch]]:
    events = [await listener.receive(5) for _ in range(batches)]
    assert await listener.receive(0.05) is None
    return [(event.channel, decode_price_batch(event.data)) for event in events if event and event.data]


def seen(price: StoredPrice) -> Price:
    """As readers decode it."""
    return decode_price(encode(price))


async def epoch(bus: RedisBus) -> str:
    return ((await bus.get(redis_keys.PRICE_EPOCH)) or b"").decode()


def reader(bus: RedisBus, lease: Lease) -> PriceStore:
    """The next process."""
    return PriceStore(bus, UNIT, lease, Homes(bus, 100), SHARDS, SystemClock())


async def test_what_is_saved_is_loaded_by_the_next_writer(bus: RedisBus, store: PriceStore, lease: Lease):
    before = await epoch(bus)
    await store.save([X, QUIET], {"feed:prices": "5-0"}, {})
    await store.save([Y], {"feed:prices": "6-0", "feed:trades": "1-0"}, {})
    prices = {change.symbol: change.price for change in (X, Y, QUIET)}
    positions = {"feed:prices": "6-0", "feed:trades": "1-0", redis_keys.price_forward(UNIT): "0-0"}
    assert await reader(bus, lease).load() == Committed(prices, positions)
    assert await epoch(bus) == before != ""


async def test_each_price_stands_in_the_hash_of_its_shard(bus: RedisBus, store: PriceStore):
    await store.save([X, Y, QUIET], {}, {})
    for change in (X, Y, QUIET):
        shard = redis_keys.shard_of(change.symbol, SHARDS)
        stored = await bus.hash_all(redis_keys.price_snapshot(shard))
        assert decode_price(stored[change.symbol.encode()]) == seen(change.price)


async def test_one_batch_per_touched_shard_carries_what_is_fresh(
    bus: RedisBus, store: PriceStore, listener: RedisPubSub
):
    await store.save([X, Y, QUIET], {}, {})
    batches = dict(await heard(listener, len({redis_keys.shard_of(change.symbol, SHARDS) for change in (X, Y)})))
    found = {}
    for channel, batch in batches.items():
        assert (batch.version, batch.epoch) == (VERSION, await epoch(bus))
        for symbol, raw in batch.prices.items():
            assert channel == redis_keys.price_channel(redis_keys.shard_of(symbol, SHARDS))
            found[symbol] = decode_price(raw)
    assert found == {X.symbol: seen(X.price), Y.symbol: seen(Y.price)}


async def test_a_batch_holds_the_very_bytes_of_the_snapshot(bus: RedisBus, store: PriceStore, listener: RedisPubSub):
    await store.save([X], {}, {})
    ((_, batch),) = await heard(listener, 1)
    shard = redis_keys.shard_of(X.symbol, SHARDS)
    stored = await bus.hash_all(redis_keys.price_snapshot(shard))
    assert bytes(batch.prices[X.symbol]) == stored[X.symbol.encode()]


async def test_nothing_fresh_publishes_nothing(store: PriceStore, listener: RedisPubSub):
    await store.save([QUIET], {"feed:prices": "9-0"}, {})
    assert await heard(listener, 0) == []


async def test_a_whole_snapshot_is_published_as_it_was_committed(
    bus: RedisBus, store: PriceStore, lease: Lease, listener: RedisPubSub
):
    await store.save([QUIET], {}, {})
    following = reader(bus, lease)
    await following.publish_all((await following.load()).prices)
    ((_, batch),) = await heard(listener, 1)
    assert decode_price(batch.prices[QUIET.symbol]) == seen(QUIET.price)
    assert batch.epoch == await epoch(bus)


async def test_a_writer_that_lost_its_lease_writes_and_publishes_nothing(
    bus: RedisBus, store: PriceStore, listener: RedisPubSub
):
    await bus._client.delete(redis_keys.price_lease(UNIT))
    await held(bus, "two")
    with pytest.raises(FencedError):
        await store.save([X], {"feed:prices": "5-0"}, {})
    assert await bus.hash_all(redis_keys.price_snapshot(redis_keys.shard_of(X.symbol, SHARDS))) == {}
    assert b"feed:prices" not in await bus.hash_all(redis_keys.PRICE_POSITIONS)
    assert await heard(listener, 0) == []


async def test_a_writer_whose_epoch_is_gone_writes_nothing(bus: RedisBus, store: PriceStore):
    await bus._client.delete(redis_keys.PRICE_EPOCH)
    with pytest.raises(FencedError):
        await store.save([X], {}, {})
    assert await bus.hash_all(redis_keys.price_snapshot(redis_keys.shard_of(X.symbol, SHARDS))) == {}


async def test_lost_data_begin_a_new_epoch(bus: RedisBus, store: PriceStore):
    before = await epoch(bus)
    await store.save([X], {"feed:prices": "5-0"}, {})
    await bus._client.delete(
        redis_keys.PRICE_EPOCH, redis_keys.PRICE_POSITIONS, *(redis_keys.price_snapshot(shard) for shard in range(4))
    )
    assert await store.load() == Committed({}, {})
    assert await epoch(bus) not in ("", before)


async def test_a_snapshot_older_than_what_redis_had_confirmed_begins_a_new_epoch(bus: RedisBus, store: PriceStore):
    before = await epoch(bus)
    await store.save([X], {}, {})
    older = X._replace(price=StoredPrice("63999", 4, 6))
    shard = redis_keys.shard_of(X.symbol, SHARDS)
    await store.save([older], {}, {})  # as a replica or an append-only file without the last second would have it
    store._seqs[X.symbol] = X.price.seq
    assert (await store.load()).prices == {X.symbol: older.price}
    assert await epoch(bus) != before
    await store.save([X], {}, {})
    assert X.symbol.encode() in await bus.hash_all(redis_keys.price_snapshot(shard))


async def test_loading_again_what_was_saved_keeps_the_epoch(bus: RedisBus, store: PriceStore):
    before = await epoch(bus)
    await store.save([X, Y], {}, {})
    await store.load()
    await store.load()
    assert await epoch(bus) == before


async def test_a_price_that_cannot_be_read_is_left_out_and_begins_a_new_epoch(
    bus: RedisBus, store: PriceStore, lease: Lease
):
    before = await epoch(bus)
    await store.save([X, Y], {}, {})
    await bus.hash_set(redis_keys.price_snapshot(redis_keys.shard_of(X.symbol, SHARDS)), {X.symbol: b"\xc1garbage"})
    assert (await reader(bus, lease).load()).prices == {Y.symbol: Y.price}
    assert await epoch(bus) != before


async def test_a_price_left_in_a_former_shard_does_not_set_the_symbol_back(
    bus: RedisBus, store: PriceStore, lease: Lease
):
    await store.save([X], {}, {})
    home = redis_keys.shard_of(X.symbol, SHARDS)
    for shard in set(range(SHARDS)) - {home}:
        await bus.hash_set(redis_keys.price_snapshot(shard), {X.symbol: encode(Price("1", 1, X.price.seq - 1))})
    assert (await reader(bus, lease).load()).prices == {X.symbol: X.price}


async def test_each_unit_loads_the_symbols_that_are_at_home_in_it(bus: RedisBus, store: PriceStore):
    await store.save([X, Y], {}, {})
    lease = Lease(bus, redis_keys.price_lease(OTHER), "one")
    assert await lease.take()
    other = PriceStore(bus, OTHER, lease, Homes(bus, 100), SHARDS, SystemClock())
    assert (await other.load()).prices == {}
    await other.claim({X.symbol, "NEW"})
    await other.save([QUIET._replace(symbol="NEW")], {}, {})
    assert (await other.load()).prices == {"NEW": QUIET.price}
    assert set((await store.load()).prices) == {X.symbol, Y.symbol}


async def test_another_units_new_epoch_fences_and_is_taken_over_by_loading(bus: RedisBus, store: PriceStore):
    await bus._client.set(redis_keys.PRICE_EPOCH, "another")
    with pytest.raises(FencedError):
        await store.save([X], {}, {})
    with pytest.raises(FencedError):
        await store.claim({"NEW"})
    await store.load()
    await store.save([X], {}, {})
    assert await epoch(bus) == "another"


async def test_ticks_for_other_units_are_handed_on_in_the_same_step(bus: RedisBus, store: PriceStore):
    ticks = [Tick("A", Kind.TRADE, str(number), 1, number, number, amount="1") for number in range(600)]
    await store.save([X], {"feed:prices": "6-0"}, {OTHER: ticks, 7: ticks[:1]})
    for unit, expected in ((OTHER, ticks), (7, ticks[:1])):
        stream = redis_keys.price_forward(unit)
        entries = (await bus.read({stream: "0"}, 100, 0))[stream]
        assert set(entries[0].fields) == {FORWARD_FIELD}
        assert Reader(None).read(stream, entries).ticks == expected
    await bus._client.delete(redis_keys.price_lease(UNIT))
    with pytest.raises(FencedError):
        await store.save([], {}, {9: ticks})
    assert await bus.length(redis_keys.price_forward(9)) == 0
