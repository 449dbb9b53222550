"""The life of a token as the stock client sees it: replaced in place, replaced on the way back, or over."""

import asyncio

import pytest

from shared.clock import SystemClock
from tests.support.cluster import Cluster, Service, token
from tests.support.stock_clients import Clients, Kind

pytestmark = pytest.mark.interop

KINDS = pytest.mark.parametrize("kind", ["js-json", "js-msgpack"])


@pytest.fixture
async def gateway(module_cluster: Cluster) -> Service:
    """Its connections outlive their tokens by a second."""
    if not module_cluster.services:
        await module_cluster.start("gateway", AUTH_GRACE_MS="1000")
    return module_cluster.services[0]


def make(lifetime_s: int) -> str:
    return token("alice", now_ms=SystemClock().now_ms(), lifetime_s=lifetime_s)


@KINDS
@pytest.mark.threat("T20")
async def test_an_expired_token_brings_the_client_back_with_a_new_one_and_nothing_is_lost(
    gateway: Service, clients: Clients, kind: Kind
) -> None:
    client = await clients.make(kind)
    await client.connect(gateway.url, {"$turns": [{"token": make(5)}, {"token": make(3600)}]})
    assert await client.life("connect") == [False]
    assert (await client.ask("subscribe:trades", "BTC-USDT"))["ok"]
    assert (await client.event("auth:expiring"))[0]["exp"]
    await client.event("auth:expired")
    assert await client.life("disconnect") == ["transport close"]
    assert await client.life("connect") == [True], "recovered"
    first, second = await client.event("authenticated"), await client.event("authenticated")
    assert second[0]["exp"] > first[0]["exp"] + 3000


@KINDS
@pytest.mark.threat("T20")
async def test_a_dead_token_ends_in_one_refusal_and_no_loop(gateway: Service, clients: Clients, kind: Kind) -> None:
    client = await clients.make(kind)
    await client.connect(gateway.url, {"token": make(1)})
    assert await client.life("connect") == [False]
    await client.life("disconnect")
    message, data, active = await client.life("connect_error")
    assert (message, data["reason"], active) == ("Authentication failed", "expired", False)
    await asyncio.sleep(1.5)  # longer than the stock client's first back-off
    assert client.lives("connect") == client.lives("connect_error") == 0


@KINDS
async def test_a_token_replaced_in_time_leaves_the_connection_as_it_is(
    gateway: Service, clients: Clients, kind: Kind
) -> None:
    client = await clients.make(kind)
    await client.connect(gateway.url, {"token": make(5)})
    await client.event("auth:expiring")
    answer = await client.ask("auth:refresh", make(3600))
    assert answer["ok"]
    assert answer["unsubscribed"] == []
    await asyncio.sleep(5)  # past the end of the first token and its grace
    assert client.lives("disconnect") == 0
    assert (await client.ask("subscribe:trades", "BTC-USDT"))["ok"]
