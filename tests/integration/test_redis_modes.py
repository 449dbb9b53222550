"""All four services on each Redis that production runs: a price and trades reach a client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from tests.support.cluster import Cluster
from tests.support.redis_node import TlsMissingError
from tests.support.redis_topologies import ClusterSet, SentinelSet, TlsServer
from tests.support.waiting import PATIENCE_S
from tests.support.wire_client import PATH

SERVICES = ("gateway", "price-ingest", "trade-notifier", "metrics")
SYMBOL = "MODE-USDT"
TRADES = 50
RIGHTS = "~* &* -@all +@read +@write +@pubsub +@scripting +@connection +time"
"""What shared/bus/README.md says a user needs."""


KINDS: dict[str, Callable[[], SentinelSet | ClusterSet | TlsServer]] = {
    "sentinel": SentinelSet,
    "cluster": lambda: ClusterSet(1),
    "tls": lambda: TlsServer(RIGHTS),
}


@pytest_asyncio.fixture(params=KINDS)
async def running(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Cluster, RedisBus]]:
    with ExitStack() as stack:
        try:
            url = stack.enter_context(KINDS[request.param]()).url
        except TlsMissingError as error:
            pytest.skip(str(error))
        services = stack.enter_context(Cluster(url, tmp_path))
        await services.start(*SERVICES)
        bus = RedisBus(url, "upstream")
        yield services, bus
        await bus.close()


async def events(client: ClientConnection, name: str) -> AsyncIterator[dict[str, Any]]:
    """Payloads of one event as they come."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            message = str(await client.recv())
            if message == "2":
                await client.send("3")
            elif message.startswith(f'42["{name}"'):
                yield json.loads(message[2:])[1]


async def test_prices_and_trades_reach_a_client(running: tuple[Cluster, RedisBus]) -> None:
    services, bus = running
    async with connect(f"ws://127.0.0.1:{services.services[0].port}{PATH}") as client:
        await client.send("40")
        await client.send(f'420["subscribe:trades","{SYMBOL}"]')
        await client.send(f'421["subscribe:price","{SYMBOL}"]')
        while not str(await client.recv()).startswith("431"):
            pass
        rows = [
            {"id": str(n), "symbol": SYMBOL, "amount": "1", "price": f"{100 + n}", "side": "buy", "ts": "1763800000000"}
            for n in range(TRADES)
        ]
        for n, row in enumerate(rows):
            await bus.append(f"{redis_keys.FEED_TRADES}:{n % 3}" if n % 2 else redis_keys.FEED_TRADES, [row], 1000)
        ids: list[str] = []
        async for trade in events(client, "trade:new"):
            ids.append(trade["id"])
            if len(ids) == TRADES:
                break
        assert sorted(ids, key=int) == [row["id"] for row in rows]
        await bus.append(redis_keys.FEED_PRICES, [{"symbol": SYMBOL, "price": "7777.5", "ts": "1763800000001"}], 1000)
        async for price in events(client, "price:update"):
            if price["price"] == 7777.5:
                break
        await bus.publish([(redis_keys.FEED_PRICES, json.dumps({SYMBOL: 8888.5}).encode())], sharded=False)
        async for price in events(client, "price:update"):
            if price["price"] == 8888.5:
                break
    for service in services.services:
        assert await service.stop() == 0
