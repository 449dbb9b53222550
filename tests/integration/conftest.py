"""Fixtures of the suites that let a server die, listen to the market, or put gateways behind a pipeline."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from tests.support.cluster import Cluster
from tests.support.price_market import Market, listening


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """A server that a test may kill."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
async def own_bus(own_valkey: EmbeddedValkey) -> AsyncIterator[RedisBus]:
    """A bus on it."""
    made = RedisBus(own_valkey.url, "test")
    yield made
    await made.close()


@pytest.fixture
async def market(bus: RedisBus) -> AsyncIterator[Market]:
    """All prices that are published during the test."""
    async with listening(bus) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pipeline(module_cluster: Cluster) -> Cluster:
    """A module's price-ingest and trade-notifier, for gateways that send prices one by one."""
    module_cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    await module_cluster.start("price-ingest", "trade-notifier")
    return module_cluster


@pytest.fixture
async def upstream(valkey: EmbeddedValkey) -> AsyncIterator[RedisBus]:
    """Who writes to its feeds; the server is not emptied."""
    made = RedisBus(valkey.url, "upstream")
    yield made
    await made.close()
