"""price-ingest when a process or Redis dies, freezes or comes back."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.messages import Price
from shared.names import redis_keys
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
from tests.support.service_process import Service, Services, eventually

TAKEOVER_S = 10.0


@pytest.fixture
def services(redis_url: str, tmp_path: Path) -> Iterator[Services]:
    with Services(redis_url, tmp_path) as made:
        yield made


@pytest.fixture
async def market(bus: RedisBus) -> AsyncIterator[Market]:
    async with listening(bus) as made:
        yield made


async def pair(services: Services) -> tuple[Service, Service]:
    """The one that writes, and the one that stands by."""
    active, standby = services.start(INGEST), services.start(INGEST)
    await active.instance()
    await standby.instance()

    async def holder() -> Service | None:
        return next((each for each in (active, standby) if each.lines("lease_acquired")), None)

    holding = await eventually(holder, lambda found: found is not None, "a holder of the lease")
    return (active, standby) if holding is active else (standby, active)


def numbers(prices: dict[str, Price]) -> dict[str, tuple[str, int, int]]:
    """What must not depend on when it was published."""
    return {symbol: (price.price, price.ts, price.seq) for symbol, price in prices.items()}


@pytest.mark.slow
async def test_killed_midway_it_ends_where_an_uninterrupted_run_ends(services: Services, bus: RedisBus, market: Market):
    ticks = walk(50_000)
    killed = services.start(INGEST)
    await feed(bus, ticks[:20_000])
    await eventually(lambda: position(bus), bool, "a first position")
    await feed(bus, ticks[20_000:40_000])
    killed.kill()  # somewhere in what it has, and surely before what follows
    await feed(bus, ticks[40_000:])
    following = services.start(INGEST)
    await read_up(bus)
    stored = await snapshot(bus)
    for symbol, price in stored.items():
        await heard(market, symbol, price.price)
        assert market.accounted(symbol) == price.seq
    assert await following.terminate() == 0

    await forget_prices(bus)
    uninterrupted = services.start(INGEST)
    await read_up(bus)
    assert numbers(await snapshot(bus)) == numbers(stored)
    assert await uninterrupted.terminate() == 0


async def test_a_second_one_stands_by_and_takes_over_when_the_first_is_killed(
    services: Services, bus: RedisBus, market: Market
):
    active, standby = await pair(services)
    await feed(bus, [{"symbol": "X", "price": "1"}])
    await heard(market, "X", "1")
    assert (await standby.scrape())["tickwire_ingest_active"] == 0
    active.kill()
    killed_at = asyncio.get_running_loop().time()
    await feed(bus, [{"symbol": "X", "price": "2"}])
    assert (await heard(market, "X", "2")).seq == 2
    assert asyncio.get_running_loop().time() - killed_at < TAKEOVER_S
    assert (await standby.scrape())["tickwire_ingest_active"] == 1


async def test_told_to_stop_it_hands_over_at_once(services: Services, bus: RedisBus, market: Market):
    active, _ = await pair(services)
    assert await active.terminate() == 0
    stopped_at = asyncio.get_running_loop().time()
    await feed(bus, [{"symbol": "X", "price": "1"}])
    await heard(market, "X", "1")
    assert asyncio.get_running_loop().time() - stopped_at < 3


async def test_one_that_was_frozen_wakes_up_fenced_and_stands_by(services: Services, bus: RedisBus, market: Market):
    active, standby = await pair(services)
    active.process.send_signal(signal.SIGSTOP)
    await feed(bus, [{"symbol": "X", "price": str(number)} for number in range(1, 101)])
    await heard(market, "X", "100")
    active.process.send_signal(signal.SIGCONT)
    await active.logged("lease_lost")
    await feed(bus, [{"symbol": "X", "price": "101"}])
    await heard(market, "X", "101")
    assert market.accounted("X") == 101
    assert (await active.scrape())["tickwire_ingest_active"] == 0
    assert (await standby.scrape())["tickwire_ingest_active"] == 1


@pytest.mark.parametrize("durable", [True, False])
async def test_redis_that_dies_and_comes_back_heals(durable: bool, tmp_path: Path):  # noqa: FBT001 - a parameter
    files = tmp_path / "files"
    files.mkdir()
    with EmbeddedValkey(append_only=durable, directory=files) as server, Services(server.url, tmp_path) as services:
        bus = RedisBus(server.url, "test")
        service = services.start(INGEST)
        await service.instance()
        async with listening(bus) as market:
            await feed(bus, [{"symbol": "X", "price": "1", "ts": "5"}, {"symbol": "X", "price": "2", "ts": "5"}])
            await heard(market, "X", "2")
            server.kill()
            market.live.clear()
            await service.logged("redis_unavailable")
            server.start()

            async def live() -> int:
                return len(market.live)

            await eventually(live, lambda channels: channels == 16, "subscribed again")
            await feed(bus, [{"symbol": "X", "price": "3", "ts": "5"}])
            published = await heard(market, "X", "3")
            assert published.seq == (3 if durable else 1)
            assert len(market.epochs) == (1 if durable else 2)
            assert await snapshot(bus) == {"X": published}
        assert await service.terminate() == 0
        await bus.close()


async def test_data_flushed_under_its_feet_begin_a_new_epoch(services: Services, bus: RedisBus, market: Market):
    service = services.start(INGEST)
    await service.instance()
    await feed(bus, [{"symbol": "X", "price": "1"}])
    await heard(market, "X", "1")
    await bus._client.flushall()
    await feed(bus, [{"symbol": "X", "price": "2"}])
    published = await heard(market, "X", "2")
    assert (published.seq, len(market.epochs)) == (1, 2)


async def test_a_stream_with_a_shorter_history_is_noticed_and_read(services: Services, bus: RedisBus, market: Market):
    service = services.start(INGEST)
    await service.instance()
    await bus._client.xadd(FEED, {"symbol": "X", "price": "1", "ts": "5"}, id="9999999999999-0")
    await heard(market, "X", "1")
    await bus._client.delete(FEED)
    await feed(bus, [{"symbol": "X", "price": "2", "ts": "6"}])
    await heard(market, "X", "2")
    assert (await service.logged("feed_gap"))["reason"] == "position_ahead"
    assert (await service.scrape())['tickwire_ingest_gaps_total{reason="position_ahead"}'] >= 1


async def test_a_commit_that_was_not_published_is_published_at_the_next_start(
    services: Services, bus: RedisBus, market: Market
):
    await feed(bus, [{"symbol": "X", "price": "1"}])
    first = services.start(INGEST)
    await heard(market, "X", "1")
    assert await first.terminate() == 0
    market.prices.clear()
    services.start(INGEST)
    assert (await heard(market, "X", "1")).seq == 1


async def test_full_memory_is_waited_out(services: Services, bus: RedisBus, market: Market):
    service = services.start(INGEST)
    await service.instance()
    await feed(bus, [{"symbol": "X", "price": "1"}])
    await heard(market, "X", "1")
    service.process.send_signal(signal.SIGSTOP)
    await feed(bus, [{"symbol": "X", "price": "2"}])
    try:
        await bus._client.config_set("maxmemory", "1")
        service.process.send_signal(signal.SIGCONT)
        await service.logged("redis_unavailable")
    finally:
        await bus._client.config_set("maxmemory", "0")
    await feed(bus, [{"symbol": "X", "price": "3"}])
    await heard(market, "X", "3")
    assert (await bus.get(redis_keys.PRICE_EPOCH) or b"").decode() == market.epochs[-1]
