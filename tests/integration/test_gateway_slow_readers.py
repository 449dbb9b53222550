"""Clients that stop reading: memory stays, others notice nothing, and what was missed comes when they read again."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from tests.support.bystander import beside
from tests.support.cluster import Cluster, Service
from tests.support.waiting import eventually
from tests.support.wire_socket import Json, WireSocket, joined, listening

UPDATES = 20_000
SYMBOLS = 200
CHUNK = 500
STALL_S = 2.0
LOG_WINDOW = 8_000_000
"""Bytes of the log that the gateway may keep: fewer than all clients that are behind could use."""

SYMBOL = "BTC-USDT"
SMALL_BUFFER = 4096
"""Of the kernel, at the client: so little is under way that the gateway sees at once who does not read."""


class Heard:
    """What a client got: trade ids in their order, the last price of each symbol, and updates that do not follow on."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.prices: dict[str, float] = {}
        self.gaps: list[Json] = []
        self._seqs: dict[str, int] = {}

    def __call__(self, name: str, *args: Json) -> None:
        """Take one event."""
        if name == "trade:new":
            self.ids.append(int(args[0]["id"]))
        elif name == "price:update":
            update = args[0]
            symbol = update["symbol"]
            if self._seqs.get(symbol, update["seq"] - update["n"]) != update["seq"] - update["n"]:
                self.gaps.append(update)
            self._seqs[symbol] = update["seq"]
            self.prices[symbol] = update["price"]


async def feed_trades(bus: RedisBus, first: int, count: int) -> None:
    """Append trades with rising ids; trade n has price n."""
    for start in range(first, first + count, CHUNK):
        entries = [
            {"symbol": SYMBOL, "id": str(n), "price": str(n), "amount": "0.5", "side": "buy"}
            for n in range(start, min(start + CHUNK, first + count))
        ]
        await bus.append(redis_keys.FEED_TRADES, entries, 100_000)


async def feed_prices(bus: RedisBus, symbols: list[str], rounds: int) -> None:
    """Append one price of each symbol, 1 to `rounds`, each round once the one before is on its way to clients."""
    for price in range(1, rounds + 1):
        await bus.append(redis_keys.FEED_PRICES, [{"symbol": name, "price": str(price)} for name in symbols], 100_000)


async def subscribe(socket: WireSocket, what: str, symbols: list[str]) -> None:
    for start in range(0, len(symbols), 50):
        await socket.call(f"subscribe:{what}", symbols[start : start + 50])


async def test_a_reader_that_stops_for_good_costs_no_memory_and_is_cut_off(
    pipeline: Cluster, valkey: EmbeddedValkey, upstream: RedisBus
) -> None:
    gateway = await pipeline.start("gateway", WRITE_TIMEOUT_MS="3000")
    symbols = [f"S{number}" for number in range(SYMBOLS)]
    heard = Heard()
    async with (
        beside(gateway.port, valkey.url),
        joined(gateway.port) as good,
        joined(gateway.port, receive_buffer=SMALL_BUFFER) as stalled,
    ):
        for socket in (good, stalled):
            await subscribe(socket, "price", symbols)
        stalled.client.stall()
        resident = gateway.rss()
        async with listening(good, heard):
            await feed_prices(upstream, symbols, UPDATES // SYMBOLS)
            await eventually(lambda: set(heard.prices.values()) == {UPDATES / SYMBOLS}, "the last prices arrive")
            await eventually(lambda: _ended_as_slow(gateway), "the gateway ends the stalled client")
        assert not heard.gaps
        assert gateway.rss() - resident < 5_000_000


async def test_trades_are_kept_once_for_all_within_bounds_however_many_are_behind(
    pipeline: Cluster, upstream: RedisBus
) -> None:
    gateway = await pipeline.start("gateway", WRITE_TIMEOUT_MS="3000", LOG_WINDOW_BYTES=str(LOG_WINDOW))
    heard = Heard()
    async with joined(gateway.port) as good, AsyncExitStack() as stack:
        stalled = [await stack.enter_async_context(joined(gateway.port, receive_buffer=SMALL_BUFFER)) for _ in range(5)]
        for socket in (good, *stalled):
            await subscribe(socket, "trades", [SYMBOL])
        for socket in stalled:
            socket.client.stall()
        resident = gateway.rss()
        async with listening(good, heard):
            await feed_trades(upstream, 1, UPDATES)
            await eventually(lambda: len(heard.ids) == UPDATES, "the other client gets every trade")
            assert gateway.rss() - resident < 3 * LOG_WINDOW
            assert heard.ids == list(range(1, UPDATES + 1))
            await eventually(lambda: _ended_as_slow(gateway, 5), "the gateway ends the stalled clients")
            resident = gateway.rss()
            await feed_trades(upstream, UPDATES + 1, UPDATES)
            await eventually(lambda: len(heard.ids) == 2 * UPDATES, "the other client gets every trade")
            assert gateway.rss() - resident < 5_000_000


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_a_reader_that_stalls_and_reads_on_gets_every_trade_once_and_the_newest_price(
    pipeline: Cluster, upstream: RedisBus, parser: str
) -> None:
    gateway = await pipeline.start("gateway")
    first = 1_000_000 if parser == "json" else 2_000_000
    heard = Heard()
    async with joined(gateway.port, is_binary=parser == "msgpack", receive_buffer=SMALL_BUFFER) as socket:
        await subscribe(socket, "price", [SYMBOL])
        await subscribe(socket, "trades", [SYMBOL])
        async with listening(socket, heard):
            await feed_trades(upstream, first, 1000)
            socket.client.stall()
            began = asyncio.get_running_loop().time()
            await feed_trades(upstream, first + 1000, 4000)
            await asyncio.sleep(began + STALL_S - asyncio.get_running_loop().time())  # the stall that is tested
            socket.client.resume()
            await feed_trades(upstream, first + 5000, 1000)
            await eventually(lambda: len(heard.ids) >= 6000, "every trade arrives")
            await eventually(lambda: heard.prices[SYMBOL] == first + 5999, "the newest price arrives")
            assert heard.ids == list(range(first, first + 6000))
            assert not heard.gaps
    assert (await gateway.scrape())["tickwire_conflated_passes_total"] >= 1, "it was never behind"


async def _ended_as_slow(gateway: Service, clients: int = 1) -> bool:
    return (await gateway.scrape())['tickwire_disconnects_total{reason="slow_consumer"}'] == clients
