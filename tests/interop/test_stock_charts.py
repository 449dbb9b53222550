"""Charts as the real clients see them: a thousand random subscriptions in a fast market end as they should."""

import asyncio
import random
from typing import Final

import pytest
import pytest_asyncio

from shared.bus.redis_bus import RedisBus
from shared.tasks import TaskGroup
from tests.support.chart_ingest import ChartIngest, FoldedCharts, RandomCharts
from tests.support.cluster import Cluster, Service
from tests.support.limits import RATE_SETTINGS
from tests.support.stock_clients import KINDS, Clients, Kind, StockClient, need_node
from tests.support.waiting import eventually

pytestmark = pytest.mark.interop

SHARDS: Final = 16
SUBSCRIPTIONS: Final = 250
"""Of each kind of client."""

PACE_S: Final = 0.005


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    """A gateway alone: the test is its price-ingest."""
    limits = dict.fromkeys(RATE_SETTINGS, "1000")
    await module_cluster.start("gateway", **limits)
    return module_cluster


async def take_updates(client: StockClient, folded: FoldedCharts) -> None:
    while client.count("chart:update"):
        (update,) = await client.event("chart:update")
        bars = folded.bars.get((update["symbol"], update["interval"]), {})
        if (
            bars.get(update["start"], {"rev": 0})["rev"] <= update["rev"]
        ):  # what came before an answer is older than that
            folded.update(update)


async def subscribe_at_random(client: StockClient, folded: FoldedCharts, charts: list[tuple[str, str]]) -> None:
    chance = random.Random(client.kind)
    for _ in range(SUBSCRIPTIONS):
        symbol, interval = chance.choice(charts)
        if (symbol, interval) in folded.bars and chance.random() < 0.5:
            assert (await client.ask("unsubscribe:chart", symbol, interval))["ok"]
            await take_updates(client, folded)
            del folded.bars[symbol, interval]
        args = ({"symbol": symbol, "interval": interval},) if chance.random() < 0.5 else (symbol, interval)
        answer = await client.ask("subscribe:chart", *args)
        assert answer["ok"], answer
        folded.answer(answer)
        await take_updates(client, folded)


async def test_a_thousand_random_subscriptions_end_with_what_redis_holds(
    clients: Clients, gateway: Service, bus: RedisBus
) -> None:
    need_node()
    market = RandomCharts(ChartIngest(bus, SHARDS), [f"STOCK-{number}" for number in range(12)], seed=7)
    ended = asyncio.Event()

    async def publish() -> None:
        while not ended.is_set():
            await market.step()
            await asyncio.sleep(PACE_S)

    async def run(kind: Kind) -> tuple[StockClient, FoldedCharts]:
        client, folded = await clients.make(kind), FoldedCharts()
        await client.connect(gateway.url)
        await client.life("connect")
        await subscribe_at_random(client, folded, market.charts)
        return client, folded

    async with TaskGroup() as tasks:
        publisher = tasks.spawn("publisher", publish())
        found = await asyncio.gather(*map(run, KINDS))
        ended.set()
        await publisher

    for client, folded in found:

        async def differences(client: StockClient = client, folded: FoldedCharts = folded) -> list[object]:
            await take_updates(client, folded)
            return folded.differences(market.ingest, folded.bars)

        await eventually(differences, f"the charts of {client.kind}", lambda left: not left)
        assert len(folded.bars) > 20
