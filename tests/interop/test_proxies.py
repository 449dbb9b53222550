"""Two gateways behind a real nginx and a real HAProxy, configured as `deploy/edge` documents it, with real clients."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import web

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.names import metrics
from tests.support.cluster import Cluster, Service
from tests.support.edge import NAMES, Backend, Name, checked, edge
from tests.support.mode_clients import (
    DEFAULT,
    ONLY_POLLING,
    ONLY_WEBSOCKET,
    Mode,
    ModeClients,
    cases,
    mode_clients,
)
from tests.support.poller import http_client, polling
from tests.support.redis_cli import redis_cli
from tests.support.stock_clients import need_node
from tests.support.waiting import eventually

pytestmark = pytest.mark.interop

COOKIES: Final = {"withCredentials": True}
"""Node's client, like a browser's, sends cookies only when it is told to; python-socketio always does."""

MODES: Final = (DEFAULT, ONLY_POLLING, ONLY_WEBSOCKET)
CLIENTS: Final = 12
_numbers: Final = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(module_cluster: Cluster) -> list[Service]:
    """Two, and the services that feed them."""
    await module_cluster.start("gateway", "gateway", "price-ingest", "trade-notifier")
    return module_cluster.services[:2]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=NAMES)
async def proxy(
    request: pytest.FixtureRequest, gateways: list[Service], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Each proxy in turn: where clients connect. By name: clients built on aiohttp drop the cookies of IP addresses."""
    directory = tmp_path_factory.mktemp("edge")
    async with edge(request.param, [Backend.of(gateway) for gateway in gateways], directory) as port:
        yield f"http://localhost:{port}"


@pytest.fixture
async def clients() -> AsyncIterator[ModeClients]:
    need_node()
    async with mode_clients() as made:
        yield made


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
async def test_every_client_works_and_they_spread_over_both_gateways(
    clients: ModeClients, proxy: str, mode: Mode, valkey: EmbeddedValkey
) -> None:
    symbol = f"EDGE{next(_numbers)}-USDT"
    redis_cli(valkey.url, f"XADD feed:prices * symbol {symbol} price 1.5")
    everyone = await clients.all_connected((cases(mode) * CLIENTS)[:CLIENTS], proxy, **COOKIES)
    for client in everyone:
        assert (await client.ask("subscribe:trades", [symbol, b"\x00"]))["results"][0]["ok"]
        await client.ask("subscribe:price", symbol)
    for number in range(1, 6):
        redis_cli(valkey.url, f"XADD feed:trades * id {number} symbol {symbol} amount 1 price {number}")
    for client in everyone:
        assert [(await client.event("trade:new"))[0]["id"] for _ in range(5)] == ["1", "2", "3", "4", "5"]
        while (await client.event("price:update"))[0]["price"] != 5:
            pass
        assert client.lives("disconnect") == 0
    at = Counter([(await client.event("hello"))[0]["gateway"] for client in everyone])
    assert len(at) == 2, at


