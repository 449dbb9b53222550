"""A gateway that is told to stop lets its clients go: real processes, real signals, clients on both transports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import pytest_asyncio

from shared.bus.redis_bus import RedisBus
from tests.support.cluster import Cluster, Service
from tests.support.poller import Poller, http_client, polling
from tests.support.waiting import STOP_S, eventually
from tests.support.wire_client import PATH, ask, connect, upgrade_head
from tests.support.wire_socket import WireSocket, joined

BUDGET_S: Final = 5
SYMBOL: Final = "DRAIN-USDT"
RESTARTED: Final = 1012


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    module_cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    await module_cluster.start("price-ingest", "trade-notifier")
    return module_cluster


@pytest_asyncio.fixture
async def gateway(cluster: Cluster) -> AsyncIterator[Service]:
    """One that a test may stop."""
    made = await cluster.start("gateway", DRAIN_SECONDS=str(BUDGET_S))
    yield made
    made.kill()


async def parting(socket: WireSocket) -> tuple[float, int | None]:
    """Hear `drain`, then read until the gateway closes: when that was, and with which code."""
    (told,) = await socket.next("drain")
    assert told == {"deadline_ms": BUDGET_S * 1000, "reason": "stopping"}
    code, _ = await socket.client.ended()
    return asyncio.get_running_loop().time(), code


async def poll_to_the_end(poller: Poller) -> float:
    """Poll on until packet `1`; when it came."""
    while "1" not in await poller.poll():
        pass
    assert poller.named("drain") == [{"deadline_ms": BUDGET_S * 1000, "reason": "stopping"}]
    return asyncio.get_running_loop().time()


async def test_clients_are_told_and_closed_one_by_one_in_the_way_that_brings_them_back(gateway: Service) -> None:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(http_client())
        sockets = [await stack.enter_async_context(joined(gateway.port)) for _ in range(16)]
        pollers = [await polling(http, gateway.url) for _ in range(4)]
        began = asyncio.get_running_loop().time()
        gateway.terminate()
        partings = asyncio.gather(*map(parting, sockets))
        last_polls = await asyncio.gather(*map(poll_to_the_end, pollers))
        closed = await partings
    assert await gateway.ended() == 0
    assert {code for _, code in closed} == {RESTARTED}
    times = sorted([at - began for at, _ in closed] + [at - began for at in last_polls])
    assert times[-1] - times[0] > 0.25 * BUDGET_S, "they are spread, not closed at once"
    assert times[len(times) // 2] > 0.2 * BUDGET_S, "not nearly all at the beginning either"
    drained = await gateway.logged("drained")
    assert (drained["clients"], drained["clients_left"]) == (20, 0)


async def test_a_client_between_two_polls_is_told_goodbye_by_its_next_one_on_a_new_connection(gateway: Service) -> None:
    async with http_client() as http:
        poller = await polling(http, gateway.url)
        gateway.terminate()
        await gateway.logged("draining")
        await eventually(lambda: _open_clients(gateway), "its turn comes", lambda number: number == 0)
    async with http_client() as http:  # the former TCP connection is gone: the port still listens
        again = Poller(http, f"{gateway.url}/socket.io/?EIO=4&transport=polling", poller.sid)
        packets = [await again.poll(), await again.poll()]
    assert packets[-1] == ["1"], packets
    assert again.named("drain") != []
    assert await gateway.ended() == 0


async def test_a_client_in_the_middle_of_an_upgrade_is_let_finish_it(gateway: Service) -> None:
    async with http_client() as http:
        poller = await polling(http, gateway.url)
        async with await connect(gateway.port, f"{PATH}&sid={poller.sid}", opens=False) as probe:
            probe.text("2probe")
            pong = await probe.receive()
            assert pong is not None
            assert pong.payload == b"3probe"
            gateway.terminate()
            await gateway.logged("draining")
            await asyncio.sleep(0.6 * BUDGET_S)  # its turn is over
            probe.text("5")
            assert await probe.ended() == (RESTARTED, True)
    assert await gateway.ended() == 0


async def test_who_never_reads_does_not_keep_the_gateway(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", DRAIN_SECONDS="1")
    async with http_client() as http, joined(gateway.port) as stalled:
        await polling(http, gateway.url)
        stalled.client.stall()
        assert await gateway.stop() == 0
    drained = await gateway.logged("drained")
    assert 1 <= drained["took_s"] < 1 + STOP_S
    assert not gateway.lines("stop_deadline_passed")


async def test_who_waits_for_its_turn_is_served_on_new_clients_are_not_and_a_second_signal_ends_it(
    cluster: Cluster, upstream: RedisBus
) -> None:
    gateway = await cluster.start("gateway", DRAIN_SECONDS="3000")
    async with joined(gateway.port) as one, joined(gateway.port) as other:
        gateway.terminate()
        await one.next("drain")
        reply = await ask(gateway.port, upgrade_head())
        assert (reply.status, reply.body) == (503, "stopping")
        assert (await gateway.ask("/readyz"))[0] == 503
        assert (await gateway.scrape())["tickwire_draining"] == 1
        assert (await one.call("subscribe:trades", SYMBOL))["ok"]
        trade = {"id": "1", "symbol": SYMBOL, "amount": "1", "price": "2"}
        await upstream.append("feed:trades", [trade], 1000)
        assert (await one.next("trade:new"))[0]["id"] == "1"
        gateway.terminate()
        assert [await socket.client.ended() for socket in (one, other)] == [(RESTARTED, True)] * 2
        assert await gateway.ended() == 0
    assert gateway.lines("stop_hurried")
    assert (await gateway.logged("drained"))["clients_left"] == 2


async def _open_clients(gateway: Service) -> float:
    figures = await gateway.scrape()
    return sum(value for name, value in figures.items() if name.startswith("websocket_connections"))
