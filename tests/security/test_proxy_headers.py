"""The PROXY protocol at a real gateway: from trusted proxies alone, whole, in time, and for limits only."""

import asyncio
import struct

import pytest
import pytest_asyncio

from services.gateway.proxy_protocol import V2_SIGNATURE
from tests.support.cluster import Cluster, Service
from tests.support.hostile import OK, SWITCHED, clients, closed, dial, handshake, polling_head, refused, sockets
from tests.support.waiting import eventually

PROXY = "127.0.7.1"
HEAD_TIMEOUT_S = 1.0
NO_HEADER = "no PROXY header from a trusted proxy"

pytestmark = pytest.mark.threat("T24")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    module_cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    await module_cluster.start(
        "gateway",
        PROXY_PROTOCOL="true",
        TRUSTED_PROXIES="127.0.7.0/24",
        MAX_CONNECTIONS_PER_IP="2",
        MAX_ACCEPTS_PER_IP="0",
        HANDSHAKE_TIMEOUT_MS=str(int(HEAD_TIMEOUT_S * 1000)),
    )
    return module_cluster


def v1(source: str) -> bytes:
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {source} 4711 8080\r\n".encode()


def v2(kind: int, family: int, body: bytes) -> bytes:
    return V2_SIGNATURE + struct.pack("!BBH", kind, family, len(body)) + body


IPV4 = bytes([203, 0, 113, 50, 192, 0, 2, 1, 18, 103, 31, 144])


@pytest.mark.parametrize(
    "header",
    [v1("203.0.113.20"), v1("2001:db8:7::1"), v2(0x21, 0x11, IPV4), v2(0x21, 0x11, IPV4 + b"\x04\x00\x01\x00")],
)
async def test_the_client_that_the_header_names_has_its_number_of_connections(gateway: Service, header: bytes) -> None:
    async with clients(gateway.port, 0) as held:
        for _ in range(3):
            held += [await handshake(gateway.port, PROXY, before=header)]
        assert [one.status for one in held] == [SWITCHED] * 2 + [429]
        held += [await handshake(gateway.port, PROXY, before=v1("203.0.113.99"))]
        assert held[-1].status == SWITCHED


@pytest.mark.parametrize("header", [v2(0x20, 0x00, b""), b"PROXY UNKNOWN\r\n"])
async def test_a_proxy_that_speaks_for_itself_is_let_in(gateway: Service, header: bytes) -> None:
    answers = [await handshake(gateway.port, PROXY, before=header, polls=True) for _ in range(5)]
    assert [one.status for one in answers] == [OK] * 5


@pytest.mark.parametrize(
    ("source", "before"),
    [
        (PROXY, b""),
        (PROXY, b"\r\n"),
        (PROXY, b"PROXY TCP4 203.0.113.20\r\n"),
        (PROXY, b"PROXY TCP4 not-an-address 1.1.1.1 1 2\r\n"),
        (PROXY, b"PROXY UNKNOWN" + b"x" * 200 + b"\r\n"),
        (PROXY, v2(0x21, 0x11, bytes(2_000))),
        (PROXY, v2(0x21, 0x31, bytes(216))),
        ("127.0.1.1", v1("203.0.113.21")),
        ("127.0.1.1", v2(0x20, 0x00, b"")),
    ],
)
async def test_a_connection_without_a_header_of_a_trusted_proxy_is_dropped_without_an_answer(
    gateway: Service, source: str, before: bytes
) -> None:
    counted = await refused(gateway, NO_HEADER)
    assert (await handshake(gateway.port, source, before=before)).status == 0
    assert await refused(gateway, NO_HEADER) == counted + 1


async def test_a_header_that_drips_is_not_waited_for_longer_than_a_request_head(gateway: Service) -> None:
    began = asyncio.get_running_loop().time()
    async with sockets(gateway.port, 20, v1("203.0.113.22")[:10], source=PROXY) as dripping:
        await eventually(lambda: closed(dripping), "all are closed", lambda count: count == 20)
    assert asyncio.get_running_loop().time() - began < HEAD_TIMEOUT_S + 5


async def test_a_header_and_its_request_byte_by_byte_are_a_request(gateway: Service) -> None:
    reader, writer = await dial(gateway.port, PROXY)
    for byte in v1("203.0.113.23") + polling_head():
        writer.write(bytes((byte,)))
        await writer.drain()
    assert b" 200 " in await reader.readline()
    writer.transport.abort()


async def test_what_the_named_client_forwards_is_not_believed(gateway: Service) -> None:
    async with clients(gateway.port, 0) as held:
        for number in range(3):
            forged = {"X-Forwarded-For": f"198.51.100.{number}"}
            held += [await handshake(gateway.port, PROXY, forged, before=v1("203.0.113.24"))]
        assert [one.status for one in held] == [SWITCHED] * 2 + [429]


async def test_a_gateway_that_trusts_nobody_does_not_start(cluster: Cluster) -> None:
    gateway = cluster.launch("gateway", PROXY_PROTOCOL="true")
    assert await gateway.ended() == 2
    assert "PROXY_PROTOCOL: needs TRUSTED_PROXIES" in gateway.tail()
