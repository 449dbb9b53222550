"""The scripts between a consumer and its stream, and what a consumer does with what it finds there."""

from collections.abc import AsyncIterator

import pytest

from services.trade_notifier.consumer import Consumer
from services.trade_notifier.delivery import Delivery
from services.trade_notifier.settings import NotifierSettings
from services.trade_notifier.tally import Tally
from shared.bus.errors import FencedError, GroupMissingError
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.dead_letters import DeadLetters
from shared.messages import decode_trade
from shared.names import redis_keys
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from shared.upstream import Holds, Source

FEED = redis_keys.FEED_TRADES
GROUP = redis_keys.TRADE_GROUP
LEASE = redis_keys.feed_lease(FEED)
POSITION = redis_keys.feed_position(FEED)
LOG = redis_keys.trade_log(0)


async def add(bus: RedisBus, *ids: str) -> None:
    for entry_id in ids:
        await bus._client.xadd(FEED, {"symbol": "BTC", "price": "1", "amount": "2", "id": entry_id}, id=entry_id)


async def make_group(bus: RedisBus) -> bytes | None:
    made: bytes | None = await bus.run_script("make_group", [FEED, POSITION], [GROUP])
    return made


async def read_group(bus: RedisBus, stamp: str = "1:a", count: int = 100) -> tuple[list[str], int, str]:
    raw, trimmed, last = await bus.run_script("read_group", [LEASE, FEED], [stamp, GROUP, "owner", count])
    return [entry_id.decode() for entry_id, _ in raw], trimmed, last.decode()


class TestReadGroup:
    @pytest.fixture(autouse=True)
    async def lease(self, bus: RedisBus) -> None:
        await bus.set_if_absent(LEASE, "1:a")

    async def test_gives_what_is_new_and_then_nothing(self, bus: RedisBus) -> None:
        await make_group(bus)
        await add(bus, "1-0", "2-0", "3-0")
        assert await read_group(bus, count=2) == (["1-0", "2-0"], 0, "2-0")
        assert await read_group(bus) == (["3-0"], 0, "3-0")
        assert await read_group(bus) == ([], 0, "3-0")

    async def test_gives_nothing_to_who_holds_the_lease_no_more(self, bus: RedisBus) -> None:
        await make_group(bus)
        await add(bus, "1-0")
        for stamp in ("1:b", "0:a"):
            with pytest.raises(FencedError):
                await read_group(bus, stamp)
        assert (await bus.group_info(FEED, GROUP, 0)).pending == 0

    async def test_says_that_the_group_is_missing(self, bus: RedisBus) -> None:
        with pytest.raises(GroupMissingError):
            await read_group(bus)
        await add(bus, "1-0")
        with pytest.raises(GroupMissingError):
            await read_group(bus)

    async def test_counts_each_gap_once_and_the_group_s_lag_is_right_again(self, bus: RedisBus) -> None:
        await make_group(bus)
        await add(bus, "1-0", "2-0")
        await read_group(bus)
        await add(bus, *(f"{number}-0" for number in range(3, 13)))
        await bus._client.xtrim(FEED, maxlen=4, approximate=False)
        assert await read_group(bus, count=2) == (["9-0", "10-0"], 6, "10-0")
        await bus._client.xtrim(FEED, maxlen=2, approximate=False)
        assert await read_group(bus) == (["11-0", "12-0"], 0, "12-0")
        assert (await bus.group_info(FEED, GROUP, 0)).lag == 0
        await add(bus, "13-0", "14-0")
        await bus._client.xtrim(FEED, maxlen=1, approximate=False)
        assert await read_group(bus) == (["14-0"], 1, "14-0")

    async def test_what_was_trimmed_before_the_group_began_is_no_gap(self, bus: RedisBus) -> None:
        await add(bus, "1-0", "2-0", "3-0")
        await bus._client.xtrim(FEED, maxlen=1, approximate=False)
        await make_group(bus)
        assert await read_group(bus) == (["3-0"], 0, "3-0")


class TestMakeGroup:
    async def test_begins_with_the_first_entry_where_nothing_is_known(self, bus: RedisBus) -> None:
        assert await make_group(bus) == b"0-0"
        assert await make_group(bus) is None

    async def test_begins_after_the_last_entry_done(self, bus: RedisBus) -> None:
        await add(bus, "9-0", "10-5", "10-11")
        await bus.set_if_absent(POSITION, "10-5")
        await bus.set_if_absent(LEASE, "1:a")
        assert await make_group(bus) == b"10-5"
        assert (await read_group(bus))[0] == ["10-11"]

    @pytest.mark.parametrize("ahead", ["10-12", "11-0", "100-0"])
    async def test_a_position_of_another_history_is_not_waited_for(self, bus: RedisBus, ahead: str) -> None:
        await add(bus, "9-0", "10-11")
        await bus.set_if_absent(POSITION, ahead)
        assert await make_group(bus) == b"0-0"


