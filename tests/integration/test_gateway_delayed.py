"""Tokens with `delay_s` at a real gateway: everything so much later, all of it, and no way to anything younger."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.identity import sign_development_token
from shared.names import error_codes, redis_keys
from tests.support.cluster import SECRET, Cluster, Service
from tests.support.waiting import eventually
from tests.support.wire_client import connect
from tests.support.wire_socket import Json, WireSocket, joined, listening

SYMBOL = "BTC-USDT"
OTHER = "ETH-USDT"
ROUNDS = 120
EVERY_S = 0.05
CLOCK = SystemClock()
WAYS = ("at connect", "authenticate", "live before", "a live session")
"""How a client may come to its delay."""

LATE_S = 10.0
"""What a busy machine may add to a delay."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    await module_cluster.start("gateway", "price-ingest", "trade-notifier", MAX_DELAY_SECONDS="60")
    return module_cluster


@pytest.fixture
async def upstream(valkey: EmbeddedValkey) -> AsyncIterator[RedisBus]:
    bus = RedisBus(valkey.url, "upstream")
    yield bus
    await bus.close()


def token(delay_s: int, user: str = "dora") -> str:
    """A token of a user without a live licence, or with one."""
    rights: Mapping[str, object] = {"delay_s": delay_s} if delay_s else {}
    return sign_development_token(SECRET, user, role=None, lifetime_s=600, now_ms=CLOCK.now_ms(), rights=rights)


class Feed:
    """Prices and trades that count up, and when each was handed to Redis: a price of n is from round n."""

    def __init__(self, bus: RedisBus, symbols: tuple[str, str] = (SYMBOL, OTHER)) -> None:
        self.bus = bus
        self.symbols = symbols
        self.next = 1
        self.at: dict[int, float] = {}

    async def round(self) -> None:
        """One more price and one more trade of each symbol."""
        n, self.next = self.next, self.next + 1
        self.at[n] = CLOCK.monotonic()
        rows = [{"symbol": symbol, "price": str(n)} for symbol in self.symbols]
        await self.bus.append(redis_keys.FEED_PRICES, rows, 100_000)
        trades = [{**row, "id": str(n), "amount": "1", "side": "buy", "user_id": "dora"} for row in rows]
        await self.bus.append(redis_keys.FEED_TRADES, trades, 100_000)

    async def go_on(self, rounds: int) -> None:
        for _ in range(rounds):
            await self.round()
            await asyncio.sleep(EVERY_S)


