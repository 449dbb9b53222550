"""Long-lived tasks."""

import asyncio

import pytest

from shared.tasks import TaskGroup


async def forever() -> None:
    await asyncio.Event().wait()


async def fail(error: Exception) -> None:
    raise error


async def test_leaving_the_group_ends_what_still_runs():
    async with TaskGroup() as tasks:
        task = tasks.spawn("waits", forever())
        await asyncio.sleep(0)
    assert task.cancelled()


async def test_a_task_bears_the_name_that_it_was_given():
    async with TaskGroup() as tasks:
        assert tasks.spawn("price-read", forever()).get_name() == "price-read"


async def test_one_that_fails_ends_the_others_and_its_owner_with_its_own_error():
    async def body() -> None:
        async with TaskGroup() as tasks:
            others.append(tasks.spawn("other", forever()))
            tasks.spawn("breaks", fail(error))
            await forever()

    others: list[asyncio.Task[None]] = []
    error = RuntimeError("broken")
    with pytest.raises(RuntimeError) as caught:
        await body()
    assert caught.value is error
    assert others[0].cancelled()


async def test_an_error_of_the_owner_passes_and_ends_the_tasks():
    async def body() -> None:
        async with TaskGroup() as tasks:
            spawned.append(tasks.spawn("waits", forever()))
            await asyncio.sleep(0)
            raise LookupError("the owner's own")

    spawned: list[asyncio.Task[None]] = []
    with pytest.raises(LookupError):
        await body()
    assert spawned[0].cancelled()


async def test_one_that_ends_by_itself_disturbs_nobody():
    async with TaskGroup() as tasks:
        first = tasks.spawn("short", asyncio.sleep(0))
        second = tasks.spawn("long", forever())
        await first
        await asyncio.sleep(0)
        assert not second.done()


async def test_leaving_waits_for_what_a_task_does_when_it_is_cancelled():
    cleaned = []

    async def tidy() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("done")

    async with TaskGroup() as tasks:
        tasks.spawn("tidy", tidy())
        await asyncio.sleep(0)
    assert cleaned == ["done"]