class TestFinishBatch:
    async def finish(self, bus: RedisBus, stamp: str, *ids: str) -> None:
        await bus.run_script("finish_batch", [LEASE, FEED, POSITION], [stamp, GROUP, *ids])

    async def test_takes_entries_off_the_list_and_remembers_the_last(self, bus: RedisBus) -> None:
        await bus.set_if_absent(LEASE, "1:a")
        await make_group(bus)
        await add(bus, "1-0", "2-0", "3-0")
        await read_group(bus)
        await self.finish(bus, "1:a", "1-0", "2-0")
        assert (await bus.group_info(FEED, GROUP, 0)).pending == 1
        assert await bus.get(POSITION) == b"2-0"

    async def test_is_refused_to_who_holds_the_lease_no_more(self, bus: RedisBus) -> None:
        await bus.set_if_absent(LEASE, "2:b")
        await make_group(bus)
        with pytest.raises(FencedError):
            await self.finish(bus, "1:a", "1-0")
        assert await bus.get(POSITION) is None


class TestConsumer:
    @pytest.fixture
    def telemetry(self) -> Telemetry:
        return Telemetry()

    @pytest.fixture
    async def tasks(self) -> AsyncIterator[TaskGroup]:
        async with TaskGroup() as group:
            yield group

    def consumer(self, bus: RedisBus, telemetry: Telemetry, owner: str = "me") -> Consumer:
        letters = DeadLetters(bus, redis_keys.DEAD_TRADES, telemetry, SystemClock())
        return Consumer(
            Source(FEED, Holds.TRADES), bus, owner, Delivery(bus, 1, NotifierSettings()), letters, Tally(telemetry)
        )

    async def logged(self, bus: RedisBus, wanted: int) -> list[str]:
        """Ids in the log, waiting until there are `wanted`."""
        position, found = "0", list[str]()
        for _ in range(20):
            for entry in (await bus.read({LOG: position}, 1000, 1000)).get(LOG, []):
                position = entry.id
                found.append(decode_trade(entry.fields[b"d"]).id)
            if len(found) >= wanted:
                break
        return found

    async def test_does_what_the_dead_left_before_what_is_new(
        self, bus: RedisBus, telemetry: Telemetry, tasks: TaskGroup
    ) -> None:
        await make_group(bus)
        await add(bus, "1-0", "2-0", "3-0")
        for name in ("dead", "frozen"):
            await bus._client.xreadgroup(GROUP, name, {FEED: ">"}, count=1)
        consumer = self.consumer(bus, telemetry)
        consumer.start(tasks)
        assert await self.logged(bus, 3) == ["1-0", "2-0", "3-0"]
        await consumer.stop()
        assert (await bus.group_info(FEED, GROUP, 0)).pending == 0
        assert b"tickwire_notifier_redelivered_total 2.0" in telemetry.exposition("")[0]

    async def test_stands_by_while_another_holds_the_lease_and_stops_at_once(
        self, bus: RedisBus, telemetry: Telemetry, tasks: TaskGroup
    ) -> None:
        first, second = self.consumer(bus, telemetry), self.consumer(bus, telemetry, "other")
        first.start(tasks)
        await add(bus, "1-0")
        await self.logged(bus, 1)
        second.start(tasks)
        assert (first.owned, second.owned) == (True, False)
        await second.stop()
        await first.stop()
        assert not first.owned
        assert await bus.get(LEASE) is None

    async def test_pending_entries_that_were_trimmed_are_a_gap_and_no_trade(
        self, bus: RedisBus, telemetry: Telemetry, tasks: TaskGroup
    ) -> None:
        await make_group(bus)
        await add(bus, "1-0", "2-0", "3-0")
        await bus._client.xreadgroup(GROUP, "dead", {FEED: ">"}, count=3)
        await bus._client.xdel(FEED, "2-0")
        consumer = self.consumer(bus, telemetry)
        consumer.start(tasks)
        assert await self.logged(bus, 2) == ["1-0", "3-0"]
        await consumer.stop()
        assert b"tickwire_notifier_trimmed_total 1.0" in telemetry.exposition("")[0]
