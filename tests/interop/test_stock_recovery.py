"""Connection state recovery as stock clients have it: back to any gateway, with every trade, once and in order."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.names import redis_keys
from tests.support.cluster import Cluster, token
from tests.support.redis_cli import redis_cli
from tests.support.stock_clients import Clients, Kind, NodeClient
from tests.support.switchboard import Switchboard, switchboard
from tests.support.waiting import eventually

pytestmark = pytest.mark.interop

_numbers: Final = count(1)


@pytest.fixture(params=["js-json", "js-msgpack"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Either parser of the client that can recover."""
    made: Kind = request.param
    return made


@pytest.fixture
async def cluster(module_cluster: Cluster) -> Cluster:
    """Two gateways and a notifier."""
    if not module_cluster.services:
        await module_cluster.start("gateway")
        await module_cluster.start("gateway")
        await module_cluster.start("price-ingest")
        await module_cluster.start("trade-notifier")
    return module_cluster


@pytest.fixture
async def board(cluster: Cluster) -> AsyncIterator[Switchboard]:
    """What a client connects to: at first it leads to the first gateway."""
    async with switchboard() as made:
        made.target = cluster.services[0].port
        yield made


class Feed:
    """An upstream of one symbol."""

    def __init__(self, url: str) -> None:
        self.symbol = f"REC{next(_numbers)}-USDT"
        self._bus = RedisBus(url, "test-feed")
        self._ids = count(1)

    async def trades(self, number: int, **more: str) -> None:
        trade = {"symbol": self.symbol, "amount": "1", "price": "2", **more}
        await self._bus.append("feed:trades", [{"id": str(next(self._ids)), **trade} for _ in range(number)], 100_000)

    async def close(self) -> None:
        await self._bus.close()


@pytest.fixture
async def feed(valkey: EmbeddedValkey) -> AsyncIterator[Feed]:
    made = Feed(valkey.url)
    yield made
    await made.close()


async def open_client(clients: Clients, kind: Kind, url: str, auth: Any = None, **options: Any) -> NodeClient:
    client = await clients.make(kind)
    assert isinstance(client, NodeClient)
    await client.connect(url, auth, **options)
    assert await client.life("connect") == [False]
    return client


async def ids(client: NodeClient, number: int, event: str = "trade:new") -> list[int]:
    return [int((await client.event(event))[0]["id"]) for _ in range(number)]


async def test_a_client_comes_back_to_another_gateway_with_each_missed_trade_once_in_order(
    clients: Clients, kind: Kind, board: Switchboard, cluster: Cluster, feed: Feed
) -> None:
    client = await open_client(clients, kind, board.url)
    assert (await client.ask("subscribe:trades", feed.symbol))["ok"]
    await feed.trades(3)
    assert await ids(client, 3) == [1, 2, 3]
    board.target = 1  # nobody is there
    board.cut()
    await client.life("disconnect")
    await feed.trades(500)
    board.target = cluster.services[1].port
    assert await client.life("connect") == [True]
    await feed.trades(2)
    assert await ids(client, 502) == list(range(4, 506))
    (first,) = await client.event("hello")
    (second,) = await client.event("hello")
    assert (first["recovered"], second["recovered"]) == (False, True)
    assert first["gateway"] != second["gateway"]
    assert "gap" not in second
    assert client.count("trade:new") == 0


async def test_thousands_of_missed_trades_come_in_order_also_those_that_are_no_more_in_memory(
    clients: Clients, kind: Kind, board: Switchboard, cluster: Cluster, feed: Feed
) -> None:
    small = await cluster.start("gateway", LOG_WINDOW_BYTES="1000000")
    client = await open_client(clients, kind, board.url)
    await client.ask("subscribe:trades", feed.symbol)
    for target in (small, cluster.services[1]):
        board.target = 1
        board.cut()
        await client.life("disconnect")
        await feed.trades(4_000)
        board.target = target.port
        assert await client.life("connect") == [True]
    await feed.trades(1)
    assert await ids(client, 8_001) == list(range(1, 8_002))


async def test_a_gateway_that_is_killed_is_no_special_case(
    clients: Clients, kind: Kind, board: Switchboard, cluster: Cluster, feed: Feed
) -> None:
    doomed = await cluster.start("gateway")
    board.target = doomed.port
    client = await open_client(clients, kind, board.url)
    assert (await client.ask("subscribe:trades", feed.symbol))["ok"]
    assert (await client.ask("subscribe:price", feed.symbol, {"deliver": "batch"}))["ok"]
    doomed.process.kill()  # in the moment in which the ack is here: what was acknowledged is saved
    board.target = cluster.services[1].port
    await feed.trades(20)
    assert await client.life("connect") == [True]
    assert await ids(client, 20) == list(range(1, 21))
    await eventually(lambda: client.count("price:batch"), "the restored batch subscription")


@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"]])
async def test_every_transport_recovers(
    clients: Clients, board: Switchboard, cluster: Cluster, feed: Feed, transports: list[str]
) -> None:
    client = await open_client(clients, "js-json", board.url, transports=transports)
    await client.ask("subscribe:trades", feed.symbol)
    await feed.trades(1)
    assert await ids(client, 1) == [1]
    board.target = 1
    board.cut()
    await client.life("disconnect")
    await feed.trades(50)
    board.target = cluster.services[1].port
    assert await client.life("connect") == [True]
    assert await ids(client, 50) == list(range(2, 52))


