"""One replica works, the others wait: leases on a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared import lease as lease_module
from shared.bus.errors import BusUnavailableError, FencedError
from shared.bus.redis_bus import RedisBus
from shared.lease import Lease
from shared.tasks import TaskGroup
from tests.support.waiting import eventually

KEY = "{test}:lease"


class Worker:
    """Holds a lease, and notes when it works with which stamp."""

    def __init__(self, bus: RedisBus, name: str) -> None:
        self.lease = Lease(bus, KEY, name)
        self.working = False
        self.stamps: list[str] = []
        self.may_return = asyncio.Event()
        self.error: Exception | None = None

    async def run(self) -> None:
        await self.lease.hold(self.work)

    async def work(self) -> None:
        self.stamps.append(self.lease.stamp)
        self.working = True
        try:
            await self.may_return.wait()
            if self.error is not None:
                error, self.error = self.error, None
                self.may_return.clear()
                raise error
        finally:
            self.working = False


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every interval of a lease."""
    monkeypatch.setattr(lease_module, "LIFETIME_MS", 2000)
    monkeypatch.setattr(lease_module, "RENEW_S", 0.25)
    monkeypatch.setattr(lease_module, "RETRY_S", 0.1)


@pytest.fixture
async def tasks() -> AsyncIterator[TaskGroup]:
    async with TaskGroup() as made:
        yield made


async def works(worker: Worker) -> None:
    await eventually(lambda: worker.working, f"{worker.lease.owner} works")


async def rests(worker: Worker) -> None:
    await eventually(lambda: not worker.working, f"{worker.lease.owner} rests")


async def held_by(bus: RedisBus) -> bytes | None:
    return await bus.get(KEY)


async def test_only_one_works_and_it_goes_on_beyond_the_leases_lifetime(bus: RedisBus, tasks: TaskGroup):
    one, two = Worker(bus, "one"), Worker(bus, "two")
    tasks.spawn("one", one.run())
    await works(one)
    tasks.spawn("two", two.run())
    await asyncio.sleep(1.5 * lease_module.LIFETIME_MS / 1000)
    assert one.working
    assert two.stamps == []
    assert not two.lease.held
    assert await held_by(bus) == one.lease.stamp.encode() == b"1:one"


async def test_when_the_work_returns_the_next_one_begins_without_waiting_for_expiry(bus: RedisBus, tasks: TaskGroup):
    one, two = Worker(bus, "one"), Worker(bus, "two")
    first = tasks.spawn("one", one.run())
    await works(one)
    tasks.spawn("two", two.run())
    one.may_return.set()
    await first
    assert not one.lease.held
    await works(two)
    assert two.stamps == ["2:two"]


async def test_one_that_vanishes_is_followed_after_its_lease_ran_out(bus: RedisBus, tasks: TaskGroup):
    assert await Lease(bus, KEY, "vanished")._prolong()
    two = Worker(bus, "two")
    began = asyncio.get_running_loop().time()
    tasks.spawn("two", two.run())
    await works(two)
    assert asyncio.get_running_loop().time() - began > 0.8 * lease_module.LIFETIME_MS / 1000
    assert two.stamps == ["2:two"]


async def test_a_lost_lease_ends_the_work_and_the_worker_waits_for_its_turn(bus: RedisBus, tasks: TaskGroup):
    one = Worker(bus, "one")
    tasks.spawn("one", one.run())
    await works(one)
    await bus._client.set(KEY, "7:two", px=1500)
    await rests(one)
    assert await held_by(bus) == b"7:two"
    await works(one)
    assert one.stamps == ["1:one", "2:one"]


async def test_each_holder_has_a_higher_token_than_all_before_it(bus: RedisBus, tasks: TaskGroup):
    tokens = []
    for name in ("a", "b", "a", "c"):
        worker = Worker(bus, name)
        task = tasks.spawn(name, worker.run())
        await works(worker)
        tokens.append(worker.lease.token)
        worker.may_return.set()
        await task
    assert tokens == [1, 2, 3, 4]


async def test_work_that_finds_itself_fenced_begins_anew_with_a_new_token(bus: RedisBus, tasks: TaskGroup):
    one = Worker(bus, "one")
    tasks.spawn("one", one.run())
    await works(one)
    one.error = FencedError("another one has been here")
    one.may_return.set()
    await eventually(lambda: len(one.stamps) == 2, "a second turn")
    assert one.stamps == ["1:one", "2:one"]


async def test_another_error_of_the_work_passes_and_gives_the_lease_back(bus: RedisBus):
    one = Worker(bus, "one")
    one.error = LookupError("the work's own")
    one.may_return.set()
    with pytest.raises(LookupError):
        await one.run()
    assert await held_by(bus) is None


async def test_cancelled_it_ends_the_work_and_gives_the_lease_back(bus: RedisBus, tasks: TaskGroup):
    one = Worker(bus, "one")
    task = tasks.spawn("one", one.run())
    await works(one)
    task.cancel()
    await asyncio.wait({task})
    assert not one.working
    assert await held_by(bus) is None


async def test_giving_back_never_takes_the_lease_of_another(bus: RedisBus, tasks: TaskGroup):
    one = Worker(bus, "one")
    task = tasks.spawn("one", one.run())
    await works(one)
    await bus._client.set(KEY, "7:two")
    task.cancel()
    await asyncio.wait({task})
    assert await held_by(bus) == b"7:two"


async def test_a_lease_that_ran_out_unnoticed_is_not_taken_for_ones_own(bus: RedisBus, tasks: TaskGroup):
    one = Worker(bus, "one")
    tasks.spawn("one", one.run())
    await works(one)
    await bus._client.delete(KEY)  # as after being frozen for longer than its life, with nobody else about
    await eventually(lambda: len(one.stamps) == 2, "a second turn")
    assert one.stamps == ["1:one", "2:one"]


@pytest.mark.parametrize("prepare", [lambda server: server.kill(), lambda server: server.stop()])
async def test_without_redis_the_work_ends_and_the_error_passes(
    tmp_path: Path, prepare: Callable[[EmbeddedValkey], None]
) -> None:
    with EmbeddedValkey(directory=tmp_path) as server:
        bus = RedisBus(server.url, "test")
        one = Worker(bus, "one")
        holding = asyncio.ensure_future(one.run())  # noqa: TID251 - awaited below
        await works(one)
        prepare(server)
        with pytest.raises(BusUnavailableError):
            await holding
        assert not one.working
        assert not one.lease.held
        await bus.close()


async def test_a_lease_that_is_not_free_is_not_waited_for_by_one_who_only_tries(bus: RedisBus):
    one, two = Worker(bus, "one"), Worker(bus, "two")
    assert await one.lease.take()
    assert not await two.lease.take()
    one.may_return.set()
    assert await one.lease.use(one.work)
    assert await held_by(bus) is None
    assert await two.lease.take()
    two.error = FencedError("a newer one is there")
    two.may_return.set()
    assert not await two.lease.use(two.work)
    assert await held_by(bus) is None


async def test_one_who_begins_anew_before_its_lease_ran_out_fences_what_it_sent_before(bus: RedisBus):
    lease = Lease(bus, KEY, "one")
    assert await lease.take()
    before = lease.stamp
    again = Lease(bus, KEY, "one")  # the same process, after Redis did not answer its release
    assert await again.take()
    assert again.stamp != before
    assert await held_by(bus) == again.stamp.encode()
