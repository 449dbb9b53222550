"""Connection state recovery as stock clients have it: back to any gateway, with every trade, once and in order."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from tests.support.cluster import Cluster, Service, token
from tests.support.stock_clients import Clients, Kind, NodeClient
from tests.support.switchboard import Switchboard, switchboard
from tests.support.waiting import eventually

pytestmark = pytest.mark.interop

_numbers: Final = count(1)


@pytest.fixture(params=["js-json", "js-msgpack"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Either parser of the client that can recover."""
    made: Kind = request.param
    return made


@pytest.fixture
async def cluster(module_cluster: Cluster) -> Cluster:
    """Two gateways and a notifier."""
    if not module_cluster.services:
        await module_cluster.start("gateway")
        await module_cluster.start("gateway")
        await module_cluster.start("price-ingest")
        await module_cluster.start("trade-notifier")
    return module_cluster


@pytest.fixture
async def board(cluster: Cluster) -> AsyncIterator[Switchboard]:
    """What a client connects to: at first it leads to the first gateway."""
    async with switchboard() as made:
        made.target = cluster.services[0].port
        yield made


class Feed:
    """An upstream of one symbol."""

    def __init__(self, url: str) -> None:
        self.symbol = f"REC{next(_numbers)}-USDT"
        self._bus = RedisBus(url, "test-feed")
        self._ids = count(1)

    async def trades(self, number: int, **more: str) -> None:
        for _ in range(number):
            fields = {"id": str(next(self._ids)), "symbol": self.symbol, "amount": "1", "price": "2", **more}
            await self._bus.append("feed:trades", [fields], 10_000)

    async def close(self) -> None:
        await self._bus.close()


@pytest.fixture
async def feed(valkey: EmbeddedValkey) -> AsyncIterator[Feed]:
    made = Feed(valkey.url)
    yield made
    await made.close()


async def open_client(clients: Clients, kind: Kind, url: str, auth: Any = None, **options: Any) -> NodeClient:
    client = await clients.make(kind)
    assert isinstance(client, NodeClient)
    await client.connect(url, auth, **options)
    assert await client.life("connect") == [False]
    return client


async def ids(client: NodeClient, number: int, event: str = "trade:new") -> list[int]:
    return [int((await client.event(event))[0]["id"]) for _ in range(number)]


async def test_a_client_comes_back_to_another_gateway_with_each_missed_trade_once_in_order(
    clients: Clients, kind: Kind, board: Switchboard, cluster: Cluster, feed: Feed
) -> None:
    client = await open_client(clients, kind, board.url)
    assert (await client.ask("subscribe:trades", feed.symbol))["ok"]
    await feed.trades(3)
    assert await ids(client, 3) == [1, 2, 3]
    board.target = 1  # nobody is there
    board.cut()
    await client.life("disconnect")
    await feed.trades(500)
    board.target = cluster.services[1].port
    assert await client.life("connect") == [True]
    await feed.trades(2)
    assert await ids(client, 502) == list(range(4, 506))
    (first,) = await client.event("hello")
    (second,) = await client.event("hello")
    assert (first["recovered"], second["recovered"]) == (False, True)
    assert first["gateway"] != second["gateway"]
    assert "gap" not in second
    assert client.count("trade:new") == 0