async def test_a_client_that_never_got_a_trade_recovers_by_the_cursor_of_hello(
    clients: Clients, kind: Kind, board: Switchboard, cluster: Cluster, feed: Feed
) -> None:
    client = await open_client(clients, kind, board.url)
    earlier = await open_client(clients, kind, board.url)
    await earlier.ask("subscribe:trades", feed.symbol)
    await feed.trades(5)
    assert await ids(earlier, 5) == [1, 2, 3, 4, 5]  # before the other's subscription: not its own
    await client.ask("subscribe:trades", feed.symbol)
    board.target = 1
    board.cut()
    await client.life("disconnect")
    await feed.trades(2)
    board.target = cluster.services[1].port
    assert await client.life("connect") == [True]
    assert await ids(client, 2) == [6, 7]


async def test_coming_back_twice_repeats_nothing(
    clients: Clients, kind: Kind, board: Switchboard, cluster: Cluster, feed: Feed
) -> None:
    client = await open_client(clients, kind, board.url)
    await client.ask("subscribe:trades", feed.symbol)
    for turn in range(4):
        board.target = cluster.services[turn % 2].port
        board.cut()
        await client.life("disconnect")
        await feed.trades(3)
        assert await client.life("connect") == [True]
    assert await ids(client, 12) == list(range(1, 13))
    await client.ask("resync:price", feed.symbol)  # a round trip: nothing else is on its way
    assert client.count("trade:new") == 0


async def test_notifications_of_a_user_are_given_back_to_that_user_alone(
    clients: Clients, kind: Kind, board: Switchboard, cluster: Cluster, feed: Feed
) -> None:
    auth = {"token": token("ann", now_ms=SystemClock().now_ms())}
    client = await open_client(clients, kind, board.url, auth)
    board.target = 1
    board.cut()
    await client.life("disconnect")
    await feed.trades(3, user_id="ann")
    await feed.trades(3, user_id="bob")
    board.target = cluster.services[1].port
    assert await client.life("connect") == [True]
    assert await ids(client, 3, "trade:notification") == [1, 2, 3]
    await feed.trades(1, user_id="ann")
    assert await ids(client, 1, "trade:notification") == [7]


async def test_a_lost_session_is_said_and_the_client_begins_anew(
    clients: Clients, kind: Kind, board: Switchboard, cluster: Cluster, feed: Feed, valkey: EmbeddedValkey
) -> None:
    client = await open_client(clients, kind, board.url)
    await client.event("hello")
    await client.ask("subscribe:trades", feed.symbol)
    board.target = 1
    board.cut()
    await client.life("disconnect")
    redis_cli(
        valkey.url, "EVAL \"for _, k in ipairs(redis.call('KEYS', 'svc:{sessions:*')) do redis.call('DEL', k) end\" 0"
    )
    await feed.trades(1)
    board.target = cluster.services[1].port
    assert await client.life("connect") == [False]
    (hello,) = await client.event("hello")
    assert hello["recovered"] is False
    assert hello["gap"]["reason"] == "expired"
    assert 0 < hello["gap"]["from"] <= hello["gap"]["to"]


async def test_what_the_log_no_longer_holds_is_said(
    clients: Clients, board: Switchboard, cluster: Cluster, feed: Feed, valkey: EmbeddedValkey
) -> None:
    client = await open_client(clients, "js-json", board.url)
    await client.event("hello")
    await client.ask("subscribe:trades", feed.symbol)
    board.target = 1
    board.cut()
    await client.life("disconnect")
    await feed.trades(5)
    shard = redis_keys.trade_log(redis_keys.shard_of(feed.symbol, 4))
    await eventually(lambda: int(redis_cli(valkey.url, f"XLEN {shard}").split()[-1]) >= 5, "the trades in the log")
    redis_cli(valkey.url, f"XTRIM {shard} MAXLEN 1")
    late = await cluster.start("gateway")  # one that has not read them
    board.target = late.port
    assert await client.life("connect") == [False]
    (hello,) = await client.event("hello")
    assert hello["gap"]["reason"] == "trimmed"


async def test_a_client_that_left_by_itself_begins_anew(
    clients: Clients, kind: Kind, board: Switchboard, feed: Feed
) -> None:
    client = await open_client(clients, kind, board.url)
    await client.ask("subscribe:trades", feed.symbol)
    await client.disconnect()
    await client.life("disconnect")
    await client.event("hello")
    client._driver.order("connect", client._name)
    assert await client.life("connect") == [False]


async def test_who_opts_out_gets_neither_cursor_nor_recovery(
    clients: Clients, kind: Kind, board: Switchboard, cluster: Cluster, feed: Feed
) -> None:
    client = await open_client(clients, kind, board.url, {"recover": False})
    await client.ask("subscribe:trades", feed.symbol)
    await feed.trades(2)
    assert await ids(client, 2) == [1, 2]
    assert client.cursors == []
    board.target = cluster.services[1].port
    board.cut()
    assert await client.life("connect") == [False]


@pytest.mark.parametrize("python", ["py-json", "py-msgpack"])
async def test_clients_without_recovery_see_no_further_argument(
    clients: Clients, cluster: Cluster, feed: Feed, python: Kind
) -> None:
    client = await clients.make(python)
    await client.connect(cluster.services[0].url)
    assert len(await client.event("hello")) == 1
    await client.ask("subscribe:trades", feed.symbol)
    await feed.trades(1)
    assert len(await client.event("trade:new")) == 1
