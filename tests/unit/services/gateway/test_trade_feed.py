"""Trades from a real Redis: from where the log ended at the start, each one once, whatever else lies in it."""

from collections.abc import AsyncIterator, Mapping

import pytest

from services.gateway.outbox import Outbox
from services.gateway.trade_feed import TradeFeed
from shared.bus.redis_bus import RedisBus
from shared.messages import encode
from shared.names import events, redis_keys
from shared.tasks import TaskGroup
from tests.support.fakes_gateway import FakeLink, GatewayParts, make_trade, read_events
from tests.support.waiting import eventually

SHARDS = 2
SYMBOL = "BTC-USDT"
LOG = redis_keys.trade_log(redis_keys.shard_of(SYMBOL, SHARDS))
USER_LOG = redis_keys.user_log(redis_keys.shard_of("alice", SHARDS))


class Running:
    def __init__(self, bus: RedisBus) -> None:
        self.bus = bus
        self.parts = GatewayParts()
        self.feed = TradeFeed(bus, self.parts.fanout, shards=SHARDS)

    def member(self, room: str) -> FakeLink:
        outbox, link = self.parts.outbox()
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
            found = [int(args[1]["id"]) for args in read_events(b"".join(link.written))]
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
    await eventually(lambda: running.feed.rejected == 1, "it was counted")


async def test_what_nobody_here_wants_is_not_even_read(running: Running) -> None:
    await running.log({"s": "ETH-USDT", "d": b"not a trade at all"})
    link = running.member(events.trades_room(SYMBOL))
    await running.trade(1)
    assert await running.received(link, 1) == [1]
    assert running.feed.rejected == 0


async def test_after_a_fault_it_goes_on_where_it_was(running: Running, bus: RedisBus) -> None:
    link = running.member(events.trades_room(SYMBOL))
    await running.trade(1)
    assert await running.received(link, 1) == [1]
    await bus._client.client_kill_filter(_type="normal", skipme=True)
    await running.trade(2)
    assert await running.received(link, 2) == [1, 2]


async def test_a_log_that_lost_its_history_is_read_from_its_beginning(running: Running, bus: RedisBus) -> None:
    link = running.member(events.trades_room(SYMBOL))
    await running.trade(1)
    assert await running.received(link, 1) == [1]
    await bus._client.delete(LOG)
    await bus._client.xadd(LOG, {"s": SYMBOL, "d": encode(make_trade(2))}, id="1-1")
    await bus._client.client_kill_filter(_type="normal", skipme=True)
    assert await running.received(link, 2) == [1, 2]
