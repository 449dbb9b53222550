"""The real clients in every mode against real services: polling, upgraded, WebSocket, each with both parsers."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count, pairwise
from typing import Any, Final

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from shared.tasks import TaskGroup
from tests.support.cluster import Cluster, Service
from tests.support.mode_clients import CASES, DEFAULT, Case, ModeClients, cases, mode_clients
from tests.support.poller import Poller, http_client, polling
from tests.support.stock_clients import StockClient, need_node
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.interop

MAX_LENGTH: Final = 100_000
_numbers: Final = count(1)


class Upstream:
    """Writes trades and prices of one symbol, numbered from 1."""

    def __init__(self, bus: RedisBus, symbol: str) -> None:
        self._bus = bus
        self.symbol = symbol
        self.last = 0

    async def trade(self, times: int) -> None:
        """Append trades, whose price is their number."""
        first, self.last = self.last + 1, self.last + times
        entries = [
            {"id": str(number), "symbol": self.symbol, "amount": "1", "price": str(number)}
            for number in range(first, self.last + 1)
        ]
        await self._bus.append(redis_keys.FEED_TRADES, entries, MAX_LENGTH)

    async def trade_on(self, enough: asyncio.Event) -> None:
        """Append trades, some at a time, until it is enough."""
        while not enough.is_set():
            await self.trade(5)
            await asyncio.sleep(0.005)


@pytest.fixture
async def upstream(valkey: EmbeddedValkey) -> AsyncIterator[Upstream]:
    bus = RedisBus(valkey.url, "upstream")
    yield Upstream(bus, f"MODE{next(_numbers)}-USDT")
    await bus.close()


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Each client in each of its modes."""
    found: Case = request.param
    if found.kind.startswith("js"):
        need_node()
    return found


@pytest.fixture
async def clients() -> AsyncIterator[ModeClients]:
    async with mode_clients() as made:
        yield made


async def test_every_trade_comes_once_and_in_order_while_a_client_connects_and_upgrades(
    clients: ModeClients, case: Case, gateway: Service, upstream: Upstream
) -> None:
    enough = asyncio.Event()
    client = await clients.make(case.kind)
    async with TaskGroup() as tasks:
        tasks.spawn("upstream", upstream.trade_on(enough))
        await client.connect(gateway.url, **case.mode.options)
        await client.life("connect")
        asked = [client.ask("subscribe:trades", upstream.symbol) for _ in range(3)]
        asked += [client.ask("subscribe:price", upstream.symbol) for _ in range(30)]
        answers = await asyncio.gather(*asked)
        await clients.settled(client, case.mode)
        enough.set()
    assert all(answer["ok"] for answer in answers)
    await upstream.trade(20)
    numbers = await _numbers_until(client, "trade:new", upstream.last)
    assert numbers == list(range(numbers[0], upstream.last + 1))


async def test_prices_lead_from_the_snapshot_to_the_newest_without_a_gap(
    clients: ModeClients, case: Case, gateway: Service, upstream: Upstream
) -> None:
    await upstream.trade(1)
    client = await clients.make(case.kind)
    await client.connect(gateway.url, **case.mode.options)
    await client.life("connect")
    await client.ask("subscribe:price", upstream.symbol)
    for _ in range(30):
        await upstream.trade(3)
    updates: list[dict[str, Any]] = []
    while not updates or updates[-1]["price"] != upstream.last:
        updates += await client.event("price:update")
    for before, after in pairwise(updates):
        assert after["seq"] - after["n"] == before["seq"] or "snap" in after
    await clients.settled(client, case.mode)


async def test_batches_come_and_binary_goes(
    clients: ModeClients, case: Case, gateway: Service, upstream: Upstream
) -> None:
    client = await clients.connected(case, gateway.url)
    (hello,) = await client.event("hello")
    assert hello["gateway"] == gateway.instance
    await upstream.trade(1)
    pairs: list[list[object]] = []
    while [upstream.symbol, 1] not in pairs:
        pairs, extras = await client.event("price:batch")
        assert len(extras["seqs"]) == len(pairs)
    refused = await client.ask("subscribe:trades", [b"\x00\xff" * 600, upstream.symbol, b""])
    assert [item["ok"] for item in refused["results"]] == [False, True, False]
    unknown = await client.ask("no:such:event", b"\x00", {"deep": [b"\x01", {"er": b"\x02"}]})
    assert unknown["error"]["code"] == 102


async def test_a_client_that_disconnects_has_left(clients: ModeClients, case: Case, gateway: Service) -> None:
    client = await clients.connected(case, gateway.url)
    left = 'tickwire_disconnects_total{reason="client_left"}'
    before = (await gateway.scrape())[left]
    await client.disconnect()

    async def gone() -> bool:
        return (await gateway.scrape())[left] > before

    await eventually(gone, "the gateway counts a client that left")