async def test_round_robin_without_stickiness_fails_clients_that_begin_with_polling(
    clients: ModeClients, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    with Cluster(valkey.url, tmp_path) as cluster:
        await cluster.start("gateway", "gateway")
        backends = [Backend.of(gateway) for gateway in cluster.services]
        async with edge("nginx", backends, tmp_path, _without_affinity) as port:
            url = f"http://localhost:{port}"
            client = await clients.make("js-json")
            await client.connect(url, **{**DEFAULT.options, **COOKIES})
            for _ in range(2):
                await client.event("transport")  # opened, then sent to the other gateway, and again
            assert client.lives("connect") == 0
            await client.disconnect()
            await clients.all_connected(cases(ONLY_WEBSOCKET), url)


@pytest.mark.parametrize("name", NAMES)
async def test_clients_of_a_killed_gateway_come_back_to_the_other(
    clients: ModeClients, valkey: EmbeddedValkey, tmp_path: Path, name: Name
) -> None:
    with Cluster(valkey.url, tmp_path) as cluster:
        await cluster.start("gateway", "gateway")
        killed, left = cluster.services
        async with edge(name, [Backend.of(killed), Backend.of(left)], tmp_path) as port:
            mixed = [case for mode in MODES for case in cases(mode)]
            everyone = await clients.all_connected(mixed, f"http://localhost:{port}", **COOKIES)
            at = [(await client.event("hello"))[0]["gateway"] for client in everyone]
            assert set(at) == {killed.instance, left.instance}
            killed.kill()
            for client, gateway in zip(everyone, at, strict=True):
                if gateway == killed.instance:
                    await client.life("connect")
                    assert (await client.event("hello"))[0]["gateway"] == left.instance
                assert (await client.ask("subscribe:trades", "BTC-USDT"))["ok"]
                assert client.lives("disconnect") == (gateway == killed.instance)


@pytest.mark.parametrize("name", NAMES)
async def test_a_poll_whose_client_left_ends_at_the_gateway(valkey: EmbeddedValkey, tmp_path: Path, name: Name) -> None:
    with Cluster(valkey.url, tmp_path) as cluster:  # of its own: clients of other tests may end at ping timeout only
        gateway = await cluster.start("gateway")

        async def connections() -> float:
            figures = await gateway.scrape()
            return sum(value for series, value in figures.items() if series.startswith("websocket_connections"))

        async with edge(name, [Backend.of(gateway)] * 2, tmp_path) as port, http_client() as http:
            poller = await polling(http, f"http://localhost:{port}")
            assert await connections() == 1
            with suppress(TimeoutError):
                async with asyncio.timeout(0.3):  # long enough to be parked; nothing comes, so the request is cancelled
                    while True:
                        await poller.poll()
            await eventually(connections, "the gateway notices, long before a ping timeout", lambda number: number == 0)


@pytest.mark.parametrize("name", NAMES)
async def test_what_a_client_says_about_its_address_is_not_passed_on(tmp_path: Path, name: Name) -> None:
    claims = {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Forwarded-Host": "x"}
    async with (
        _mirror() as mirror,
        edge(name, [mirror, mirror], tmp_path) as port,
        http_client() as http,
        http.get(f"http://127.0.0.1:{port}/socket.io/", headers=claims) as answer,
    ):
        seen = await answer.json()
    assert {field: seen.get(field) for field in claims} == {
        "X-Forwarded-For": ["127.0.0.1"],
        "X-Real-IP": None,
        "Forwarded": None,
        "X-Forwarded-Host": None,
    }
    assert seen["X-Forwarded-Proto"] == ["http"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_client_that_comes_back_may_go_anywhere_whatever_its_cookie_says(
    valkey: EmbeddedValkey, tmp_path: Path, name: Name
) -> None:
    with Cluster(valkey.url, tmp_path) as cluster:
        await cluster.start("gateway", "gateway")
        backends = [Backend.of(gateway) for gateway in cluster.services]
        async with edge(name, backends, tmp_path) as port, http_client() as http:
            for _ in range(2 * CLIENTS):
                await polling(http, f"http://localhost:{port}")  # with the cookie of the session before
        accepted = [(await gateway.scrape())[metrics.ACCEPTED.name] for gateway in cluster.services]
    assert min(accepted) > 0, accepted
    assert sum(accepted) == 2 * CLIENTS


@pytest.mark.parametrize("name", ["haproxy", "envoy"])
async def test_whom_a_full_gateway_refuses_gets_another_at_once(
    valkey: EmbeddedValkey, tmp_path: Path, name: Name
) -> None:
    with Cluster(valkey.url, tmp_path) as cluster:
        full = await cluster.start("gateway", MAX_CONNECTIONS="1")
        await cluster.start("gateway")
        backends = [Backend.of(gateway) for gateway in cluster.services]
        async with edge(name, backends, tmp_path) as port:
            for _ in range(2 * CLIENTS):
                async with http_client() as http:
                    await polling(http, f"http://localhost:{port}")
        refused = f'{metrics.REFUSED.name}{{reason="full"}}'
        assert (await full.scrape())[refused] > 0, "it was never asked"


@pytest.mark.parametrize("name", NAMES)
def test_the_documented_file_is_accepted_without_a_warning(tmp_path: Path, name: Name) -> None:
    done = checked(name, [Backend(8081, 9091), Backend(8082, 9092)], tmp_path)
    assert (done.returncode, "warn" in (done.stdout + done.stderr).lower()) == (0, False), done.stderr


def _without_affinity(text: str) -> str:
    """nginx as it is without stickiness: round robin."""
    changed = text.replace("hash $affinity consistent;", "")
    assert changed != text
    return changed


@asynccontextmanager
async def _mirror() -> AsyncIterator[Backend]:
    """A server that answers every request with its headers, as JSON: name -> values."""

    async def show(request: web.Request) -> web.Response:
        return web.json_response({name: request.headers.getall(name) for name in request.headers})

    app = web.Application()
    app.router.add_get("/{path:.*}", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        yield Backend(port, port)
    finally:
        await runner.cleanup()
