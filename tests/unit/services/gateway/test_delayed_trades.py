"""Delayed trades from a real Redis: each once, in order, never early, whatever becomes of the log or of the reader."""

from collections.abc import AsyncIterator

import pytest

from services.gateway import delayed_trades
from services.gateway.cursor import position_of
from services.gateway.delayed_trades import READ_COUNT, DelayedTrades, _Reader
from services.gateway.subscriptions import Subscriptions
from services.gateway.trade_feed import TradeFeed
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.messages import encode
from shared.names import events, redis_keys
from shared.names.close_reasons import FELL_BEHIND
from shared.tasks import TaskGroup
from tests.support.fakes_gateway import GatewayParts, make_trade, read_events
from tests.support.manual_clock import ManualClock
from tests.support.waiting import eventually

SHARDS = 2
DELAY_S = 60
SYMBOL = "BTC-USDT"
LOG = redis_keys.trade_log(redis_keys.shard_of(SYMBOL, SHARDS))


class CountedReads(DelayedTrades):
    """Says how often a log was looked at."""

    reads = 0

    async def _read(self, reader: _Reader) -> bool:
        more = await super()._read(reader)
        self.reads += 1
        return more


class Delayed:
    """One client, and the ids of the trades that it got."""

    def __init__(self, running: "Running", delay_s: int = DELAY_S) -> None:
        outbox, self.link = running.parts.outbox()
        self.subscriptions = Subscriptions(outbox)
        self.subscriptions.delay_s = delay_s
        self._running = running

    def ids(self) -> list[int]:
        self._running.parts.loop.turn()
        return [int(args[1]["id"]) for args in read_events(b"".join(self.link.written))]

    async def got(self, count: int) -> list[int]:
        return await eventually(self.ids, f"{count} trades", lambda ids: len(ids) >= count)


class Running:
    """What reads, at a time that the test says: 0 is the moment of the first entry."""

    def __init__(self, bus: RedisBus) -> None:
        self.bus = bus
        self.parts = GatewayParts()
        self.clock = ManualClock(SystemClock().now_ms() / 1000)
        self.feed = TradeFeed(bus, "gateway-1", SystemClock(), self.parts.log_fanout, SHARDS)
        parts = self.parts
        self.trades = CountedReads(bus, self.clock, parts.hub, parts.log_fanout, self.feed, parts.fanout.delivered)

    async def append(self, first: int, count: int, symbol: str = SYMBOL, max_length: int = 100_000) -> None:
        stream = redis_keys.trade_log(redis_keys.shard_of(symbol, SHARDS))
        trades = [make_trade(number, symbol) for number in range(first, first + count)]
        await self.bus.append(stream, [{"s": symbol, "d": encode(trade)} for trade in trades], max_length)

    def be_at(self, second: float) -> None:
        """Have so much time passed since now."""
        self.clock.seconds = SystemClock().now_ms() / 1000 + second

    async def looked(self) -> None:
        """The readers have looked at the logs twice since now."""
        before = self.trades.reads
        await eventually(lambda: self.trades.reads >= before + 2 * len(self.trades._readers), "they read on")


@pytest.fixture(name="running")
async def one_reader(bus: RedisBus) -> AsyncIterator[Running]:
    running = Running(bus)
    await running.feed.start()
    async with TaskGroup() as tasks:
        tasks.spawn("trade-feed", running.feed.run())
        tasks.spawn("delayed-trades", running.trades.run())
        yield running


async def test_trades_come_once_and_in_order_when_they_are_old_enough_and_not_before(running: Running) -> None:
    client = Delayed(running)
    running.trades.join(client.subscriptions, SYMBOL)
    count = 2 * READ_COUNT + 17
    await running.append(1, count)
    running.be_at(DELAY_S - 1)
    await running.looked()
    assert client.ids() == []
    running.be_at(DELAY_S + 1)
    assert await client.got(count) == list(range(1, count + 1))
    await running.append(count + 1, 1)
    running.be_at(2 * DELAY_S + 2)
    assert await client.got(count + 1) == list(range(1, count + 2))


