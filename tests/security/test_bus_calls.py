"""A call to Redis that is given up leaves nothing behind: no reply for another one, no subscription for nobody."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest

from shared.bus.redis_bus import RedisBus
from shared.bus.redis_client import command
from shared.bus.subscription import Subscription
from shared.tasks import TaskGroup
from tests.support.waiting import eventually

KEYS = 40
ROUNDS = 30
CHANCE = random.Random(35)

Call = Callable[[RedisBus, int], Awaitable[object]]


async def _read(bus: RedisBus, number: int) -> object:
    found = await bus.read({f"stream-{number}": "0"}, 1, 0)
    return found[f"stream-{number}"][0].fields[b"v"]


async def _block(bus: RedisBus, number: int) -> object:
    await bus.read({f"stream-{number}": "$"}, 1, 50)
    return str(number).encode()


async def _script(bus: RedisBus, number: int) -> object:
    found = await bus.run_script("read_chart", [f"key-{number}", "hash", "zset"], ["x", 1])
    return found[0]


async def _hash(bus: RedisBus, number: int) -> object:
    return (await bus.hash_all(f"hash-{number}"))[b"v"]


async def _ends(bus: RedisBus, number: int) -> object:
    await bus.stream_ends([f"stream-{number}"])
    return await bus.get(f"key-{number}")


async def _get(bus: RedisBus, number: int) -> object:
    return await bus.get(f"key-{number}")


CALLS: tuple[Call, ...] = (_get, _get, _hash, _read, _script, _ends, _block)


@pytest.mark.threat("T35")
async def test_whenever_a_call_is_cancelled_no_reply_goes_to_another_one(bus: RedisBus):
    for number in range(KEYS):
        value = str(number).encode()
        await command(bus._client, "SET", f"key-{number}", value)
        await bus.hash_set(f"hash-{number}", {"v": value})
        await command(bus._client, "XADD", f"stream-{number}", "*", "v", value)
    crossed: list[tuple[int, object]] = []
    answered = 0

    async def ask(number: int) -> None:
        nonlocal answered
        reply = await CHANCE.choice(CALLS)(bus, number)
        answered += 1
        if reply != str(number).encode():
            crossed.append((number, reply))

    for _ in range(ROUNDS):
        async with TaskGroup() as group:
            tasks = [group.spawn(f"ask-{number}", ask(number)) for number in range(KEYS)]
            for task in CHANCE.sample(tasks, KEYS // 2):
                for _ in range(CHANCE.randrange(6)):  # steps of the event loop: at any await of the call
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait(tasks)
        for number in CHANCE.sample(range(KEYS), 5):
            assert await bus.get(f"key-{number}") == str(number).encode()
    assert crossed == []
    assert answered > ROUNDS * KEYS // 4


@pytest.mark.threat("T35")
async def test_a_call_that_runs_out_of_time_takes_its_connection_with_it(redis_url: str, bus: RedisBus):
    for number in range(KEYS):
        await command(bus._client, "SET", f"key-{number}", str(number))
    proxied = RedisBus(redis_url, "test")
    crossed: list[object] = []

    async def ask(number: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CHANCE.random() / 200):
                reply = await proxied.get(f"key-{number}")
                if reply != str(number).encode():
                    crossed.append(reply)

    for _ in range(ROUNDS):
        await asyncio.gather(*map(ask, range(KEYS)))
    await proxied.close()
    assert crossed == []


async def subscribers(bus: RedisBus, *channels: str) -> list[int]:
    reply = await bus._client.pubsub_shardnumsub(*channels)
    return [int(number) for _, number in reply]


@pytest.mark.threat("T36")
async def test_what_is_left_as_the_connection_dies_is_subscribed_by_nobody_afterwards(bus: RedisBus, redis_url: str):
    near = RedisBus(redis_url, "test")
    heard: list[str] = []
    live: list[str] = []
    subscription = Subscription(near, lambda channel, _data: heard.append(channel), live.append)
    kept = "a{x}"
    async with TaskGroup() as tasks:
        tasks.spawn("subscription", subscription.run())
        for ghost in ("b{x}", "c{x}", "d{x}"):
            for name in (kept, ghost):
                subscription.want(name)
            await eventually(partial(live.__contains__, ghost), "confirmed")
            subscription.unwant(ghost)
            await asyncio.sleep(0)  # the UNSUBSCRIBE may be on its way, or not yet written
            await command(bus._client, "CLIENT", "KILL", "TYPE", "pubsub")
            counts = partial(subscribers, bus, kept, ghost)
            await eventually(counts, "no ghost", lambda found: found == [1, 0])
            heard.clear()
            await bus.publish([(ghost, b"to nobody"), (kept, b"to us")])
            await eventually(partial(heard.__contains__, kept), "heard again")
            assert ghost not in heard
    await near.close()
