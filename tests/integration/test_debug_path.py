"""`/debug/path` of real gateways: it names the hop at which a client's updates stop, and gives nothing away."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from rich.console import Console

from services.launcher.debug_path import ask, show
from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.names import redis_keys
from tests.support.cluster import Cluster, Service, token
from tests.support.poller import Poller, http_client
from tests.support.waiting import eventually
from tests.support.wire_client import connect
from tests.support.wire_socket import WireSocket

SYMBOL: Final = "BTC-USDT"
KINDS: Final = ("prices", "trades", "charts")
SMALL_BUFFER: Final = 4096

Answer = dict[str, Any]

_numbers: Final = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    settings = {"PRICE_BATCH_AUDIENCE": "off", "WRITE_TIMEOUT_MS": "60000"}
    await module_cluster.start("gateway", "price-ingest", "trade-notifier", **settings)
    return module_cluster


@asynccontextmanager
async def joined(
    port: int, auth: Mapping[str, str] | None = None, receive_buffer: int | None = None
) -> AsyncIterator[tuple[WireSocket, str]]:
    """A client and its Socket.IO id."""
    async with await connect(port, receive_buffer=receive_buffer) as client:
        socket = WireSocket(client)
        socket.join(auth)
        sid = json.loads((await socket.next_text("40"))[2:])["sid"]
        await socket.next("hello")
        yield socket, sid


async def path(gateway: Service, **query: str) -> Answer:
    """What the page says."""
    status, text = await gateway.ask("/debug/path?" + "&".join(f"{name}={value}" for name, value in query.items()))
    return {"status": status, **json.loads(text)}


async def feed(bus: RedisBus, trades: int = 1) -> None:
    """Trades of the symbol, which make its price and its candles too."""
    rows = [
        {"symbol": SYMBOL, "id": str(n), "price": str(n), "amount": "1", "side": "buy", "venue": "v" * 100}
        for n, _ in zip(_numbers, range(trades), strict=False)
    ]
    await bus.append(redis_keys.FEED_TRADES, rows, 100_000)


def stops(answer: Answer) -> dict[str, str | None]:
    """Where each kind stops; None where nothing does."""
    assert answer["status"] == 200, answer
    return {kind: answer[kind]["stops_at"] for kind in KINDS}


async def until(gateway: Service, bus: RedisBus | None, expected: Mapping[str, str | None], **query: str) -> Answer:
    """Feed one trade after the other until these kinds stop there: the answer that says so."""

    async def look() -> Answer:
        if bus is not None:
            await feed(bus)
        return await path(gateway, **query)

    return await eventually(look, f"{expected}", lambda answer: expected.items() <= stops(answer).items())


async def subscribe(socket: WireSocket) -> None:
    for request in (("subscribe:price", SYMBOL), ("subscribe:trades", SYMBOL), ("subscribe:chart", SYMBOL, "1m")):
        verdict = await socket.call(*request)
        assert verdict["ok"], verdict


async def test_where_all_is_well_nothing_stops(gateway: Service, upstream: RedisBus) -> None:
    async with joined(gateway.port) as (socket, sid):
        await subscribe(socket)
        answer = await until(gateway, upstream, dict.fromkeys(KINDS), sid=sid, symbol=SYMBOL)
        assert answer["gateway"] == gateway.instance
        assert answer["conclusion"] == [f"{kind}: nothing stops" for kind in KINDS]
        redis, client = answer["facts"]["redis"], answer["facts"]["client"]
        assert redis["owner"].startswith("price-ingest")
        assert answer["facts"]["gateway"]["seq"] >= redis["seq"] >= 1
        assert (client["transport"], client["authenticated"], client["subscriptions"]) == ("websocket", False, 3)
        assert [chart["interval"] for chart in answer["facts"]["subscription"]["charts"]] == ["1m"]


async def test_the_command_shows_what_the_page_says(gateway: Service, upstream: RedisBus) -> None:
    async with joined(gateway.port) as (socket, sid):
        await socket.call("subscribe:trades", SYMBOL)
        (ready,) = gateway.lines("ready")

        async def shown() -> str:
            await feed(upstream)
            out = io.StringIO()
            show(await ask(f"127.0.0.1:{ready['ops_port']}", sid, SYMBOL), Console(file=out, width=200))
            return out.getvalue()

        text = await eventually(shown, "trades flow", lambda text: "flows: nothing stops" in text)
    assert "stops at subscription: it has not subscribed the price of BTC-USDT" in text


async def test_a_symbol_that_never_had_a_tick_stops_upstream(gateway: Service) -> None:
    async with joined(gateway.port) as (socket, sid):
        await socket.call("subscribe:price", "NEVER-SEEN")
        answer = await until(gateway, None, dict.fromkeys(KINDS, "upstream"), sid=sid, symbol="NEVER-SEEN")
        assert "no tick of NEVER-SEEN was ever accepted" in answer["prices"]["because"]


async def test_what_a_client_has_not_subscribed_stops_at_its_subscription(gateway: Service, upstream: RedisBus) -> None:
    async with joined(gateway.port) as (socket, sid):
        await socket.call("subscribe:trades", SYMBOL)
        expected = {"prices": "subscription", "trades": None, "charts": "subscription"}
        await until(gateway, upstream, expected, sid=sid, symbol=SYMBOL)


@pytest.mark.threat("T21")
async def test_a_symbol_that_its_token_does_not_grant_stops_at_the_token(gateway: Service, upstream: RedisBus) -> None:
    secret = token("ann-the-user", now_ms=SystemClock().now_ms(), rights={"symbols": ["ETH-*"]})
    async with joined(gateway.port, {"token": secret}) as (socket, sid):
        assert not (await socket.call("subscribe:price", SYMBOL))["ok"]
        answer = await until(gateway, upstream, dict.fromkeys(KINDS, "token"), sid=sid, symbol=SYMBOL)
        client = answer["facts"]["client"]
        assert (client["authenticated"], client["restricted"]) == (True, True)
        assert "ann-the-user" not in json.dumps(answer)
        assert secret not in json.dumps(answer)


async def test_a_delay_is_told_and_is_no_stop_once_prices_are_old_enough(gateway: Service, upstream: RedisBus) -> None:
    secret = token(now_ms=SystemClock().now_ms(), rights={"delay_s": 1})
    async with joined(gateway.port, {"token": secret}) as (socket, sid):
        for kind in ("price", "trades"):
            assert (await socket.call(f"subscribe:{kind}", SYMBOL))["ok"]
        expected = {"prices": None, "trades": None, "charts": "token"}
        answer = await until(gateway, upstream, expected, sid=sid, symbol=SYMBOL)
        assert "1 s late" in answer["prices"]["because"]
        assert answer["facts"]["client"]["delay_s"] == 1


async def test_a_client_that_does_not_read_stops_its_own_updates(gateway: Service, upstream: RedisBus) -> None:
    async with joined(gateway.port, receive_buffer=SMALL_BUFFER) as (socket, sid):
        await subscribe(socket)
        socket.client.stall()
        await feed(upstream, trades=20_000)
        answer = await until(gateway, upstream, dict.fromkeys(KINDS, "connection"), sid=sid, symbol=SYMBOL)
        assert answer["facts"]["subscription"]["trades_kept"] is True
        alone = await path(gateway, sid=sid)
        assert alone["everything"]["stops_at"] == "connection"
        client = alone["facts"]["client"]
        assert client["unsent_bytes"] > 0
        assert client["behind_s"] > 0

        async def owed() -> Any:
            return (await path(gateway, sid=sid, symbol=SYMBOL))["facts"]["subscription"]["trades_owed_from"]

        assert await eventually(owed, "a trade that it has not got")


@pytest.mark.threat("T21")
async def test_a_polling_client_is_found_and_its_secret_is_no_way_to_it(gateway: Service) -> None:
    target = f"{gateway.url}/socket.io/?EIO=4&transport=polling"
    async with http_client() as http:
        async with http.get(target) as opened:
            secret = json.loads((await opened.text())[1:])["sid"]
        poller = Poller(http, target, secret)
        await poller.post("40")
        sid = json.loads((await poller.poll())[0][2:])["sid"]
        answer = await path(gateway, sid=sid)
        assert answer["facts"]["client"]["transport"] == "polling"
        assert answer["everything"]["stops_at"] is None
        assert secret not in json.dumps(answer), "the id of its connection would let another take it over"
        assert (await path(gateway, sid=secret))["status"] == 404


async def test_without_a_client_the_path_ends_at_the_gateway(gateway: Service, upstream: RedisBus) -> None:
    answer = await until(gateway, upstream, dict.fromkeys(KINDS), symbol=SYMBOL)
    assert answer["facts"]["client"] is None


async def test_a_client_of_another_gateway_is_said_to_be_elsewhere(cluster: Cluster, gateway: Service) -> None:
    async with joined(gateway.port) as (_, sid):
        other = await cluster.start("gateway")
        answer = await eventually(lambda: path(other, sid=sid), "the other's report", lambda it: it["others"])
        assert answer["status"] == 404
        assert gateway.instance in {row["gateway"] for row in answer["others"]}
        (ready,) = gateway.lines("ready")
        assert ready["ops_port"] in {row["ops_port"] for row in answer["others"]}
        assert (await path(other, sid="an/engine/id"))["status"] == 400
        await other.stop()


async def test_whoever_stops_first_is_named(own_valkey: EmbeddedValkey, own_bus: RedisBus, tmp_path: Path) -> None:
    with Cluster(own_valkey.url, tmp_path) as cluster:
        gateway, ingest = cluster.launch("gateway"), cluster.launch("price-ingest")
        notifier = await cluster.start("trade-notifier")
        for service in (gateway, ingest):
            await service.logged("ready")
        async with joined(gateway.port) as (socket, sid):
            await subscribe(socket)
            await until(gateway, own_bus, dict.fromkeys(KINDS), sid=sid, symbol=SYMBOL)
            await asyncio.gather(notifier.stop(), asyncio.to_thread(ingest.kill))
            expected = {"prices": "price-ingest", "trades": "trade-notifier", "charts": "price-ingest"}
            await until(gateway, None, expected, sid=sid, symbol=SYMBOL)
            own_valkey.kill()
            answer = await until(gateway, None, dict.fromkeys(KINDS, "redis"), sid=sid, symbol=SYMBOL)
            assert answer["facts"]["subscription"]["price"] == "update", "its own state it tells all the same"
