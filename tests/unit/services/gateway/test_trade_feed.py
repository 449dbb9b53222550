"""Trades from a real Redis: minutes of history first, then each one once, whatever becomes of the log."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import msgspec
import pytest

from services.gateway.cursor import id_of, position_of, read_cursor
from services.gateway.outbox import Outbox
from services.gateway.trade_feed import FIRST_READ_COUNT, LOOK_BACK_MS, TradeFeed
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.messages import encode
from shared.names import events, redis_keys
from shared.names.close_reasons import FELL_BEHIND
from shared.tasks import TaskGroup
from tests.support.fakes_gateway import FakeLink, GatewayParts, make_trade, read_events
from tests.support.waiting import PATIENCE_S, eventually

SHARDS = 2
SYMBOL = "BTC-USDT"
LOG = redis_keys.trade_log(redis_keys.shard_of(SYMBOL, SHARDS))
USER_LOG = redis_keys.user_log(redis_keys.shard_of("alice", SHARDS))


def ids_of(link: FakeLink) -> list[int]:
    """The trade ids that a client got so far."""
    return [int(args[1]["id"]) for args in read_events(b"".join(link.written))]


class Running:
    def __init__(self, bus: RedisBus) -> None:
        self.bus = bus
        self.parts = GatewayParts()
        self.feed = TradeFeed(bus, "gateway-1", SystemClock(), self.parts.log_fanout, SHARDS)

    def member(self, room: str) -> FakeLink:
        outbox, link = self.parts.outbox()
        outbox.recovers = True
        self.parts.hub.join(room, outbox)
        self.outbox: Outbox = outbox
        return link

    async def log(self, fields: Mapping[str, str | bytes], stream: str = LOG) -> None:
        await self.bus.append(stream, [fields], 1000)

    async def trade(self, number: int, symbol: str = SYMBOL) -> None:
        stream = redis_keys.trade_log(redis_keys.shard_of(symbol, SHARDS))
        await self.log({"s": symbol, "d": encode(make_trade(number, symbol))}, stream)

    async def notification(self, number: int, user_id: str) -> None:
        stream = redis_keys.user_log(redis_keys.shard_of(user_id, SHARDS))
        await self.log({"u": user_id, "s": SYMBOL, "d": encode(make_trade(number))}, stream)

    async def received(self, link: FakeLink, count: int) -> list[int]:
        """The trade ids that a client got, once there are `count`."""

        def ids() -> list[int] | None:
            self.parts.loop.turn()
            found = ids_of(link)
            return found if len(found) >= count else None

        return await eventually(ids, f"{count} trades") or []


@pytest.fixture(name="running")
async def one_feed(bus: RedisBus) -> AsyncIterator[Running]:
    running = Running(bus)
    await running.trade(0)  # before the start: history
    await running.feed.start()
    async with TaskGroup() as tasks:
        tasks.spawn("trade-feed", running.feed.run())
        yield running


async def test_what_comes_after_the_start_is_delivered_once_and_in_order(running: Running) -> None:
    link = running.member(events.trades_room(SYMBOL))
    for number in range(1, 600):
        await running.trade(number)
    assert await running.received(link, 599) == list(range(1, 600))


async def test_the_age_of_what_is_read_live_is_told_and_not_that_of_history(bus: RedisBus) -> None:
    running, ages = Running(bus), list[float]()
    running.feed.observe_age = ages.append
    await running.trade(0)
    await running.feed.start()
    assert ages == []
    async with TaskGroup() as tasks:
        tasks.spawn("trade-feed", running.feed.run())
        await running.trade(1)
        await eventually(lambda: ages, "an age")
    assert 0 <= ages[0] < PATIENCE_S


async def test_what_came_between_the_start_and_the_first_read_is_not_missed(bus: RedisBus) -> None:
    running = Running(bus)
    await running.feed.start()
    link = running.member(events.trades_room(SYMBOL))
    await running.trade(1)
    async with TaskGroup() as tasks:
        tasks.spawn("trade-feed", running.feed.run())
        assert await running.received(link, 1) == [1]


async def test_a_notification_reaches_its_user(running: Running) -> None:
    alice, bob = running.member(events.user_room("alice")), running.member(events.user_room("bob"))
    await running.notification(1, "bob")
    await running.notification(2, "alice")
    await running.notification(3, "nobody-here")
    assert await running.received(alice, 1) == [2]
    assert await running.received(bob, 1) == [1]
    assert read_events(b"".join(alice.written))[0][0] == "trade:notification"


BAD: list[tuple[Mapping[str, str | bytes], str]] = [
    ({"d": encode(make_trade(1))}, LOG),
    ({"s": SYMBOL}, LOG),
    ({"s": SYMBOL, "d": b"nonsense"}, LOG),
    ({"s": b"\xff", "d": b"x"}, LOG),
    ({"u": "alice"}, USER_LOG),
    ({"d": encode(make_trade(1))}, USER_LOG),
]


@pytest.mark.parametrize(("fields", "stream"), BAD)
async def test_an_entry_that_cannot_be_read_is_counted_and_costs_no_other(
    running: Running, fields: Mapping[str, str | bytes], stream: str
) -> None:
    link = running.member(events.trades_room(SYMBOL))
    running.member(events.user_room("alice"))
    await running.trade(1)
    await running.log(fields, stream)
    await running.trade(2)
    assert await running.received(link, 2) == [1, 2]
    await eventually(lambda: running.parts.log_fanout.rejected == 1, "it was counted")


async def test_what_nobody_here_wants_is_not_even_read(running: Running) -> None:
    await running.log({"s": "ETH-USDT", "d": b"not a trade at all"})
    link = running.member(events.trades_room(SYMBOL))
    await running.trade(1)
    assert await running.received(link, 1) == [1]
    assert running.parts.log_fanout.rejected == 0


async def test_after_a_fault_it_goes_on_where_it_was(running: Running, bus: RedisBus) -> None:
    link = running.member(events.trades_room(SYMBOL))
    await running.trade(1)
    assert await running.received(link, 1) == [1]
    await bus._client.client_kill_filter(_type="normal", skipme=True)
    await running.trade(2)
    assert await running.received(link, 2) == [1, 2]


# --- what it begins with, and how far it is


def held(running: Running, room: str = events.trades_room(SYMBOL)) -> list[str]:
    """Ids of a room's entries in memory."""
    return [id_of(entry.position) for entry in running.parts.log_fanout.window.since(0, [room])]


