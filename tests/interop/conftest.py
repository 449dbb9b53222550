"""Fixtures of the suites that drive the real clients."""

from collections.abc import AsyncIterator, Iterator

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from tests.support.cluster import Cluster
from tests.support.redis_cli import redis_cli
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


@pytest.fixture(scope="module")
def cluster(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """All four services on an emptied server; the gateway is the first. One cluster for a module: use own symbols."""
    redis_cli(valkey.url, "FLUSHALL")
    with Cluster(valkey.url, tmp_path_factory.mktemp("logs")) as started:
        started.start("gateway", "price-ingest", "trade-notifier", "metrics", METRICS_INTERVAL_MS="500")
        yield started
