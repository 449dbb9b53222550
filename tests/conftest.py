"""Fixtures that every suite may use: a real Valkey server, and a bus on an empty database of it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus


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
