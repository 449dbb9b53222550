"""Requests that do not become a client, at a real gateway: each gets its documented answer and harms nobody."""

import asyncio
from typing import NamedTuple

import pytest
import pytest_asyncio

from services.launcher.embedded_valkey import EmbeddedValkey
from tests.support.bystander import beside
from tests.support.cluster import Cluster, Service
from tests.support.waiting import eventually
from tests.support.wire_client import PATH, Reply, ask, connect, upgrade_head

ORIGIN = "https://app.example"
HEAD_TIMEOUT_MS = 500


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    settings = {"ALLOWED_ORIGINS": ORIGIN, "HANDSHAKE_TIMEOUT_MS": str(HEAD_TIMEOUT_MS)}
    await module_cluster.start("gateway", "price-ingest", **settings)
    return module_cluster


class Refusal(NamedTuple):
    """A request and its answer: status, and what the body says; with a `code`, the body is Engine.IO's JSON."""

    name: str
    request: bytes
    status: int
    text: str
    code: int | None = None


def plain(target: str, method: str = "GET", more: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode()


VERSION = "Unsupported protocol version"
POLLING = PATH.replace("websocket", "polling")
REFUSALS = [
    Refusal("another path", upgrade_head("/"), 404, "/socket.io/"),
    Refusal("the path without its slash", upgrade_head("/socket.io?EIO=4&transport=websocket"), 404, "/socket.io/"),
    Refusal("Engine.IO 3", upgrade_head(PATH.replace("EIO=4", "EIO=3")), 400, VERSION),
    Refusal("no Engine.IO version", upgrade_head("/socket.io/?transport=websocket"), 400, VERSION),
    Refusal("the version twice", upgrade_head(PATH + "&EIO=4"), 400, "twice"),
    Refusal("polling with Engine.IO 3", plain(POLLING.replace("EIO=4", "EIO=3")), 400, VERSION, 5),
    Refusal("polling with an unknown sid", plain(POLLING + "&sid=nobody"), 400, "Session ID unknown", 1),
    Refusal("polling with a token in the URL", plain(POLLING + "&token=secret"), 403, "A token belongs", None),
    Refusal("polling from afar", plain(POLLING, more="Origin: https://evil.example\r\n"), 403, "Origin not allowed", 4),
    Refusal("a PUT", plain(POLLING, "PUT", "Content-Length: 0\r\n"), 400, "Bad handshake method", 2),
    Refusal("no transport", plain("/socket.io/?EIO=4"), 400, "Transport unknown", 0),
    Refusal("a transport of its own", plain("/socket.io/?EIO=4&transport=smoke"), 400, "Transport unknown", 0),
    Refusal("an unknown sid", plain(PATH + "&sid=nobody"), 400, "Session ID unknown", 1),
    Refusal("an unknown sid upgrading", upgrade_head(PATH + "&sid=nobody"), 400, "Session ID unknown"),
    Refusal("a POST without sid", plain(PATH, "POST", "Content-Length: 0\r\n"), 400, "Bad handshake method", 2),
    Refusal("no upgrade", plain(PATH), 400, "Bad request", 3),
    Refusal("an upgrade with a body", upgrade_head(headers={"Content-Length": "3"}) + b"abc", 400, "Bad request"),
    Refusal("a chunked upgrade", upgrade_head(headers={"Transfer-Encoding": "chunked"}), 400, "Bad request"),
    Refusal("a foreign origin", upgrade_head(headers={"Origin": "https://evil.example"}), 400, "Origin not allowed"),
    Refusal("an origin that only begins well", upgrade_head(headers={"Origin": ORIGIN + ".evil"}), 400, "not allowed"),
    Refusal("no origin's name", upgrade_head(headers={"Origin": "null"}), 400, "Origin not allowed"),
    Refusal("a token in the URL", upgrade_head(PATH + "&token=secret"), 400, "never into the URL"),
    Refusal("no key", upgrade_head(headers={"Sec-WebSocket-Key": None}), 400, ""),
    Refusal("a bad key", upgrade_head(headers={"Sec-WebSocket-Key": "x"}), 400, ""),
    Refusal("another WebSocket version", upgrade_head(headers={"Sec-WebSocket-Version": "8"}), 400, ""),
    Refusal("another protocol", upgrade_head(headers={"Upgrade": "h2c"}), 400, "Bad request", 3),
    Refusal("no host", upgrade_head(headers={"Host": None}), 400, "Host"),
    Refusal("two hosts", upgrade_head(headers={"Host": "a\r\nHost: b"}), 400, "Host"),
    Refusal("a long target", upgrade_head(PATH + "&t=" + "x" * 20_000), 414, "8192"),
    Refusal("a long header", upgrade_head(headers={"X": "x" * 1_000_000}), 431, ""),
    Refusal("many headers", upgrade_head(headers={f"X-{n}": "1" for n in range(200)}), 431, "128"),
    Refusal("many query fields", upgrade_head(PATH + "".join(f"&f{n}=" for n in range(40))), 400, "32"),
    Refusal("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n", 400, "malformed"),
    Refusal("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""),
    Refusal("a header line without a name", upgrade_head(headers={"": "x"}), 400, "malformed"),
    Refusal("half a request line", b"GET\r\n\r\n", 400, "malformed"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
async def test_a_request_that_cannot_become_a_client_is_told_why(
    gateway: Service, valkey: EmbeddedValkey, refusal: Refusal
) -> None:
    async with beside(gateway.port, valkey.url):
        reply = await ask(gateway.port, refusal.request)
        assert reply.status == refusal.status, reply
        assert refusal.text in reply.body
        if refusal.code is not None:
            assert reply.json() == {"code": refusal.code, "message": refusal.text}
        assert "secret" not in reply.body


async def test_a_preflight_is_answered_with_what_browsers_may_do(gateway: Service) -> None:
    asked = f"Origin: {ORIGIN}\r\nAccess-Control-Request-Headers: x-one\r\nConnection: close\r\n"
    reply = await ask(gateway.port, plain(POLLING, "OPTIONS", asked))
    assert (reply.status, reply.body, reply.headers["content-length"]) == (204, "", "0")
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert reply.headers["access-control-allow-credentials"] == "true"
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert reply.headers["access-control-allow-headers"] == "x-one"


@pytest.mark.parametrize("head", [b"", b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nX: "])
async def test_a_head_that_does_not_come_in_time_is_answered_and_dropped(
    gateway: Service, valkey: EmbeddedValkey, head: bytes
) -> None:
    async with beside(gateway.port, valkey.url):
        began = asyncio.get_running_loop().time()
        reply = await ask(gateway.port, head)
        assert reply.status == 408
        assert asyncio.get_running_loop().time() - began < HEAD_TIMEOUT_MS / 1000 + 2


@pytest.mark.parametrize("headers", [{}, {"Origin": ORIGIN}])
async def test_the_allowed_origin_and_clients_without_one_get_in(gateway: Service, headers: dict[str, str]) -> None:
    async with await connect(gateway.port, headers=headers) as client:
        client.text("40")
        assert (await client.receive()) is not None


async def test_a_head_in_small_pieces_is_a_head(gateway: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for byte in upgrade_head():
        writer.write(bytes((byte,)))
        await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
    writer.close()


async def test_a_gateway_that_is_full_says_503_and_lets_others_in_when_somebody_leaves(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", MAX_CONNECTIONS="2")
    async with await connect(gateway.port):
        async with await connect(gateway.port):
            reply = await ask(gateway.port, upgrade_head())
            assert reply.status == 503
            assert 1 <= int(reply.headers["retry-after"]) <= 5
            assert (await gateway.ask("/readyz"))[0] == 503
        await eventually(lambda: _admits(gateway.port), "a place becomes free")
    await eventually(lambda: gateway.ask("/readyz"), "it is ready again", lambda answer: answer[0] == 200)
    figures = await gateway.scrape()
    assert figures['tickwire_handshakes_refused_total{reason="full"}'] >= 1
    assert figures["tickwire_connection_limit"] == 2


async def test_clients_that_come_too_fast_get_503(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", MAX_ACCEPTS_PER_SECOND="5")
    replies = [await _try(gateway.port) for _ in range(30)]
    statuses = [reply.status for reply in replies if reply is not None]
    assert set(statuses) == {503}
    assert 5 <= replies.count(None) < 25
    await eventually(lambda: _admits(gateway.port), "the rate recovers")


async def _admits(port: int) -> bool:
    return await _try(port) is None


async def _try(port: int) -> Reply | None:
    """Handshake and leave at once; the refusal, or None."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(upgrade_head())
    status = int((await reader.readline()).split()[1])
    headers = {}
    while (line := (await reader.readline()).decode().strip()) and status != 101:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    writer.transport.abort()
    return None if status == 101 else Reply(status, headers, "")
