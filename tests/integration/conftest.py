"""Fixtures of the suites that let a server die, or listen to the market."""

from collections.abc import AsyncIterator, Iterator

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
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
