"""Clients that read more slowly than they are sent to: widened, told, never given an old price, and others unharmed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from shared.tasks import TaskGroup
from tests.load.bench_slow import stall
from tests.load.swarm import Subscription
from tests.support.cluster import Cluster, Service
from tests.support.poller import http_client, polling
from tests.support.waiting import eventually
from tests.support.wire_socket import Json, WireSocket, joined, listening

SMALL_BUFFER: Final = 4096
SYMBOLS: Final = [f"P{number:02}" for number in range(50)]
TRADED: Final = "TRADED"
ROUND_S: Final = 0.02
SLOW_BYTES: Final = 150_000
"""Read in a second by the slow client: a third of what it is sent at first, four times what it is at 200 ms."""

STALLED: Final = 1_000
BYTES_EACH: Final = 40_000
"""Of a stalled client, its connection and subscriptions included; 20,000 were measured."""

ROUNDS: Final = 300
MARKET: Final = [f"S{number:03}" for number in range(200)]


@dataclass
class Heard:
    """What a client got.

    Attributes:
        delays: s from the writing of a price to its arrival; prices are times.
    """

    trades: list[int] = field(default_factory=list)
    links: list[tuple[int, str]] = field(default_factory=list)
    prices: dict[str, float] = field(default_factory=dict)
    gaps: list[Json] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    updates: int = 0
    _seqs: dict[str, int] = field(default_factory=dict)

    def __call__(self, name: str, *args: Json) -> None:
        """Take one event."""
        if name == "link":
            self.links.append((args[0]["interval_ms"], args[0]["reason"]))
        elif name == "trade:new":
            self.trades.append(int(args[0]["id"]))
        elif name == "price:update":
            symbol, seq, n = args[0]["symbol"], args[0]["seq"], args[0]["n"]
            if n and self._seqs.get(symbol, seq - n) != seq - n:
                self.gaps.append(args[0])
            self._seqs[symbol] = seq
            self.prices[symbol] = args[0]["price"]
            self.delays.append(time.monotonic() - args[0]["price"])
            self.updates += 1


class Feed:
    """Prices that are the time of their writing, and a trade with each round."""

    def __init__(self, bus: RedisBus, first: int) -> None:
        self._bus = bus
        self.trades = first

    async def round(self) -> None:
        """A price of each symbol and a trade."""
        now = f"{time.monotonic():.6f}"
        await self._bus.append(redis_keys.FEED_PRICES, [{"symbol": name, "price": now} for name in SYMBOLS], 100_000)
        trade = {"symbol": TRADED, "id": str(self.trades), "price": "1", "amount": "1", "side": "buy"}
        await self._bus.append(redis_keys.FEED_TRADES, [trade], 100_000)
        self.trades += 1

    async def run(self) -> None:
        """Round after round."""
        while True:
            await self.round()
            await asyncio.sleep(ROUND_S)  # the rate that is tested


@asynccontextmanager
async def feeding(bus: RedisBus, first: int) -> AsyncIterator[Feed]:
    """Feed all the time."""
    feed = Feed(bus, first)
    async with TaskGroup() as tasks:
        tasks.spawn("feed", feed.run())
        yield feed


@asynccontextmanager
async def trickling(socket: WireSocket, heard: Heard) -> AsyncIterator[None]:
    """Read no more than `SLOW_BYTES` a second."""

    async def trickle() -> None:
        while True:
            await socket.take(patience=None)
            size = sum(map(len, socket.texts))
            for event in socket.events:
                heard(*event)
            socket.events.clear()
            socket.texts.clear()
            await asyncio.sleep(size / SLOW_BYTES)  # what makes it slow

    async with TaskGroup() as tasks:
        tasks.spawn("trickle", trickle())
        yield


async def subscribe(socket: WireSocket, symbols: list[str]) -> None:
    for start in range(0, len(symbols), 50):
        await socket.call("subscribe:price", symbols[start : start + 50])


def p99(delays: list[float]) -> float:
    return sorted(delays)[int(len(delays) * 0.99)]


async def test_a_slow_reader_is_widened_and_told_misses_no_trade_and_harms_nobody(
    pipeline: Cluster, upstream: RedisBus
) -> None:
    gateway = await pipeline.start("gateway")
    slow_heard, good_heard = Heard(), Heard()
    async with joined(gateway.port) as good, joined(gateway.port, receive_buffer=SMALL_BUFFER) as slow:
        for socket in (good, slow):
            await subscribe(socket, SYMBOLS)
            await socket.call("subscribe:trades", TRADED)
        async with listening(good, good_heard):
            async with feeding(upstream, 1) as feed:
                async with trickling(slow, slow_heard):
                    await eventually(lambda: slow_heard.links, "the slow client is told")
                    assert slow_heard.links[0] == (200, "slow")
                    beside = len(good_heard.delays)
                    slow_heard.delays.clear()
                    await eventually(lambda: len(good_heard.delays) > beside + 5_000, "a while passes")
                    assert (await gateway.scrape())["tickwire_paced_clients"] == 1
                    assert p99(slow_heard.delays) < 5, "its prices are new"
                async with listening(slow, slow_heard):
                    await eventually(lambda: (0, "recovered") in slow_heard.links, "it is told again", patience=60)
            last = feed.trades - 1
            async with listening(slow, slow_heard):
                await eventually(lambda: slow_heard.trades[-1:] == [last], "every trade arrives")
                await eventually(lambda: good_heard.prices == slow_heard.prices, "both show the same")
        assert slow_heard.trades == list(range(slow_heard.trades[0], last + 1))
        assert good_heard.trades == list(range(good_heard.trades[0], last + 1))
        assert not slow_heard.gaps
        assert not good_heard.gaps
        assert not good_heard.links
        assert slow_heard.updates < good_heard.updates / 2, "nothing was folded"
        assert p99(good_heard.delays[beside:]) < 1.0
        assert (await gateway.scrape())["tickwire_paced_clients"] == 0


async def test_sixty_thousand_updates_past_a_client_that_does_not_read_cost_nothing_and_it_returns_to_the_newest(
    pipeline: Cluster, upstream: RedisBus
) -> None:
    gateway = await pipeline.start("gateway", WRITE_TIMEOUT_MS="60000")
    good_heard, stalled_heard = Heard(), Heard()

    async def feed(first: int, rounds: int) -> None:
        for price in range(first, first + rounds):
            entries = [{"symbol": name, "price": str(price)} for name in MARKET]
            await upstream.append(redis_keys.FEED_PRICES, entries, 100_000)
        await eventually(lambda: set(good_heard.prices.values()) == {first + rounds - 1}, "the last prices arrive")

    async with joined(gateway.port) as good, joined(gateway.port, receive_buffer=SMALL_BUFFER) as stalled:
        for socket in (good, stalled):
            await subscribe(socket, MARKET)
        async with listening(good, good_heard):
            async with listening(stalled, stalled_heard):
                await feed(1, 50)  # what is allocated once
                await eventually(lambda: set(stalled_heard.prices.values()) == {50}, "both have the prices")
            stalled.client.stall()
            resident, before = gateway.rss(), stalled_heard.updates
            await feed(51, ROUNDS)
            assert gateway.rss() - resident < 2_000_000
            assert (await gateway.scrape())["tickwire_conflated_passes_total"] >= 1, "it was never behind"
            stalled.client.resume()
            async with listening(stalled, stalled_heard):
                newest = {float(50 + ROUNDS)}
                await eventually(lambda: set(stalled_heard.prices.values()) == newest, "it shows the newest prices")
        assert stalled_heard.updates - before < 4 * len(MARKET), "it was shown old ones first"
        assert not stalled_heard.gaps
        assert not good_heard.gaps


async def test_a_thousand_clients_that_do_not_read_take_little_memory_and_are_cut_off(
    pipeline: Cluster, upstream: RedisBus
) -> None:
    gateway = await pipeline.start("gateway", WRITE_TIMEOUT_MS="8000", MAX_ACCEPTS_PER_SECOND="0")
    heard = Heard()
    async with joined(gateway.port) as good:
        await subscribe(good, SYMBOLS)
        resident = gateway.rss()
        wanted: list[Subscription] = [[SYMBOLS[first % 30 : first % 30 + 20], {}] for first in range(STALLED)]
        clients = await stall(gateway.port, wanted)
        async with listening(good, heard), feeding(upstream, 1_000_000):
            behind = "tickwire_conflated_passes_total"
            await eventually(
                lambda: _figure(gateway, behind), "all are behind", lambda count: count >= STALLED, patience=60
            )
            assert gateway.rss() - resident < STALLED * BYTES_EACH
            ended = 'tickwire_disconnects_total{reason="slow_consumer"}'
            await eventually(
                lambda: _figure(gateway, ended), "all are cut off", lambda count: count == STALLED, patience=60
            )
            assert gateway.rss() - resident < STALLED * BYTES_EACH
            updates = heard.updates
            await eventually(lambda: heard.updates > updates + 500, "the other client goes on")
        assert not heard.gaps
        for client in clients:
            client.leave()


async def test_a_client_that_polls_seldom_is_told_and_one_that_polls_no_more_is_ended(
    pipeline: Cluster, upstream: RedisBus
) -> None:
    gateway = await pipeline.start("gateway", WRITE_TIMEOUT_MS="3000")
    async with http_client() as http, feeding(upstream, 2_000_000) as feed:
        poller = await polling(http, gateway.url)
        await poller.emit("subscribe:price", SYMBOLS)

        async def told() -> bool:
            rounds = feed.trades + 50
            await eventually(lambda: feed.trades > rounds, "a second passes")
            await poller.poll()
            return bool(poller.named("link"))

        await eventually(told, "it is told")
        assert poller.named("link")[0] == {"interval_ms": 200, "reason": "slow"}
        ended = 'tickwire_disconnects_total{reason="slow_consumer"}'
        await eventually(lambda: _figure(gateway, ended), "it is ended")
        assert await poller.status() == 400


async def _figure(gateway: Service, name: str) -> float:
    return (await gateway.scrape())[name]