class Heard:
    """What a client got, and how old it was."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.names: dict[str, int] = {}
        self.symbols: set[str] = set()
        self.ids: list[int] = []
        self.ages: dict[str, list[float]] = {}
        self.gaps: list[Json] = []
        self._seqs: dict[str, int] = {}

    def __call__(self, name: str, *args: Json) -> None:
        """Take one event."""
        self.names[name] = self.names.get(name, 0) + 1
        if name == "price:update":
            update = args[0]
            self._price(name, update["symbol"], update["price"], update["seq"], update["n"], "snap" in update)
        elif name == "price:batch":
            for (symbol, price), seq, n in zip(args[0], args[1]["seqs"], args[1]["ns"], strict=True):
                self._price(name, symbol, price, seq, n, n == 0)
        elif name in ("trade:new", "trade:notification"):
            self._age(name, int(args[0]["id"]))
            if name == "trade:new":
                self.symbols.add(args[0]["symbol"])
                self.ids.append(int(args[0]["id"]))

    def _price(self, name: str, symbol: str, price: float, seq: int, n: int, restated: bool) -> None:  # noqa: FBT001
        self.symbols.add(symbol)
        self._age(name, int(price))
        if not restated and self._seqs.get(symbol) != seq - n:
            self.gaps.append((symbol, seq, n))
        self._seqs[symbol] = seq

    def _age(self, name: str, n: int) -> None:
        self.ages.setdefault(name, []).append(CLOCK.monotonic() - self._feed.at[n])


async def test_prices_and_trades_come_as_late_as_the_token_says_and_complete(
    gateway: Service, upstream: RedisBus
) -> None:
    feed = Feed(upstream)
    clients: list[tuple[int, Heard]] = [(delay_s, Heard(feed)) for delay_s in (0, 1, 3)]
    async with AsyncExitStack() as stack:
        for delay_s, heard in clients:
            auth = {"token": token(delay_s, "not dora")} if delay_s else None
            socket = await stack.enter_async_context(joined(gateway.port, auth, is_binary=delay_s == 3))
            options = {"deliver": "batch"} if delay_s == 3 else {}
            answer = await socket.call("subscribe:price", SYMBOL, options)
            assert answer["ok"]
            assert answer["interval_ms"] == (1000 if delay_s else 0)
            await socket.call("subscribe:trades", SYMBOL)
            await stack.enter_async_context(listening(socket, heard))
        await feed.go_on(ROUNDS)
        await eventually(lambda: [len(it.ids) for _, it in clients], "every trade", lambda n: n == [ROUNDS] * 3)
        await eventually(lambda: clients[1][1].names["price:update"] >= 4, "prices")
    (_, live), *delayed = clients
    assert SYMBOL in live.symbols
    assert OTHER in live.symbols
    for delay_s, heard in delayed:
        assert heard.ids == list(range(1, ROUNDS + 1))
        assert heard.symbols == {SYMBOL}, "the whole market is not for delayed clients"
        assert ("price:batch" in heard.names) is (delay_s == 3)
        assert not heard.gaps
        for ages in heard.ages.values():
            assert delay_s <= min(ages)
            assert max(ages) < delay_s + LATE_S


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.threat("T25")
async def test_a_delayed_client_never_gets_anything_younger_whatever_it_asks(
    gateway: Service, upstream: RedisBus, way: str
) -> None:
    feed, delay_s = Feed(upstream, (f"A-{WAYS.index(way)}", f"B-{WAYS.index(way)}")), 30
    heard = Heard(feed)
    async with AsyncExitStack() as stack:
        socket = await delayed_client(stack, gateway, feed, way, delay_s)
        for event in ("subscribe:price", "subscribe:trades"):
            assert (await socket.call(event, list(feed.symbols)))["ok"]
        refused = await socket.call("subscribe:chart", feed.symbols[0], "1s")
        assert refused["error"]["code"] == error_codes.NOT_WHILE_DELAYED.code
        socket.events.clear()
        for _ in range(30):
            await feed.round()
            assert (await socket.call("resync:price", feed.symbols[0]))["ok"]
            await socket.call("subscribe:price", feed.symbols[1], {"deliver": "batch", "max_hz": 100})
            await socket.call("unsubscribe:price", feed.symbols[1])
            await asyncio.sleep(EVERY_S)
        async with listening(socket, heard):
            await eventually(lambda: heard.names.get("trade:notification", 0) >= 60, "its own trades come at once")
    assert set(heard.names) == {"trade:notification"}
    assert max(heard.ages["trade:notification"]) < delay_s


async def delayed_client(stack: AsyncExitStack, gateway: Service, feed: Feed, way: str, delay_s: int) -> WireSocket:
    """A client that has its delay in one of the ways in which it may come to it."""
    if way == "at connect":
        return await stack.enter_async_context(joined(gateway.port, {"token": token(delay_s)}))
    if way == "a live session":
        auth = {"token": token(delay_s), **await live_session(gateway, feed)}
        return await stack.enter_async_context(joined(gateway.port, auth))
    live = await stack.enter_async_context(joined(gateway.port))
    if way == "live before":
        for event in ("subscribe:price", "subscribe:trades"):
            assert (await live.call(event, list(feed.symbols)))["ok"]
        assert (await live.call("subscribe:chart", feed.symbols[0], "1s"))["ok"]
        await feed.round()
        await live.next("trade:new")
    assert (await live.call("authenticate", token(delay_s)))["ok"]
    await asyncio.sleep(1.1)  # the rate of `authenticate`, and what the live windows would still send
    return live


async def live_session(gateway: Service, feed: Feed) -> dict[str, str]:
    """What a client brings that got trades, left, and missed some since."""
    async with await connect(gateway.port) as client:
        socket = WireSocket(client)
        socket.join()
        pid = json.loads((await socket.next_text("40"))[2:])["pid"]
        await socket.call("subscribe:trades", list(feed.symbols))
        await feed.round()
        offset = (await socket.next("trade:new"))[-1]
    await feed.round()
    return {"pid": pid, "offset": offset}


async def test_a_delay_that_is_too_long_is_refused(gateway: Service) -> None:
    async with joined(gateway.port) as socket:
        refused = await socket.call("authenticate", token(61))
    assert refused["error"]["code"] == error_codes.AUTHENTICATION_FAILED.code
    assert refused["error"]["reason"] == "bad_claim"


async def test_its_figures_are_on_the_metrics_page(gateway: Service) -> None:
    async with joined(gateway.port, {"token": token(5)}) as socket:
        await socket.call("subscribe:price", SYMBOL)
        figures = await gateway.scrape()
    assert figures["tickwire_delayed_clients"] >= 1
    assert figures["tickwire_delayed_log_gaps_total"] == 0


@pytest.mark.slow
async def test_no_trade_is_lost_or_repeated_when_redis_dies_while_trades_wait(tmp_path: Path) -> None:
    heard: Any
    with EmbeddedValkey(directory=tmp_path, append_only=True) as server, Cluster(server.url, tmp_path) as cluster:
        gateway = await cluster.start("gateway", "trade-notifier", "price-ingest")
        bus = RedisBus(server.url, "upstream")
        feed = Feed(bus)
        heard = Heard(feed)
        async with joined(gateway.port, {"token": token(4)}) as socket:
            await socket.call("subscribe:trades", SYMBOL)
            async with listening(socket, heard):
                await feed.go_on(40)
                await eventually(lambda: bus.length(redis_keys.FEED_TRADES), "all are there", lambda n: n == 80)
                await asyncio.sleep(1.5)  # until the server has written them to its disk, as it does every second
                server.kill()
                await asyncio.sleep(3)
                server.start()
                await eventually(lambda: len(heard.ids) >= 40, "the trades that had waited")
                await feed.go_on(20)
                await eventually(lambda: len(heard.ids) >= 60, "those behind them")
        await bus.close()
    assert heard.ids == list(range(1, 61))
    assert min(heard.ages["trade:new"]) >= 4
