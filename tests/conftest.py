"""Fixtures that every suite may use: a real Valkey server, a bus on an empty database of it, and services on it."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from tests.support.cluster import Cluster, Service
from tests.support.redis_cli import redis_cli


@pytest.fixture(autouse=True)
def logging_of_its_own() -> Iterator[None]:
    """Logging that a test sets up, as a command that it runs does, writes to what ends with the test."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root = logging.getLogger()
        root.handlers[:] = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """One real server for the whole session; a test that needs it empty asks for `bus` or `redis_url`."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
async def redis_url(valkey: EmbeddedValkey) -> str:
    """The session's server, emptied."""
    bus = RedisBus(valkey.url, "test-flush")
    await bus._client.flushall()
    await bus.close()
    return valkey.url


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[RedisBus]:
    """A bus on the emptied server."""
    made = RedisBus(redis_url, "test")
    yield made
    await made.close()


@pytest.fixture
def cluster(redis_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """A place for one test's services on the emptied server; a module may put its own in the place of this one."""
    with Cluster(redis_url, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def module_cluster(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A place for services that a whole module uses, on an emptied server."""
    redis_cli(valkey.url, "FLUSHALL")
    with Cluster(valkey.url, tmp_path_factory.mktemp("logs")) as made:
        yield made


@pytest.fixture
def gateway(cluster: Cluster) -> Service:
    """Where a module's `cluster` starts one first: its gateway."""
    return cluster.services[0]
