"""Which units a replica owns."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from services.price_ingest import replica as replica_module
from services.price_ingest.reader import Reader
from services.price_ingest.replica import Replica
from services.price_ingest.units import Unit, unit_of
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.lease import Lease
from shared.names import redis_keys
from shared.tasks import TaskGroup
from shared.upstream.settings import UpstreamSettings
from tests.support.waiting import eventually

STREAMS = [f"feed:prices:{number}" for number in range(3)]
FOUND = {unit_of(stream) for stream in (*STREAMS, redis_keys.FEED_PRICES)}


class Owner:
    """A replica with units whose work is to wait."""

    def __init__(self, bus: RedisBus, name: str) -> None:
        self.replica = Replica(bus, name, SystemClock(), Reader(None), UpstreamSettings())
        self.bus = bus
        self.name = name
        self.units: list[Unit] = []

    def start(self, tasks: TaskGroup) -> None:
        for number in range(redis_keys.PRICE_UNITS):
            lease = Lease(self.bus, redis_keys.price_lease(number), self.name)
            self.units.append(Unit(number, lease, self.work, tasks))
        self.replica.start(self.units, tasks)

    @property
    def owned(self) -> set[int]:
        return {unit.number for unit in self.units if unit.owned}

    async def work(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "ROUND_S", 0.02)
    monkeypatch.setattr(replica_module, "COUNT_S", 0.05)
    monkeypatch.setattr(replica_module, "FIND_S", 0.05)


@pytest.fixture
async def tasks() -> AsyncIterator[TaskGroup]:
    async with TaskGroup() as made:
        yield made


@pytest.fixture
async def streams(bus: RedisBus) -> None:
    for stream in STREAMS:
        await bus.append(stream, [{"a": "b"}], 10)


def shared_out(*owners: Owner) -> bool:
    """Whether every unit with streams has one owner, and nobody more than a share."""
    everything = [unit for owner in owners for unit in owner.owned]
    share = -(-len(FOUND) // len(owners))
    return sorted(everything) == sorted(FOUND) and all(len(owner.owned) <= share for owner in owners)


@pytest.mark.usefixtures("streams")
async def test_units_move_to_those_who_come_and_back_from_those_who_go(bus: RedisBus, tasks: TaskGroup):
    one, two, three = owners = [Owner(bus, name) for name in ("one", "two", "three")]
    for number, owner in enumerate(owners, 1):
        owner.start(tasks)
        await eventually(partial(shared_out, *owners[:number]), f"shared by {number}")
    before = [owner.owned for owner in owners]
    await bus.append("feed:prices:0", [{"a": "b"}], 10)
    await asyncio.gather(*(rounds(owner, 10) for owner in owners))
    assert [owner.owned for owner in owners] == before
    await two.replica.stop()
    assert two.owned == set()
    await eventually(lambda: shared_out(one, three), "shared by those who stay")
    await asyncio.gather(one.replica.stop(), three.replica.stop())
    assert await bus._client.zcard(redis_keys.PRICE_REPLICAS) == 0


async def rounds(owner: Owner, most: int) -> None:
    """Let a replica go on for some rounds."""
    begin = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < begin + most * replica_module.ROUND_S:
        await asyncio.sleep(replica_module.ROUND_S)
        assert owner.units


async def test_the_streams_of_a_unit_are_those_that_exist_now(bus: RedisBus, tasks: TaskGroup):
    owner = Owner(bus, "one")
    assert owner.replica.sources_of(0) == [redis_keys.FEED_PRICES, redis_keys.FEED_TRADES]
    owner.start(tasks)
    await bus.append("trades-BINANCE-BTC-USDT", [{"a": "b"}], 10)
    await bus.append("ticker-BINANCE-BTC-USDT", [{"a": "b"}], 10)
    unit = unit_of("trades-BINANCE-BTC-USDT")
    await eventually(lambda: len(owner.replica.sources_of(unit)), "found", lambda found: found == 2)
    await eventually(lambda: unit in owner.owned, "owned")
    await owner.replica.stop()


async def test_a_unit_whose_streams_are_gone_still_has_symbols_to_care_for(bus: RedisBus, tasks: TaskGroup):
    await bus.hash_set(redis_keys.PRICE_POSITIONS, {redis_keys.price_forward(9): b"0-0"})
    owner = Owner(bus, "one")
    owner.start(tasks)
    await eventually(lambda: 9 in owner.owned, "owned")
    await owner.replica.stop()


async def test_one_that_was_silent_too_long_counts_no_more(
    bus: RedisBus, tasks: TaskGroup, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replica_module, "ALIVE_MS", 200)
    await bus._client.zadd(redis_keys.PRICE_REPLICAS, {"dead": 5})
    owner = Owner(bus, "one")
    owner.start(tasks)
    await eventually(lambda: bus._client.zcard(redis_keys.PRICE_REPLICAS), "alone", lambda alive: alive == 1)
    await owner.replica.stop()
