"""Limits by address at a real gateway: whose they are, that they hold, that others are let in, that they end."""

import pytest
import pytest_asyncio

from services.launcher.leash import python_module
from services.launcher.ports import free_port
from tests.support.cluster import Cluster, Service
from tests.support.hostile import OK, SWITCHED, admits, clients, closed, handshake, refused, sockets
from tests.support.waiting import eventually
from tests.support.wire_socket import joined

PROXY = "127.0.7.1"
ADDRESS_FULL = "too many clients from this address"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    module_cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    limits = {"TRUSTED_PROXIES": "127.0.7.0/24", "MAX_CONNECTIONS_PER_IP": "3", "MAX_ACCEPTS_PER_IP": "0"}
    await module_cluster.start("gateway", **limits)
    return module_cluster


@pytest.mark.threat("T31")
async def test_an_address_has_its_number_of_clients_and_others_have_theirs(gateway: Service) -> None:
    before = await refused(gateway, ADDRESS_FULL)
    async with clients(gateway.port, 3, "127.0.1.1") as held:
        assert [one.status for one in held] == [SWITCHED] * 3
        for polls in (False, True):
            fourth = await handshake(gateway.port, "127.0.1.1", polls=polls)
            assert (fourth.status, fourth.body) == (429, ADDRESS_FULL)
        assert await admits(gateway.port, "127.0.1.2")
        assert await refused(gateway, ADDRESS_FULL) == before + 2
        held[0].writer.transport.abort()
        await eventually(lambda: admits(gateway.port, "127.0.1.1"), "its place is free again")


@pytest.mark.threat("T31")
async def test_a_client_that_polls_counts_once_over_many_tcp_connections(gateway: Service) -> None:
    opened = [await handshake(gateway.port, "127.0.1.3", polls=True) for _ in range(3)]
    assert [one.status for one in opened] == [OK] * 3
    assert (await handshake(gateway.port, "127.0.1.3", polls=True)).status == 429


@pytest.mark.threat("T24")
async def test_a_forged_header_from_a_direct_peer_changes_nothing(gateway: Service) -> None:
    statuses = []
    async with clients(gateway.port, 0) as held:
        for number in range(5):
            held.append(await handshake(gateway.port, "127.0.1.4", {"X-Forwarded-For": f"198.51.100.{number}"}))
            statuses.append(held[-1].status)
    assert statuses == [SWITCHED] * 3 + [429] * 2


@pytest.mark.threat("T24")
async def test_behind_a_trusted_proxy_a_client_is_the_rightmost_hop_that_is_none(gateway: Service) -> None:
    """What a client writes on the left of what the proxy appends is not believed; IPv6 counts by its /64."""
    async with clients(gateway.port, 0) as held:
        for number in range(4):
            spoofed = {"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.5, 127.0.7.9"}
            held.append(await handshake(gateway.port, PROXY, spoofed))
        assert [one.status for one in held] == [SWITCHED] * 3 + [429]
        assert await admits(gateway.port, PROXY, {"X-Forwarded-For": "203.0.113.6"})
        for number in range(4):
            held.append(await handshake(gateway.port, PROXY, {"X-Forwarded-For": f"2001:db8::{number}:1"}))
        assert [one.status for one in held[4:]] == [SWITCHED] * 3 + [429]
        assert await admits(gateway.port, PROXY, {"X-Forwarded-For": "2001:db8:0:1::1"})


@pytest.mark.threat("T31")
async def test_tcp_connections_of_one_address_that_say_nothing_are_few(gateway: Service) -> None:
    async with sockets(gateway.port, 20, source="127.0.1.6") as silent:
        await eventually(lambda: closed(silent), "all over twice its number are dropped", lambda count: count == 14)
        assert await admits(gateway.port, "127.0.1.7")
        assert not await admits(gateway.port, "127.0.1.6")
    await eventually(lambda: admits(gateway.port, "127.0.1.6"), "its places are free again")


@pytest.mark.threat("T31")
async def test_an_address_that_comes_too_fast_is_told_so_and_others_come_in(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", MAX_ACCEPTS_PER_IP="5", TRUSTED_PROXIES="")
    async with clients(gateway.port, 40, "127.0.1.8") as tried:
        statuses = [one.status for one in tried]
        assert set(statuses) == {SWITCHED, 429}
        assert 5 <= statuses.count(SWITCHED) < 30
        assert await admits(gateway.port, "127.0.1.9")
    await eventually(lambda: admits(gateway.port, "127.0.1.8"), "its rate recovers")


@pytest.mark.threat("T31")
async def test_a_gateway_that_runs_out_of_files_keeps_its_clients_and_recovers(cluster: Cluster) -> None:
    """256 file descriptors: new connections are dropped, those that are there live, and no turn of the loop spins."""
    port = str(free_port())
    shell = ["/bin/sh", "-c", "ulimit -n 256; exec " + " ".join(python_module("services.gateway"))]
    gateway = cluster.run("gateway", shell, GATEWAY_PORT=port, MAX_HALF_OPEN="0")
    await gateway.logged("ready")
    told = await gateway.logged("connections_limited_by_files")
    assert (told["open_files"], told["connections"]) == (256, 204)
    async with joined(gateway.port) as kept:
        async with sockets(gateway.port, 400) as flood:
            await eventually(lambda: closed(flood), "what is too much is dropped", lambda count: count >= 190)
            assert await refused(gateway, "too many TCP connections") >= 190, "it can still open files of its own"
            before = gateway.cpu_seconds()
            assert (await kept.call("subscribe:trades", "BTC-USDT"))["ok"]
            assert gateway.cpu_seconds() - before < 0.5
        await eventually(lambda: admits(gateway.port), "others come in when the flood is over")
        assert (await kept.call("subscribe:trades", "ETH-USDT"))["ok"]
