"""What the bus does while Redis itself fails over: Sentinel and Cluster, a master killed and a master frozen.

Each test has a log that is written all the time and a subscription that is renewed when it dies, as the services have.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.bus.subscription import Subscription
from shared.tasks import TaskGroup
from tests.support.redis_node import RedisNode
from tests.support.redis_topologies import ClusterSet, SentinelSet
from tests.support.waiting import eventually

LOG: Final = "log:{trades:0}"
CHANNEL: Final = "{trades:0}:channel"
HEALED_S: Final = 12.0
"""`ANSWER_S`, the promotion, the back-off; twice over for a slow machine."""


class Traffic:
    """Writes numbers to a log, reads them back by position, and publishes them; what of it came."""

    def __init__(self, bus: RedisBus) -> None:
        self._bus = bus
        self._next = 0
        self._position = "0-0"
        self.written: list[int] = []
        self.read: list[int] = []
        self.heard: list[int] = []
        self.lost = 0

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator["Traffic"]:
        """Until left; begins when all three ways work."""
        subscription = Subscription(
            self._bus, lambda _, payload: self.heard.append(int(payload)), lambda _: None, self._on_lost
        )
        subscription.want(CHANNEL)
        async with TaskGroup() as tasks:
            tasks.spawn("subscription", subscription.run())
            tasks.spawn("writer", keep_trying("writer", self._write, cap=0.2))
            tasks.spawn("reader", keep_trying("reader", self._read, cap=0.2))
            await self.flows_on("the start", 20.0)
            yield self
        await self._bus.close()

    async def flows_on(self, after: str, patience: float = HEALED_S) -> None:
        """Wait until something written from now on was read and heard."""
        mark = self._next

        def came() -> bool:
            return all(numbers and numbers[-1] > mark for numbers in (self.written, self.read, self.heard))

        await eventually(came, f"writes, reads and messages after {after}", patience=patience)

    def _on_lost(self) -> None:
        self.lost += 1

    async def _write(self) -> None:
        while True:
            number, self._next = self._next, self._next + 1
            await self._bus.append(LOG, [{"n": str(number)}], 100_000)
            self.written.append(number)
            await self._bus.publish([(CHANNEL, b"%d" % number)])
            await asyncio.sleep(0.01)

    async def _read(self) -> None:
        while True:
            found = await self._bus.read({LOG: self._position}, 1000, 500)
            for entry in found.get(LOG, []):
                self._position = entry.id
                self.read.append(int(entry.fields[b"n"]))


END: dict[str, Callable[[RedisNode], None]] = {"kill -9": RedisNode.kill, "SIGSTOP": RedisNode.freeze}


@pytest.mark.parametrize("fault", END)
async def test_a_new_master_of_sentinel_is_found(fault: str) -> None:
    with SentinelSet() as redis:
        async with Traffic(RedisBus(redis.url, "test")).flowing() as traffic:
            former = redis.master()
            END[fault](former)
            promoted = await asyncio.to_thread(redis.wait_for_master, other_than=former)
            await traffic.flows_on(f"the master's {fault}")
            if fault == "SIGSTOP":
                former.resume()  # it believes itself master for a while
            else:
                former.restart()
            await eventually(former.role, "the former master follows", lambda role: role == "slave")
            await traffic.flows_on("its return", 5.0)
            assert promoted.ask("PUBSUB", "SHARDNUMSUB", CHANNEL) == [CHANNEL, 1]


async def test_a_master_that_is_demoted_alive_is_left_at_once() -> None:
    with SentinelSet() as redis:
        async with Traffic(RedisBus(redis.url, "test")).flowing() as traffic:
            former = redis.master()
            redis.sentinels[0].ask("SENTINEL", "FAILOVER", "tickwire")
            await asyncio.to_thread(redis.wait_for_master, other_than=former)
            await traffic.flows_on("the demotion")


@pytest.mark.parametrize("fault", END)
async def test_a_new_owner_of_a_slot_is_found(fault: str) -> None:
    with ClusterSet(1) as redis:
        async with Traffic(RedisBus(redis.url, "test")).flowing() as traffic:
            former = redis.owner(LOG)
            END[fault](former)
            promoted = await asyncio.to_thread(redis.wait_for_owner, LOG, other_than=former)
            await traffic.flows_on(f"the owner's {fault}")
            if fault == "SIGSTOP":
                former.resume()
            else:
                former.restart()
            await eventually(former.role, "the former owner follows", lambda role: role == "slave")
            await traffic.flows_on("its return", 5.0)
            assert promoted.ask("PUBSUB", "SHARDNUMSUB", CHANNEL) == [CHANNEL, 1]


async def test_other_slots_work_on_while_one_owner_is_dead() -> None:
    with ClusterSet(1) as redis:
        bus = RedisBus(redis.url, "test")
        former = redis.owner(LOG)
        key = next(name for name in (f"k{n}" for n in range(1000)) if redis.owner(name) is not former)
        await bus.hash_set(key, {"a": b"1"})
        former.kill()
        for _ in range(20):
            assert await bus.hash_all(key) == {b"a": b"1"}
        await bus.close()
