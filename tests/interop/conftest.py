"""Fixtures of the suites that drive the real clients."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.cluster import Cluster
from tests.support.stock_clients import KINDS, Clients, Kind, need_node, stock_clients


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each real client in turn."""
    found: Kind = request.param
    if found in ("js-json", "js-msgpack"):
        need_node()
    return found


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    """A place for real clients."""
    async with stock_clients() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    """All four services on an emptied server; the gateway is the first. One cluster for a module: use own symbols."""
    await module_cluster.start("gateway", "price-ingest", "trade-notifier", "metrics", METRICS_INTERVAL_MS="500")
    return module_cluster
