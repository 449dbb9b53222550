"""Long-polling at a real gateway, beside WebSockets with and without compression, in the same rooms."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from services.launcher.embedded_valkey import EmbeddedValkey
from tests.support.bystander import beside
from tests.support.cluster import Cluster, Service
from tests.support.poller import Poller, http_client, polling
from tests.support.redis_cli import redis_cli
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.wire_client import PATH, ask

TRADES = 60
SYMBOL = "POLL-USDT"
SETTINGS = {"STICKY_COOKIE": "route", "PERMESSAGE_DEFLATE": "true", "MAX_PAYLOAD_BYTES": "2000"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    await module_cluster.start("gateway", "price-ingest", "trade-notifier", **SETTINGS)
    return module_cluster


@asynccontextmanager
async def websocket(gateway: Service, compression: str | None) -> AsyncIterator[ClientConnection]:
    """A client that has subscribed to the trades."""
    url = f"ws://127.0.0.1:{gateway.port}{PATH}"
    async with connect(url, compression=compression) as client:
        negotiated = client.response is not None and "Sec-WebSocket-Extensions" in client.response.headers
        assert negotiated == (compression is not None)
        await client.send("40")
        await client.send(f'420["subscribe:trades","{SYMBOL}"]')
        while not str(await client.recv()).startswith("430"):
            pass
        yield client


async def heard(client: ClientConnection) -> list[str]:
    """The ids of all trades, as they come."""
    ids: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(ids) < TRADES:
            message = str(await client.recv())
            if message.startswith('42["trade:new"'):
                ids.append(json.loads(message[2:])[1]["id"])
    return ids


async def polled(poller: Poller) -> list[str]:
    """The same, by polling."""
    async with asyncio.timeout(PATIENCE_S):
        while len(poller.named("trade:new")) < TRADES:
            await poller.poll()
    return [trade["id"] for trade in poller.named("trade:new")]


async def test_everybody_in_a_room_gets_every_trade_in_order_however_it_travels(
    gateway: Service, valkey: EmbeddedValkey
) -> None:
    async with (
        http_client() as http,
        websocket(gateway, "deflate") as packed,
        websocket(gateway, None) as plain,
    ):
        poller = await polling(http, gateway.url)
        await poller.emit("subscribe:trades", SYMBOL)
        before = await gateway.scrape()
        assert before['websocket_connections{transport="polling"}'] == 1
        assert before['websocket_connections{transport="websocket"}'] == 2
        for number in range(TRADES):
            fields = f"id p{number} symbol {SYMBOL} amount 1 price 2 side buy ts 1763800000000"
            redis_cli(valkey.url, f"XADD feed:trades * {fields}")
        expected = [f"p{number}" for number in range(TRADES)]
        for ids in await asyncio.gather(heard(packed), heard(plain), polled(poller)):
            assert ids == expected


async def test_the_handshake_sets_the_sticky_cookie_and_nothing_else_does(gateway: Service) -> None:
    async with http_client() as http, http.get(gateway.url + PATH.replace("websocket", "polling")) as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
        assert answer.headers["Set-Cookie"] == f"route={sid}; Path=/; HttpOnly; SameSite=Lax"
        async with http.post(f"{answer.url}&sid={sid}", data=b"40") as posted:
            assert "Set-Cookie" not in posted.headers


async def test_a_post_that_is_too_large_is_told_so_while_it_is_still_being_sent(
    gateway: Service, valkey: EmbeddedValkey
) -> None:
    async with beside(gateway.port, valkey.url), http_client() as http:
        poller = await polling(http, gateway.url)
        target = poller._url.removeprefix(gateway.url)
        head = f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n4".encode()
        reply = await ask(gateway.port, head + b"x" * 200_000)
        assert (reply.status, reply.body) == (413, "")
        await poller.emit("subscribe:price", SYMBOL)
        async with asyncio.timeout(PATIENCE_S):
            while not any(packet.startswith("42") for packet in await poller.poll()):
                pass


async def test_a_client_that_cancels_its_poll_is_gone_and_nobody_else_notices(
    gateway: Service, valkey: EmbeddedValkey
) -> None:
    async with beside(gateway.port, valkey.url), http_client() as http:
        poller = await polling(http, gateway.url)
        limit = aiohttp.ClientTimeout(total=PATIENCE_S, sock_read=0.2)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    async with http.get(poller._url, timeout=limit) as answer:
                        await answer.read()
        except TimeoutError:
            pass

        async def answer_of_a_poll() -> int:
            return await poller.status()

        assert await answer_of_a_poll() == 400


async def test_a_gateway_that_stops_says_goodbye_to_those_who_poll(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", **SETTINGS)
    async with http_client() as http:
        poller = await polling(http, gateway.url)
        async with asyncio.timeout(PATIENCE_S), http.get(poller._url) as first:
            await first.read()
        gateway.terminate()
        async with asyncio.timeout(PATIENCE_S):
            packets: list[str] = []
            while "1" not in packets:
                packets = await poller.poll()
        assert await gateway.ended() == 0
    await eventually(lambda: gateway.process.poll() is not None, "it has ended")