async def entry_at(bus: RedisBus, entry_id: str, number: int = 0) -> None:
    await bus._client.xadd(LOG, {"s": SYMBOL, "d": encode(make_trade(number))}, id=entry_id)


async def test_a_gateway_begins_with_the_last_minutes_and_not_with_more(bus: RedisBus) -> None:
    now = SystemClock().now_ms()
    ids = [f"{now - age}-0" for age in (LOOK_BACK_MS + 30_000, LOOK_BACK_MS - 30_000, 60_000, 10)]
    for entry_id in ids:
        await entry_at(bus, entry_id)
    running = Running(bus)
    await running.feed.start()
    assert held(running) == ids[1:]
    number = running.feed.trades_log(SYMBOL)
    assert running.feed.positions[number] == position_of(ids[-1])
    cursor_of_a_minute_ago = position_of(ids[2]) - 1
    assert running.parts.log_fanout.window.floors[number] < cursor_of_a_minute_ago


async def test_more_history_than_one_read_brings_is_read_whole(bus: RedisBus) -> None:
    many = FIRST_READ_COUNT * 2 + 7
    await bus.append(LOG, [{"s": SYMBOL, "d": encode(make_trade(0))}] * many, 100_000)
    running = Running(bus)
    await running.feed.start()
    assert running.parts.log_fanout.window.next_index == many


@pytest.mark.parametrize("trimmed", [True, False])
async def test_it_does_not_claim_to_hold_what_was_trimmed_before_it_began(bus: RedisBus, trimmed: bool) -> None:  # noqa: FBT001
    now = SystemClock().now_ms()
    ids = [f"{now - age}-0" for age in (5_000, 4_000, 3_000)]
    for entry_id in ids:
        await entry_at(bus, entry_id)
    if trimmed:
        await bus._client.xtrim(LOG, maxlen=1, approximate=False)
    running = Running(bus)
    await running.feed.start()
    floor = running.parts.log_fanout.window.floors[running.feed.trades_log(SYMBOL)]
    assert (floor >= position_of(ids[1])) == trimmed


async def test_a_log_that_ended_long_ago_and_one_that_never_was_begin_at_their_ends(bus: RedisBus) -> None:
    await entry_at(bus, "77-3")
    running = Running(bus)
    await running.feed.start()
    ends = dict.fromkeys(running.feed.logs, "0-0") | {LOG: "77-3"}
    assert [id_of(position) for position in running.feed.positions] == [ends[name] for name in running.feed.logs]


async def until_at(running: Running, log: int, entry_id: str) -> None:
    """Wait until an entry has been read."""
    await eventually(lambda: id_of(running.feed.positions[log]), "it is read", lambda at: at == entry_id)


async def test_its_cursor_is_its_positions_and_moves_with_every_entry_wanted_or_not(running: Running) -> None:
    seen = {running.feed.cursor}
    await running.trade(1, "NOBODY-WANTS")
    await running.notification(2, "nobody")
    await running.log({"u": "nobody"}, USER_LOG)  # cannot be read
    for name in {redis_keys.trade_log(redis_keys.shard_of("NOBODY-WANTS", SHARDS)), USER_LOG}:
        number = running.feed.logs.index(name)
        last = (await running.bus.last_ids([name]))[name]
        await until_at(running, number, last)
        assert running.feed.cursor not in seen
        assert read_cursor(running.feed.cursor, 2 * SHARDS) == list(running.feed.positions)