async def test_no_trade_falls_between_two_looks(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Delayed(running)
    running.trades.join(client.subscriptions, SYMBOL)
    for number in range(1, 201):
        await running.append(number, 1)
    await eventually(lambda: len(running.parts.log_fanout.window) == 200, "the gateway has read them")
    running.be_at(DELAY_S - 2)

    def creeping() -> int:
        running.clock.seconds += 0.005
        return int(running.clock.seconds * 1000)

    monkeypatch.setattr(running.clock, "now_ms", creeping)
    monkeypatch.setattr(delayed_trades, "TURN_S", 0.001)
    assert await client.got(200) == list(range(1, 201))


async def test_the_millisecond_in_which_a_trade_came_must_be_over(running: Running) -> None:
    await running.append(1, 1)
    (entry,) = await running.bus.read_back(LOG, "+", 1)
    at = position_of(entry.id)
    ms = at >> 64
    for early in (0, 1):
        running.clock.seconds = (ms + 1000 * DELAY_S + early) / 1000
        assert (running.trades._due(DELAY_S) >= at) is bool(early)


async def test_two_delays_are_read_each_at_its_own_time(running: Running) -> None:
    early, late = Delayed(running, 10), Delayed(running, 100)
    for client in (early, late):
        running.trades.join(client.subscriptions, SYMBOL)
    await running.append(1, 3)
    running.be_at(11)
    assert await early.got(3) == [1, 2, 3]
    await running.looked()
    assert late.ids() == []
    running.be_at(101)
    assert await late.got(3) == [1, 2, 3]


async def test_only_those_who_want_a_symbol_get_it_and_no_live_room_does(running: Running) -> None:
    wants, does_not, live = Delayed(running), Delayed(running), Delayed(running, 0)
    other = next(f"S{n}" for n in range(99) if redis_keys.trade_log(redis_keys.shard_of(f"S{n}", SHARDS)) == LOG)
    running.trades.join(wants.subscriptions, SYMBOL)
    running.trades.join(does_not.subscriptions, other)
    running.parts.hub.join(events.trades_room(SYMBOL), live.subscriptions.outbox)
    await running.append(1, 2)
    await running.append(3, 1, other)
    assert await live.got(2) == [1, 2]
    running.be_at(DELAY_S + 1)
    assert await wants.got(2) == [1, 2]
    assert await does_not.got(1) == [3]
    assert live.ids() == [1, 2]


async def test_who_left_gets_nothing_more_and_nobody_reads_for_nobody(running: Running) -> None:
    client = Delayed(running)
    running.trades.join(client.subscriptions, SYMBOL)
    await running.append(1, 2)
    running.trades.leave(client.subscriptions, SYMBOL)
    running.be_at(DELAY_S + 1)
    await eventually(lambda: not running.trades._readers, "the reader ends")
    assert client.ids() == []


async def test_who_was_live_before_does_not_get_again_what_it_had(running: Running) -> None:
    client = Delayed(running)
    await running.append(1, 3)
    newest = (await running.bus.read_back(LOG, "+", 1))[0].id
    running.be_at(1)
    running.trades.join(client.subscriptions, SYMBOL, position_of(newest))
    fresh = Delayed(running)
    running.trades.join(fresh.subscriptions, SYMBOL)
    await running.append(4, 2)
    running.be_at(DELAY_S + 2)
    assert await fresh.got(5) == [1, 2, 3, 4, 5]
    assert await client.got(2) == [4, 5]


async def test_an_entry_that_cannot_be_read_costs_nothing_but_itself(running: Running) -> None:
    client = Delayed(running)
    running.trades.join(client.subscriptions, SYMBOL)
    await running.append(1, 1)
    await running.bus.append(LOG, [{"s": SYMBOL, "d": b"\xff"}, {"x": "y"}], 1000)
    await running.append(2, 1)
    running.be_at(DELAY_S + 1)
    assert await client.got(2) == [1, 2]


async def test_a_log_that_is_trimmed_too_early_is_told(running: Running) -> None:
    client, other = Delayed(running), Delayed(running)
    elsewhere = next(f"S{n}" for n in range(99) if redis_keys.trade_log(redis_keys.shard_of(f"S{n}", SHARDS)) != LOG)
    running.trades.join(client.subscriptions, SYMBOL)
    running.trades.join(other.subscriptions, elsewhere)
    await running.append(1, 300)
    await eventually(lambda: len(running.parts.log_fanout.window) == 300, "the gateway has read them")
    await running.append(301, 1, max_length=10)
    await eventually(lambda: client.link.endings == [FELL_BEHIND], "the client is let go")
    assert running.trades.gaps == 1
    assert other.link.endings == []
    await running.looked()
    assert running.trades.gaps == 1, "it is told once"


async def test_a_log_of_which_only_old_entries_were_trimmed_is_not_told(running: Running) -> None:
    await running.append(1, 300)
    await eventually(lambda: len(running.parts.log_fanout.window) == 300, "the gateway has read them")
    running.be_at(DELAY_S + 1)
    client = Delayed(running)
    running.trades.join(client.subscriptions, SYMBOL)
    running.be_at(0)
    await running.append(301, 1)
    await running.bus._client.xtrim(LOG, maxlen=1, approximate=False)
    await running.trades._look_for_gaps()
    assert running.trades.gaps == 0
    assert client.link.endings == []


async def test_who_does_not_read_is_bounded_and_ended(running: Running) -> None:
    client = Delayed(running)
    running.parts.flusher.max_queued_bytes = 2_000
    running.trades.join(client.subscriptions, SYMBOL)
    client.subscriptions.outbox.fall_behind()
    await running.append(1, 100)
    running.be_at(DELAY_S + 1)

    def ended() -> bool:
        running.parts.loop.turn()
        return bool(client.link.endings)

    await eventually(ended, "it is ended")
    assert sum(map(len, client.subscriptions.outbox.queue)) <= 2_000
