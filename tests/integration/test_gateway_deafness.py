"""A gateway that Redis no longer reaches, though no connection ends: it notices, says so, and heals by itself."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.messages import VERSION, PriceBatch, encode
from shared.names import redis_keys
from shared.settings import CommonSettings
from tests.support.cluster import Cluster, Service
from tests.support.fakes_gateway import make_price
from tests.support.fault_proxy import PUBSUB, FaultProxy
from tests.support.redis_cli import redis_cli
from tests.support.waiting import eventually
from tests.support.wire_socket import joined, listening

SYMBOL: Final = "BTC-USDT"
SHARD: Final = redis_keys.shard_of(SYMBOL, CommonSettings().price_shards)
FEEDS: Final = ("prices", "charts", "metrics")
NOTICED_S: Final = 3.0
HEALED_S: Final = 5.0


@pytest.fixture
def proxy(own_valkey: EmbeddedValkey) -> Iterator[FaultProxy]:
    """Between the test's services and a server that it may freeze."""
    with FaultProxy(own_valkey.url) as made:
        yield made


@pytest.fixture
def cluster(proxy: FaultProxy, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(proxy.url, tmp_path) as made:
        yield made


class Market:
    """price-ingest's part: each price is stored before it is published."""

    def __init__(self, bus: RedisBus) -> None:
        self._bus = bus

    async def move(self, seq: int) -> None:
        price = make_price(seq)
        await self._bus.set_if_absent(redis_keys.PRICE_EPOCH, "e1")
        await self._bus.hash_set(redis_keys.price_snapshot(SHARD), {SYMBOL: encode(price)})
        batch = PriceBatch(VERSION, "e1", SystemClock().now_ms(), {SYMBOL: msgspec.Raw(encode(price))})
        await self._bus.publish([(redis_keys.price_channel(SHARD), encode(batch))])


@asynccontextmanager
async def subscriber(gateway: Service) -> AsyncIterator[list[int]]:
    """The `seq` of every price that a client of this gateway is sent."""
    seqs: list[int] = []

    def on_event(name: str, *args: Any) -> None:
        if name == "price:update":
            seqs.append(args[0]["seq"])

    async with joined(gateway.port) as client:
        await client.call("subscribe:price", SYMBOL)
        async with listening(client, on_event):
            yield seqs


@asynccontextmanager
async def watched(gateway: Service, market: Market) -> AsyncIterator[list[int]]:
    """A client that has the first price; the gateway's connections have all said what they are."""
    async with subscriber(gateway) as seqs:
        await market.move(1)
        await eventually(lambda: seqs, "the first price", lambda seen: seen == [1])
        yield seqs


async def readiness(gateway: Service) -> tuple[int, dict[str, str]]:
    status, body = await gateway.ask("/readyz")
    return status, json.loads(body)["failing"]


def losses(gateway: Service) -> list[dict[str, Any]]:
    return [line for line in gateway.lines("redis_unavailable") if line["task"] == "subscription"]


@pytest.fixture
def market(own_bus: RedisBus) -> Market:
    return Market(own_bus)


async def test_a_deaf_gateway_says_so_and_heals_and_its_clients_get_what_they_missed_once(
    cluster: Cluster, proxy: FaultProxy, market: Market
) -> None:
    gateway = await cluster.start("gateway")
    async with watched(gateway, market) as seqs:
        await eventually(lambda: readiness(gateway), "ready", lambda found: found == (200, {}))
        begun = time.monotonic()
        assert proxy.deafen(PUBSUB) >= 1
        await market.move(2)
        _, failing = await eventually(lambda: readiness(gateway), "red", lambda found: found[0] == 503)
        assert list(failing) == ["prices"]
        assert " of 16 price shards deaf for " in failing["prices"]
        await eventually(lambda: gateway.lines("pubsub_deaf"), "noticed")
        assert time.monotonic() - begun < NOTICED_S
        await eventually(lambda: readiness(gateway), "green", lambda found: found == (200, {}))
        await eventually(lambda: seqs, "the price that was missed", lambda seen: seen == [1, 2])
        assert time.monotonic() - begun < HEALED_S
        await market.move(3)
        await eventually(lambda: seqs, "the next price", lambda seen: seen[-1] == 3)
        assert seqs == [1, 2, 3]
    figures = await eventually(
        gateway.scrape,
        "each incident counted once",
        lambda found: all(found.get(f'tickwire_pubsub_deaf_total{{feed="{name}"}}') == 1 for name in FEEDS[::2]),
    )
    assert figures["tickwire_shards_stale"] == 0
    assert figures["tickwire_shards_watched"] == 16
    assert len(gateway.lines("pubsub_deaf")) == 2, "the chart feed has no channel yet"


async def test_a_blackhole_costs_no_cpu_is_not_this_gateways_fault_and_heals(
    cluster: Cluster, proxy: FaultProxy, market: Market
) -> None:
    gateway = await cluster.start("gateway")
    async with watched(gateway, market) as seqs:
        begun, busy = time.monotonic(), (await gateway.scrape())["process_cpu_seconds_total"]
        proxy.blackhole(5.0)
        await market.move(2)
        await eventually(lambda: losses(gateway), "noticed")
        assert time.monotonic() - begun < NOTICED_S + 0.5
        await eventually(
            gateway.scrape, "all in doubt", lambda found: found["tickwire_shards_stale"] == 16, patience=1.0
        )
        statuses = set()

        async def converged() -> bool:
            statuses.add((await readiness(gateway))[0])
            return seqs == [1, 2]

        await eventually(converged, "the price that was missed", patience=5.0 + HEALED_S)
        assert statuses == {200}, "Redis is away for all gateways: none is better than another"
        spent = (await gateway.scrape())["process_cpu_seconds_total"] - busy
        assert spent < 0.5 * (time.monotonic() - begun)
        await market.move(3)
        await eventually(lambda: seqs, "the next price", lambda seen: seen == [1, 2, 3])
    assert gateway.lines("pubsub_deaf") == []


async def test_a_redis_that_is_stopped_for_a_while_is_found_again(
    cluster: Cluster, own_valkey: EmbeddedValkey, market: Market
) -> None:
    gateway = await cluster.start("gateway")
    async with watched(gateway, market) as seqs:
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(5)  # the fault itself
            assert losses(gateway)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        await market.move(2)
        await eventually(lambda: seqs, "the next price", lambda seen: seen == [1, 2], patience=HEALED_S)
        assert (await readiness(gateway))[0] == 200
    assert gateway.lines("pubsub_deaf") == []


async def test_connections_that_are_killed_again_and_again_lose_no_price_for_good(
    cluster: Cluster, own_valkey: EmbeddedValkey, market: Market
) -> None:
    gateway = await cluster.start("gateway")
    async with watched(gateway, market) as seqs:
        for seq in range(2, 12):
            redis_cli(own_valkey.url, "CLIENT KILL TYPE pubsub")
            await market.move(seq)
            await asyncio.sleep(0.2)  # at any moment of coming back
        await eventually(lambda: seqs, "the last price", lambda seen: seen[-1] == 11, patience=HEALED_S)
        assert seqs == sorted(set(seqs))
        assert (await readiness(gateway))[0] == 200


async def test_a_gateway_that_was_stopped_does_not_take_its_sleep_for_deafness(
    cluster: Cluster, market: Market
) -> None:
    gateway = await cluster.start("gateway")
    async with watched(gateway, market) as seqs:
        gateway.freeze()
        try:
            await market.move(2)
            await asyncio.sleep(6)  # the fault itself
        finally:
            gateway.thaw()
        await eventually(lambda: seqs, "the price of meanwhile", lambda seen: seen == [1, 2])
        await asyncio.sleep(3)  # longer than deafness takes
        assert len(losses(gateway)) <= len(FEEDS), "once each, at most"
        assert (await readiness(gateway))[0] == 200


async def test_a_deaf_relay_hears_again_and_publishes_nothing_on_the_users_channel(
    cluster: Cluster, proxy: FaultProxy, own_bus: RedisBus
) -> None:
    ingest = await cluster.start("price-ingest")

    async def relayed(text: bytes) -> bool:
        await own_bus.publish([(redis_keys.FEED_PRICES, text)], sharded=False)
        entries = (await own_bus.read({redis_keys.FEED_PRICES: "0"}, 10_000, 0)).get(redis_keys.FEED_PRICES, [])
        return any(entry.fields == {b"data": text} for entry in entries)

    await eventually(lambda: relayed(b"before"), "relayed")
    listener = own_bus.open_pubsub(sharded=False)
    await listener.subscribe([redis_keys.FEED_PRICES])
    await listener.next_event()
    begun = time.monotonic()
    proxy.deafen(PUBSUB)
    await eventually(lambda: ingest.lines("pubsub_deaf"), "noticed")
    assert time.monotonic() - begun < NOTICED_S
    await own_bus.publish([(redis_keys.FEED_PRICES, b"end of silence")], sharded=False)
    assert await listener.next_event() == (redis_keys.FEED_PRICES, b"end of silence"), "no beat of ours before it"
    await listener.close()
    await eventually(lambda: relayed(b"after"), "relayed again", patience=HEALED_S)
    series = 'tickwire_pubsub_deaf_total{feed="feed:prices"}'
    assert (await ingest.scrape())[series] == 1