async def test_the_cursor_of_an_entry_is_where_a_client_is_that_has_it(running: Running) -> None:
    outbox, link = running.parts.outbox()
    outbox.recovers = True
    running.parts.hub.join(events.trades_room(SYMBOL), outbox)
    await running.trade(1)
    await running.received(link, 1)
    ((_, _, cursor),) = read_events(b"".join(link.written))
    assert cursor == running.feed.cursor


# --- histories that differ: a replica is promoted that lacks the end of a log


async def lose(bus: RedisBus, *ids: str) -> None:
    """Have the log be as a replica had it that was a moment late, and every reader find out."""
    kept = [entry for entry in await bus.read_back(LOG, "+", 1000) if entry.id not in ids]
    async with bus._client.pipeline(transaction=True) as pipe:
        pipe.delete(LOG)
        for entry in kept:
            pipe.xadd(LOG, cast("Any", entry.fields), id=entry.id)
        await pipe.execute()
    await bus._client.client_kill_filter(_type="normal", skipme=True)


async def log_ids(bus: RedisBus) -> list[str]:
    return [entry.id for entry in await bus.read_back(LOG, "+", 1000)]


async def test_what_was_lost_and_comes_again_is_not_doubled_and_new_entries_come(
    running: Running, bus: RedisBus
) -> None:
    link = running.member(events.trades_room(SYMBOL))
    for number in range(1, 6):
        await running.trade(number)
    assert await running.received(link, 5) == [1, 2, 3, 4, 5]
    await lose(bus, *(await log_ids(bus))[-2:])
    await eventually(lambda: running.feed.forks, "the loss is noticed")
    again = msgspec.structs.replace(make_trade(4), ts=1)  # the upstream sends it once more, at another time
    await running.log({"s": SYMBOL, "d": encode(again)})
    for number in (6, 5, 7):  # the trade-notifier reads its upstream again; other streams are faster
        await running.trade(number)
    assert await running.received(link, 7) == [1, 2, 3, 4, 5, 6, 7]
    await running.trade(8)
    assert await running.received(link, 8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert running.feed.forks == 1


async def test_new_entries_that_have_higher_ids_than_the_lost_ones_hide_nothing(
    running: Running, bus: RedisBus
) -> None:
    link = running.member(events.trades_room(SYMBOL))
    for number in (1, 2):
        await running.trade(number)
    assert await running.received(link, 2) == [1, 2]
    *_, first, lost = await log_ids(bus)
    ms, _, last_number = lost.partition("-")
    following = f"{ms}-{int(last_number) + 1}"
    later = f"{int(first.partition('-')[0]) + 60_000}-0"
    async with bus._client.pipeline(transaction=True) as pipe:
        pipe.xdel(LOG, lost)
        pipe.xadd(LOG, {"s": SYMBOL, "d": encode(make_trade(3))}, id=following)
        pipe.xadd(LOG, {"s": SYMBOL, "d": encode(make_trade(2))}, id=later)
        pipe.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await pipe.execute()
    await entry_at(bus, f"{later}1", 4)
    assert await running.received(link, 4) == [1, 2, 3, 4]
    assert running.feed.forks == 1


async def test_a_log_that_lost_everything_is_read_from_its_beginning(running: Running, bus: RedisBus) -> None:
    link = running.member(events.trades_room(SYMBOL))
    await running.trade(1)
    assert await running.received(link, 1) == [1]
    earlier = int((await log_ids(bus))[0].partition("-")[0]) - 1_000  # the clock of the new server is behind
    await bus._client.delete(LOG)
    await bus._client.xadd(LOG, {"s": SYMBOL, "d": encode(make_trade(2))}, id=f"{earlier}-1")
    await bus._client.client_kill_filter(_type="normal", skipme=True)
    assert await running.received(link, 2) == [1, 2]


async def test_who_was_behind_when_history_was_lost_is_served_nothing_false(running: Running, bus: RedisBus) -> None:
    link = running.member(events.trades_room(SYMBOL))
    running.outbox.fall_behind()
    await running.trade(1)
    await eventually(lambda: running.outbox.log_position >= 0, "it is owed")
    await lose(bus, (await log_ids(bus))[-1])
    await eventually(lambda: running.feed.forks, "the loss is noticed")
    running.parts.drain(running.outbox)
    assert link.endings == [FELL_BEHIND]


async def test_a_fault_without_a_loss_is_no_fork_though_the_past_was_trimmed(running: Running, bus: RedisBus) -> None:
    link = running.member(events.trades_room(SYMBOL))
    await running.trade(1)
    assert await running.received(link, 1) == [1]
    await bus._client.xtrim(LOG, maxlen=0, approximate=False)
    await bus._client.client_kill_filter(_type="normal", skipme=True)
    await running.trade(2)
    assert await running.received(link, 2) == [1, 2]
    assert running.feed.forks == 0
