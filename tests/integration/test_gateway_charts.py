"""Charts through a real gateway: no gap and no race under a fast publisher, whatever Redis or a socket does."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.intervals import INTERVALS, start_of
from shared.names import error_codes
from shared.tasks import TaskGroup
from tests.support.chart_ingest import FUTURE_MS, ChartIngest, FoldedCharts, RandomCharts
from tests.support.cluster import Cluster, Service
from tests.support.limits import RATE_SETTINGS
from tests.support.waiting import eventually
from tests.support.wire_socket import Json, WireSocket, joined, listening

SHARDS = 16
CLIENTS = 10
SUBSCRIPTIONS = 1_000
"""With each of two parsers."""

SMALL_BUFFER = 4096
PACE_S = 0.002


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    limits = dict.fromkeys(RATE_SETTINGS, "1000")
    await module_cluster.start("gateway", **limits)
    return module_cluster


@asynccontextmanager
async def busy(market: RandomCharts) -> AsyncIterator[None]:
    """A market that changes all the time; at the end nothing of it is under way."""
    ended = asyncio.Event()

    async def run() -> None:
        while not ended.is_set():
            await market.step()
            await asyncio.sleep(PACE_S)

    for _ in range(100):
        await market.step()
    async with TaskGroup() as tasks:
        publisher = tasks.spawn("publisher", run())
        yield
        ended.set()
        await publisher


class ChartReader:
    """A client that subscribes and leaves at random and folds what it gets, in the order in which it comes."""

    def __init__(self, socket: WireSocket, charts: list[tuple[str, str]], seed: int) -> None:
        self.socket = socket
        self.folded = FoldedCharts()
        self.chance = random.Random(seed)
        self.charts = charts

    async def subscribe(self, symbol: str, interval: str) -> None:
        since = self.newest_closed(symbol, interval) if self.chance.random() < 0.5 else None
        options = [] if since is None else [{"since": since}]
        answer = await self.socket.call("subscribe:chart", symbol, interval, *options)
        self.fold()  # whatever came before the answer
        assert answer["ok"], answer
        if since is not None and "reset" not in answer:
            bars = self.folded.bars[symbol, interval]
            answer["bars"] = [bars[start] for start in sorted(bars) if start < since] + answer["bars"]
        self.folded.answer(answer)

    def newest_closed(self, symbol: str, interval: str) -> int | None:
        """The start of the last bar that it has before the first that is not closed."""
        bars = self.folded.bars.get((symbol, interval), {})
        ordered = (bars[start] for start in sorted(bars))
        return max((bar["start"] for bar in itertools.takewhile(lambda bar: bar["closed"], ordered)), default=None)

    async def leave(self, symbol: str, interval: str) -> None:
        assert (await self.socket.call("unsubscribe:chart", symbol, interval))["ok"]
        self.fold()
        del self.folded.bars[symbol, interval]

    async def act(self) -> None:
        """One more random subscription, and now and then an end of one."""
        chart = self.chance.choice(self.charts)
        if chart in self.folded.bars and self.chance.random() < 0.7:
            await self.leave(*chart)
        await self.subscribe(*chart)

    def fold(self) -> None:
        for name, update, *_extras in self.socket.events:
            if name not in ("link", "price:batch"):  # as in `settle`
                assert name == "chart:update"
                self.folded.update(update)
        self.socket.events.clear()

    async def settle(self, ingest: ChartIngest) -> None:
        """Read until what was folded is what Redis holds."""

        def hear(name: str, update: Json, *_extras: Json) -> None:
            if name not in ("link", "price:batch"):  # it was behind, is told so, and gets the market anew
                assert name == "chart:update"
                self.folded.update(update)

        async with listening(self.socket, hear):
            await eventually(
                lambda: self.folded.differences(ingest, self.folded.bars), "the folded charts", lambda found: not found
            )


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_random_subscriptions_begin_with_the_answer_and_end_with_what_redis_holds(
    gateway: Service, bus: RedisBus, parser: str
) -> None:
    market = RandomCharts(ChartIngest(bus, SHARDS), [f"{parser}-{number}" for number in range(12)], seed=len(parser))

    async def client(number: int) -> ChartReader:
        async with joined(gateway.port, is_binary=parser == "msgpack") as socket:
            socket.events.clear()
            reader = ChartReader(socket, market.charts, number)
            for _ in range(SUBSCRIPTIONS // CLIENTS):
                await reader.act()
            done.append(number)
            await stopped.wait()
            await reader.settle(market.ingest)
            return reader

    done: list[int] = []
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        async with busy(market):
            clients = [group.create_task(client(number)) for number in range(CLIENTS)]
            await eventually(lambda: len(done) == CLIENTS, "all have subscribed")
        stopped.set()
    for task in clients:
        folded = task.result().folded
        assert folded.wrong == []
        assert len(folded.bars) > 10


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_a_reader_that_stalls_and_reads_on_misses_no_bar(gateway: Service, bus: RedisBus, parser: str) -> None:
    ingest = ChartIngest(bus, SHARDS)
    symbols = [f"stall-{parser}-{number}" for number in range(20)]
    passes = (await gateway.scrape())["tickwire_conflated_passes_total"]
    async with joined(gateway.port, is_binary=parser == "msgpack", receive_buffer=SMALL_BUFFER) as socket:
        socket.events.clear()
        reader = ChartReader(socket, [(symbol, "1s") for symbol in symbols], 1)
        for chart in reader.charts:
            await reader.subscribe(*chart)
        socket.client.stall()
        for slot in range(300):
            for symbol in symbols:
                if slot:
                    ingest.close(symbol, "1s", FUTURE_MS + (slot - 1) * 1000)
                ingest.put(symbol, "1s", FUTURE_MS + slot * 1000, f"{slot}.00")
            await ingest.commit()

        async def is_behind() -> bool:
            return (await gateway.scrape())["tickwire_conflated_passes_total"] > passes

        await eventually(is_behind, "the client is behind")
        socket.client.resume()
        await reader.settle(ingest)
        assert reader.folded.wrong == []


async def test_after_any_loss_every_client_has_what_redis_holds(gateway: Service, bus: RedisBus) -> None:
    market = RandomCharts(ChartIngest(bus, SHARDS), [f"loss-{number}" for number in range(5)], seed=5)
    async with joined(gateway.port) as socket:
        socket.events.clear()
        reader = ChartReader(socket, market.charts, 1)
        async with busy(market):
            for chart in market.charts:
                await reader.subscribe(*chart)
            for _ in range(5):
                await bus._client.client_kill_filter(_type="pubsub")
                await asyncio.sleep(0.1)  # time in which changes are lost
        await reader.settle(market.ingest)
        await market.ingest.forget()
        market.ingest.epoch = "another"
        lost = RandomCharts(market.ingest, [f"loss-{number}" for number in range(5)], seed=6)
        reader.folded.bars = {chart: {} for chart in reader.folded.bars}  # what Redis lost stays with the client
        for _ in range(50):
            await lost.step()
        await reader.settle(market.ingest)


async def test_while_redis_does_not_answer_a_chart_is_refused_and_other_requests_go_on(
    gateway: Service, bus: RedisBus
) -> None:
    async with joined(gateway.port) as socket, joined(gateway.port) as other:
        await socket.call("subscribe:chart", "pause-known", "1m")
        await bus._client.client_pause(4_500)
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            refused = group.create_task(socket.call("subscribe:chart", "pause-new", "1m"))
            assert (await other.call("subscribe:chart", "pause-known", "1m"))["ok"] is True
            assert (await other.call("subscribe:trades", "pause-new"))["ok"] is True
            assert asyncio.get_running_loop().time() - began < 2
        error = refused.result()["error"]
        assert (error["code"], error["message"]) == (error_codes.CHART_UNAVAILABLE.code, "Chart unavailable")
        assert 2.5 < asyncio.get_running_loop().time() - began < 5

        async def asked_again() -> Json:
            return (await socket.call("subscribe:chart", "pause-new", "1m"))["ok"]

        await eventually(asked_again, "the chart once Redis answers")


async def test_an_idle_chart_gets_a_flat_bar_a_second_and_goes_on_with_the_next_trade(
    gateway: Service, bus: RedisBus
) -> None:
    ingest, clock = ChartIngest(bus, SHARDS), SystemClock()
    start = start_of(clock.now_ms(), INTERVALS["1s"]) - 5_000
    ingest.put("idle", "1s", start, "7.50", closed=True)
    await ingest.commit()
    async with joined(gateway.port) as socket:
        answer = await socket.call("subscribe:chart", {"symbol": "idle", "interval": "1s"})
        assert [bar["trades"] for bar in answer["bars"]][:2] == [1, 0]
        seen = [bar["start"] for bar in answer["bars"]]
        for _ in range(2):
            (flat,) = await socket.next("chart:update")
            assert (flat["close"], flat["volume"], flat["trades"], flat["closed"]) == (7.5, 0, 0, True)
            assert clock.now_ms() >= flat["end"] + 500
            seen.append(flat["start"])
        following = seen[-1] + 3_000
        ingest.put("idle", "1s", following, "8.50")
        await ingest.commit()
        while seen[-1] != following:
            seen.append((await socket.next("chart:update"))[0]["start"])
        assert seen == list(range(start, following + 1, 1_000))


async def test_without_filling_an_idle_chart_has_holes(cluster: Cluster, bus: RedisBus) -> None:
    gateway = await cluster.start("gateway", CANDLE_FILL_GAPS="false")
    ingest = ChartIngest(bus, SHARDS)
    for slot in (0, 5):
        ingest.put("holes", "1m", slot * 60_000, "1.00", closed=True)
    await ingest.commit()
    async with joined(gateway.port) as socket:
        answer = await socket.call("subscribe:chart", "holes", "1m")
        assert [bar["start"] // 60_000 for bar in answer["bars"]] == [0, 5]
        assert answer["forming"] is None
