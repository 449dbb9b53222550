"""The cluster of docker-compose.yml: healthy, hardened, of use to every stock client, seen by Prometheus."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from tests.containers.stack import Stack
from tests.support.mode_clients import (
    DEFAULT,
    ONLY_POLLING,
    ONLY_WEBSOCKET,
    Mode,
    ModeClients,
    cases,
    mode_clients,
)
from tests.support.poller import http_client
from tests.support.redis_cli import redis_cli
from tests.support.stock_clients import need_node
from tests.support.waiting import eventually

OURS: Final = ("gateway", "price-ingest", "trade-notifier", "metrics")
COOKIES: Final = {"withCredentials": True}
"""Node's client, like a browser's, sends cookies only when it is told to; python-socketio always does."""

SCRAPED_S: Final = 60.0
_numbers: Final = count(1)


@pytest.fixture
async def clients() -> AsyncIterator[ModeClients]:
    need_node()
    async with mode_clients() as made:
        yield made


def test_every_container_is_healthy(stack: Stack) -> None:
    said = [json.loads(line) for line in stack.compose("ps", "--all", "--format", "json").splitlines()]
    assert Counter(one["Service"] for one in said) == Counter((*OURS, "gateway", "gateway", "redis", "edge"))
    assert {(one["Name"], one["Health"]) for one in said if one["Health"] != "healthy"} == set()


@pytest.mark.parametrize("service", [*OURS, "redis", "edge"])
def test_no_container_may_do_more_than_it_must(stack: Stack, service: str) -> None:
    for name in stack.containers(service):
        about = stack.inspect(name)
        host = about["HostConfig"]
        assert (host["ReadonlyRootfs"], host["Privileged"]) == (True, False)
        assert host["Memory"] > 0
        assert (host["CapDrop"], host["CapAdd"] or []) == (["ALL"], [])
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{about['State']['Pid']}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert "0" not in status["Uid"].split()
        assert {int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        if service in OURS:
            assert set(status["Uid"].split() + status["Gid"].split()) == {"10001"}


@pytest.mark.parametrize("mode", [DEFAULT, ONLY_POLLING, ONLY_WEBSOCKET], ids=lambda mode: mode.name)
async def test_every_client_gets_prices_and_trades_through_the_edge(
    clients: ModeClients, stack: Stack, mode: Mode
) -> None:
    symbol = f"COMPOSE{next(_numbers)}-USDT"
    redis_cli(stack.redis_url, f"XADD feed:prices * symbol {symbol} price 1.5")
    everyone = await clients.all_connected(cases(mode) * 3, stack.url, **COOKIES)
    for client in everyone:
        assert (await client.ask("subscribe:trades", symbol))["ok"]
        await client.ask("subscribe:price", symbol)
    for number in range(1, 6):
        redis_cli(stack.redis_url, f"XADD feed:trades * id {number} symbol {symbol} amount 1 price {number}")
    for client in everyone:
        assert [(await client.event("trade:new"))[0]["id"] for _ in range(5)] == ["1", "2", "3", "4", "5"]
        while (await client.event("price:update"))[0]["price"] != 5:
            pass
        assert client.lives("disconnect") == 0
    at = {(await client.event("hello"))[0]["gateway"] for client in everyone}
    assert len(at) > 1, at  # twelve go to the fewest: they spread


async def test_a_handshake_goes_to_any_gateway_whatever_cookie_it_brings(stack: Stack) -> None:
    """Else a client that a stopping gateway lets go would be led back to it, until it is gone."""
    named: set[str] = set()
    async with http_client() as http:
        for _ in range(9):
            headers = {"Cookie": next(iter(named), "")}
            async with http.get(f"{stack.url}/socket.io/?EIO=4&transport=polling", headers=headers) as answer:
                assert answer.status == 200
                named.add(answer.headers["Set-Cookie"].partition(";")[0])
            http.cookie_jar.clear()
    assert len(named) == 3, named


async def test_the_demo_feed_is_a_market(clients: ModeClients, stack: Stack) -> None:
    stack.up("feed")
    try:
        client = await clients.connected(cases(ONLY_WEBSOCKET)[0], stack.url)
        assert (await client.ask("subscribe:trades", "BTC-USDT"))["ok"]
        assert (await client.event("trade:new"))[0]["symbol"] == "BTC-USDT"
    finally:
        stack.compose("rm", "--stop", "--force", "feed")


async def test_prometheus_sees_every_container_and_loads_every_rule(stack: Stack) -> None:
    stack.up("prometheus")
    root = f"http://127.0.0.1:{stack.ports['PROMETHEUS_PORT']}/api/v1"
    try:
        async with http_client() as http:

            async def ask(what: str) -> Any:
                async with http.get(f"{root}/{what}") as answer:
                    return (await answer.json())["data"]

            async def up() -> Counter[str]:
                targets = (await ask("targets"))["activeTargets"]
                return Counter(one["labels"]["service"] for one in targets if one["health"] == "up")

            wanted = Counter((*OURS, "gateway", "gateway"))
            await eventually(up, "every container is scraped", lambda seen: seen == wanted, patience=SCRAPED_S)
            rules = [rule for group in (await ask("rules"))["groups"] for rule in group["rules"]]
            assert len(rules) > 5
            await eventually(
                lambda: _unhealthy(ask), "rules that were not evaluated", lambda seen: not seen, patience=SCRAPED_S
            )
    finally:
        stack.compose("rm", "--stop", "--force", "prometheus")


async def _unhealthy(ask: Any) -> list[str]:
    groups = (await ask("rules"))["groups"]
    return [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]


def test_the_files_of_every_profile_are_there(stack: Stack) -> None:
    configured = json.loads(stack.compose("--profile", "*", "config", "--format", "json"))
    mounts = [mount for one in configured["services"].values() for mount in one.get("volumes", [])]
    files = [Path(mount["source"]) for mount in mounts if mount["type"] == "bind"]
    missing = {file.name for file in files if not file.is_file()}
    assert len(files) >= 6
    assert missing == set()


async def test_while_redis_does_not_answer_nobody_new_is_let_in_and_then_all_heals(
    clients: ModeClients, stack: Stack
) -> None:
    symbol = "PAUSED-USDT"
    gateways = stack.containers("gateway")
    (redis,) = stack.containers("redis")
    client = await clients.connected(cases(ONLY_WEBSOCKET)[0], stack.url)
    assert (await client.ask("subscribe:trades", symbol))["ok"]
    stack.engine.docker("pause", redis)
    try:
        await eventually(
            lambda: [stack.readiness(name) for name in gateways],
            "what gateways say of themselves",
            lambda seen: seen == [503] * len(gateways),
        )
        await eventually(lambda: _handshake(stack), "a new client is turned away", lambda status: status == 503)
        assert client.lives("disconnect") == 0
    finally:
        stack.engine.docker("unpause", redis)
    await stack.healthy(*gateways)
    await eventually(lambda: _handshake(stack), "a new client is let in", lambda status: status == 200)
    redis_cli(stack.redis_url, f"XADD feed:trades * id 1 symbol {symbol} amount 1 price 1")
    assert (await client.event("trade:new"))[0]["id"] == "1"
    assert client.lives("disconnect") == 0
    restarts = [(await asyncio.to_thread(stack.inspect, name))["RestartCount"] for name in gateways]
    assert restarts == [0, 0, 0]


async def _handshake(stack: Stack) -> int:
    async with http_client() as http, http.get(f"{stack.url}/socket.io/?EIO=4&transport=polling") as answer:
        return answer.status
