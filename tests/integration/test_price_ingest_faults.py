"""price-ingest when a process or Redis dies, freezes or comes back."""

import asyncio
from pathlib import Path

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.messages import Price
from shared.names import redis_keys
from tests.support.cluster import Cluster, Service
from tests.support.price_market import (
    FEED,
    INGEST,
    Market,
    feed,
    forget_prices,
    heard,
    listening,
    position,
    read_up,
    snapshot,
    walk,
)
from tests.support.waiting import eventually

TAKEOVER_S = 10.0


async def pair(cluster: Cluster) -> tuple[Service, Service]:
    """The one that writes, and the one that stands by."""
    await cluster.start(INGEST, INGEST)
    one, two = cluster.services
    await eventually(lambda: one.lines("lease_acquired") or two.lines("lease_acquired"), "a holder of the lease")
    return (one, two) if one.lines("lease_acquired") else (two, one)


def numbers(prices: dict[str, Price]) -> dict[str, tuple[str, int, int]]:
    """What must not depend on when it was published."""
    return {symbol: (price.price, price.ts, price.seq) for symbol, price in prices.items()}


@pytest.mark.slow
async def test_killed_midway_it_ends_where_an_uninterrupted_run_ends(cluster: Cluster, bus: RedisBus, market: Market):
    ticks = walk(50_000)
    killed = cluster.launch(INGEST)
    await feed(bus, ticks[:20_000])
    await eventually(lambda: position(bus), "a first position")
    await feed(bus, ticks[20_000:40_000])
    killed.kill()  # somewhere in what it has, and surely before what follows
    await feed(bus, ticks[40_000:])
    following = cluster.launch(INGEST)
    await read_up(bus)
    stored = await snapshot(bus)
    for symbol, price in stored.items():
        await heard(market, symbol, price.price)
        assert market.accounted(symbol) == price.seq
    assert await following.stop() == 0

    await forget_prices(bus)
    uninterrupted = cluster.launch(INGEST)
    await read_up(bus)
    assert numbers(await snapshot(bus)) == numbers(stored)
    assert await uninterrupted.stop() == 0


async def test_a_second_one_stands_by_and_takes_over_when_the_first_is_killed(
    cluster: Cluster, bus: RedisBus, market: Market
):
    active, standby = await pair(cluster)
    await feed(bus, [{"symbol": "X", "price": "1"}])
    await heard(market, "X", "1")
    assert (await standby.scrape())["tickwire_ingest_units_owned"] == 0
    active.kill()
    killed_at = asyncio.get_running_loop().time()
    await feed(bus, [{"symbol": "X", "price": "2"}])
    assert (await heard(market, "X", "2")).seq == 2
    assert asyncio.get_running_loop().time() - killed_at < TAKEOVER_S
    assert (await standby.scrape())["tickwire_ingest_units_owned"] == 1


async def test_told_to_stop_it_hands_over_at_once(cluster: Cluster, bus: RedisBus, market: Market):
    active, _ = await pair(cluster)
    assert await active.stop() == 0
    stopped_at = asyncio.get_running_loop().time()
    await feed(bus, [{"symbol": "X", "price": "1"}])
    await heard(market, "X", "1")
    assert asyncio.get_running_loop().time() - stopped_at < 3


async def test_one_that_was_frozen_wakes_up_fenced_and_stands_by(cluster: Cluster, bus: RedisBus, market: Market):
    active, standby = await pair(cluster)
    active.freeze()
    await feed(bus, [{"symbol": "X", "price": str(number)} for number in range(1, 101)])
    await heard(market, "X", "100")
    active.thaw()
    await active.logged("lease_lost")
    await feed(bus, [{"symbol": "X", "price": "101"}])
    await heard(market, "X", "101")
    assert market.accounted("X") == 101
    assert (await active.scrape())["tickwire_ingest_units_owned"] == 0
    assert (await standby.scrape())["tickwire_ingest_units_owned"] == 1


@pytest.mark.parametrize("durable", [True, False])
async def test_redis_that_dies_and_comes_back_heals(durable: bool, tmp_path: Path):  # noqa: FBT001 - a parameter
    files = tmp_path / "files"
    files.mkdir()
    with EmbeddedValkey(append_only=durable, directory=files) as server, Cluster(server.url, tmp_path) as cluster:
        bus = RedisBus(server.url, "test")
        service = await cluster.start(INGEST)
        async with listening(bus) as market:
            await feed(bus, [{"symbol": "X", "price": "1", "ts": "5"}, {"symbol": "X", "price": "2", "ts": "5"}])
            await heard(market, "X", "2")
            server.kill()
            market.live.clear()
            await service.logged("redis_unavailable")
            server.start()
            await eventually(lambda: len(market.live) == 16, "subscribed again")
            await feed(bus, [{"symbol": "X", "price": "3", "ts": "5"}])
            published = await heard(market, "X", "3")
            assert published.seq == (3 if durable else 1)
            assert len(market.epochs) == (1 if durable else 2)
            assert await snapshot(bus) == {"X": published}
        assert await service.stop() == 0
        await bus.close()


async def test_data_flushed_under_its_feet_begin_a_new_epoch(cluster: Cluster, bus: RedisBus, market: Market):
    await cluster.start(INGEST)
    await feed(bus, [{"symbol": "X", "price": "1"}])
    await heard(market, "X", "1")
    await bus._client.flushall()
    await feed(bus, [{"symbol": "X", "price": "2"}])
    published = await heard(market, "X", "2")
    assert (published.seq, len(market.epochs)) == (1, 2)


async def test_a_stream_with_a_shorter_history_is_noticed_and_read(cluster: Cluster, bus: RedisBus, market: Market):
    service = await cluster.start(INGEST)
    await bus._client.xadd(FEED, {"symbol": "X", "price": "1", "ts": "5"}, id="7900000000000-0")
    await heard(market, "X", "1")
    await bus._client.delete(FEED)
    await feed(bus, [{"symbol": "X", "price": "2", "ts": "6"}])
    await heard(market, "X", "2")
    assert (await service.logged("feed_gap"))["reason"] == "position_ahead"
    assert (await service.scrape())['tickwire_ingest_gaps_total{reason="position_ahead"}'] >= 1


async def test_a_commit_that_was_not_published_is_published_at_the_next_start(
    cluster: Cluster, bus: RedisBus, market: Market
):
    await feed(bus, [{"symbol": "X", "price": "1"}])
    first = cluster.launch(INGEST)
    await heard(market, "X", "1")
    assert await first.stop() == 0
    market.prices.clear()
    cluster.launch(INGEST)
    assert (await heard(market, "X", "1")).seq == 1


async def test_full_memory_is_waited_out(cluster: Cluster, bus: RedisBus, market: Market):
    service = await cluster.start(INGEST)
    await feed(bus, [{"symbol": "X", "price": "1"}])
    await heard(market, "X", "1")
    service.freeze()
    await feed(bus, [{"symbol": "X", "price": "2"}])
    try:
        await bus._client.config_set("maxmemory", "1")
        service.thaw()
        await service.logged("redis_unavailable")
    finally:
        await bus._client.config_set("maxmemory", "0")
    await feed(bus, [{"symbol": "X", "price": "3"}])
    await heard(market, "X", "3")
    assert (await bus.get(redis_keys.PRICE_EPOCH) or b"").decode() == market.epochs[-1]