async def test_all_clients_come_back_to_a_gateway_that_was_stopped_and_started_again(
    clients: ModeClients, cluster: Cluster, upstream: Upstream
) -> None:
    need_node()
    first = await cluster.start("gateway")
    everyone = await clients.all_connected(CASES, first.url)
    assert await first.stop() == 0
    for client in everyone:
        await client.life("disconnect")
    second = await cluster.start("gateway", GATEWAY_PORT=str(first.port))
    for case, client in zip(CASES, everyone, strict=True):
        assert [(await client.event("hello"))[0]["gateway"] for _ in "12"] == [first.instance, second.instance]
        await clients.settled(client, case.mode)
        assert (await client.ask("subscribe:trades", upstream.symbol))["ok"]
    await upstream.trade(100)
    for client in everyone:
        assert await _numbers_until(client, "trade:new", 100) == list(range(1, 101))
    assert await second.stop() == 0


@pytest.mark.parametrize("case", cases(DEFAULT), ids=str, indirect=True)
async def test_a_client_that_is_refused_is_told_and_stays_away(
    clients: ModeClients, case: Case, gateway: Service
) -> None:
    client = await clients.make(case.kind)
    await client.connect(gateway.url, {"token": "none"}, **case.mode.options)
    message, data, *_ = await client.life("connect_error")
    assert (message, data["code"]) == ("Authentication failed", 401)


async def test_a_gateway_that_stops_says_goodbye_in_the_parked_poll(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway")
    async with http_client() as http:
        poller = await polling(http, gateway.url)
        while "1" not in (last := await poller.poll()):
            if poller.named("hello"):
                gateway.terminate()
        assert last[-1] == "1"
    assert await gateway.ended() == 0


async def test_a_client_that_polls_late_gets_every_trade_and_only_the_newest_prices(
    gateway: Service, upstream: Upstream
) -> None:
    other = Upstream(upstream._bus, f"LATE-{upstream.symbol}")
    async with http_client() as http:
        late, prompt = [await polling(http, gateway.url) for _ in range(2)]
        for poller in (late, prompt):
            await poller.emit("subscribe:trades", upstream.symbol)
            await poller.emit("subscribe:price", other.symbol)
        for _ in range(10):  # far more than a client may have waiting
            await upstream.trade(200)
            while _last(prompt, "trade:new", "id") != upstream.last:
                await prompt.poll()
        for _ in range(20):
            await other.trade(1)
            while _last(prompt, "price:update", "price") != other.last:
                await prompt.poll()
        while (_last(late, "trade:new", "id"), _last(late, "price:update", "price")) != (upstream.last, other.last):
            await late.poll()
    for poller in (late, prompt):
        assert [int(trade["id"]) for trade in poller.named("trade:new")] == list(range(1, upstream.last + 1))
    assert len(late.named("price:update")) < len(prompt.named("price:update")) == other.last
    newest = late.named("price:update")[-1]
    assert (newest["seq"], "snap" in newest) == (prompt.named("price:update")[-1]["seq"], True) or newest["n"] > 1


async def test_clients_that_stop_polling_are_ended_and_forgotten(cluster: Cluster, upstream: Upstream) -> None:
    gateway = await cluster.start("gateway", PING_INTERVAL_MS="750", PING_TIMEOUT_MS="750")
    sizes = []
    for _ in range(4):
        await _abandon_pollers(gateway, upstream, 100)
        sizes.append(gateway.rss())
    # What waits for 100 clients is over 5 MB: kept, it would grow the gateway in every round. Warming up does not.
    assert min(later - earlier for earlier, later in pairwise(sizes)) < 2_000_000, sizes
    assert await gateway.stop() == 0


async def _abandon_pollers(gateway: Service, upstream: Upstream, how_many: int) -> None:
    """Clients that connect, have trades waiting and never ask for them, until the gateway knows none of them."""
    ended = 'tickwire_disconnects_total{reason="ping_timeout"}'
    before = (await gateway.scrape())[ended]
    async with http_client() as http:
        pollers = []
        for _ in range(how_many):  # each has the time of a ping and its timeout to subscribe, however slow this is
            pollers.append(await polling(http, gateway.url))
            await pollers[-1].emit("subscribe:trades", upstream.symbol)
        await upstream.trade(500)

        async def all_ended() -> bool:
            return (await gateway.scrape())[ended] == before + how_many

        await eventually(all_ended, "clients that stopped polling are ended")
        assert {await poller.status() for poller in pollers} == {400}


def _last(poller: Poller, event: str, field: str) -> int:
    events = poller.named(event)
    return int(events[-1][field]) if events else 0


async def _numbers_until(client: StockClient, event: str, last: int) -> list[int]:
    """The numbers of events up to one."""
    numbers: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        while not numbers or numbers[-1] != last:
            numbers.append(int((await client.event(event))[0]["id"]))
    return numbers
