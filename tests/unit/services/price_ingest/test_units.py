"""Units: which stream is in which, and who owns how many."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.price_ingest.units import Unit, to_give_back, unit_of
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.lease import Lease
from shared.names import redis_keys
from shared.tasks import TaskGroup
from tests.support.waiting import eventually


@pytest.fixture
async def tasks() -> AsyncIterator[TaskGroup]:
    async with TaskGroup() as made:
        yield made


class Work:
    """What an owner does: notes that it is at it."""

    def __init__(self) -> None:
        self.running = False
        self.fails = asyncio.Event()

    async def __call__(self) -> None:
        self.running = True
        try:
            await self.fails.wait()
            raise BusUnavailableError("gone")
        finally:
            self.running = False


def make(bus: RedisBus, tasks: TaskGroup, owner: str, number: int = 1) -> tuple[Unit, Work]:
    work = Work()
    return Unit(number, Lease(bus, redis_keys.price_lease(number), owner), work, tasks), work


def test_streams_of_one_market_share_a_unit_that_never_changes():
    assert unit_of("feed:prices") == unit_of("feed:trades") == 0
    assert unit_of("feed:prices:3") == unit_of("feed:trades:3") == 11
    assert {unit_of(f"feed:prices:{number}") for number in range(200)} == set(range(redis_keys.PRICE_UNITS))
    for unit in range(redis_keys.PRICE_UNITS):
        assert unit_of(redis_keys.price_forward(unit)) == unit


async def test_only_one_owns_a_unit_and_the_next_one_can_once_it_is_given_back(bus: RedisBus, tasks: TaskGroup):
    (one, first), (two, second) = make(bus, tasks, "one"), make(bus, tasks, "two")
    assert await one.attempt()
    await eventually(lambda: first.running, "works")
    assert not await two.attempt()
    assert (one.owned, two.owned) == (True, False)
    await one.give_back()
    assert (one.owned, first.running) == (False, False)
    assert await two.attempt()
    await eventually(lambda: second.running, "works")
    await two.give_back()


async def test_what_redis_failed_is_owned_no_more_and_can_be_tried_again(bus: RedisBus, tasks: TaskGroup):
    one, work = make(bus, tasks, "one")
    assert await one.attempt()
    work.fails.set()
    await eventually(lambda: not one.owned, "given up")
    work.fails.clear()
    assert await one.attempt()
    await one.give_back()


@pytest.mark.parametrize(
    ("active", "replicas", "surplus"),
    [(16, 1, -13), (16, 2, -5), (3, 1, 0), (3, 2, 1), (3, 3, 2), (1, 2, 2), (16, 0, -13), (0, 1, 3)],
)
async def test_a_share_is_the_active_units_by_the_replicas_rounded_up(
    bus: RedisBus, tasks: TaskGroup, active: int, replicas: int, surplus: int
):
    units = [make(bus, tasks, "one", number)[0] for number in range(5)]
    for unit in units[:3]:
        assert await unit.attempt()
    assert to_give_back(units, active, replicas) == surplus
    for unit in units:
        await unit.give_back()
