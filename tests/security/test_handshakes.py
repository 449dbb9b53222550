"""Handshakes of ill will at a real gateway: unfinished, silent, oversized, forged, from afar, all at once."""

import asyncio
import json
from itertools import product
from statistics import quantiles
from typing import NamedTuple

import pytest
import pytest_asyncio

from services.launcher.embedded_valkey import EmbeddedValkey
from tests.support.bystander import beside
from tests.support.cluster import ISSUED, Cluster, Service
from tests.support.hostile import (
    POLLING,
    SWITCHED,
    admits,
    clients,
    closed,
    dial,
    ended,
    ended_though_busy,
    handshake,
    polling_head,
    refused,
    sockets,
)
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.wire_client import Op, Reply, ask, connect, frame, upgrade_head

HEAD_S = 2.0
ORIGIN = "https://app.example"
HALF_A_HEAD = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nX: "


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    module_cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    settings = {
        "HANDSHAKE_TIMEOUT_MS": str(int(HEAD_S * 1000)),
        "ALLOWED_ORIGINS": ORIGIN,
        "CONNECT_TIMEOUT_MS": "1500",
    }
    await module_cluster.start("gateway", "price-ingest", **settings)
    return module_cluster


@pytest.mark.threat("T7")
@pytest.mark.parametrize("begun", [b"", HALF_A_HEAD], ids=["nothing", "half a head"])
async def test_five_hundred_unfinished_requests_are_closed_in_time_and_delay_nobody(
    gateway: Service, valkey: EmbeddedValkey, begun: bytes
) -> None:
    loop = asyncio.get_running_loop()
    async with beside(gateway.port, valkey.url):
        began = loop.time()
        async with sockets(gateway.port, 500, begun) as silent:
            took = []
            for _ in range(20):
                at = loop.time()
                assert await admits(gateway.port)
                took.append(loop.time() - at)
            assert quantiles(took, n=20)[-1] < 1.0
            await eventually(lambda: closed(silent), "all are closed", lambda count: count == 500)
        assert loop.time() - began < HEAD_S + 8
    await eventually(lambda: _half_open(gateway), "none is left", lambda count: count == 0)


@pytest.mark.threat("T7")
async def test_unfinished_requests_are_bounded_and_the_longest_wait_gives_way(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", MAX_HALF_OPEN="20", HANDSHAKE_TIMEOUT_MS="60000")
    async with sockets(gateway.port, 100, HALF_A_HEAD) as silent:
        await eventually(lambda: closed(silent), "the oldest are dropped", lambda count: count == 80)
        assert closed(silent[:80]) == 80
        assert await _half_open(gateway) == 20
        assert await admits(gateway.port)
        assert await refused(gateway, "too many unfinished requests") >= 80


@pytest.mark.threat("T7")
async def test_a_head_that_never_ends_is_cut_off_long_before_its_ten_megabytes(gateway: Service) -> None:
    _, writer = await dial(gateway.port)
    writer.write(HALF_A_HEAD)
    with pytest.raises(ConnectionError):
        await _write_for_ever(writer, 10_000_000)
    writer.transport.abort()
    assert (await ask(gateway.port, HALF_A_HEAD + b"x" * 30_000)).status == 431


@pytest.mark.threat("T7")
async def test_a_body_that_never_comes_ends_its_client_and_nobody_else(
    gateway: Service, valkey: EmbeddedValkey
) -> None:
    async with beside(gateway.port, valkey.url):
        sid = await _poll_sid(gateway)
        target = f"{POLLING}&sid={sid}"
        reader, writer = await dial(gateway.port)
        writer.write(polling_head({"Content-Length": "1000"}, target, "POST") + b"4")
        assert b" 408 " in await asyncio.wait_for(reader.readline(), PATIENCE_S)
        writer.transport.abort()


@pytest.mark.threat("T8")
async def test_who_joins_nothing_is_closed_in_time_however_it_keeps_busy(gateway: Service) -> None:
    """Unknown namespaces, pongs and empty frames are no progress."""
    before = await ended(gateway, "connect_timeout")
    began = asyncio.get_running_loop().time()
    async with await connect(gateway.port) as client:
        assert await ended_though_busy(client, frame(Op.TEXT, b"3") + frame(Op.PING)) == (None, True)
    assert asyncio.get_running_loop().time() - began < 1.5 + 3
    assert await ended(gateway, "connect_timeout") == before + 1


@pytest.mark.threat("T8")
async def test_a_polling_client_that_joins_nothing_is_closed_in_time_too(gateway: Service) -> None:
    before = await ended(gateway, "connect_timeout")
    sid = await _poll_sid(gateway)
    reply = await ask(gateway.port, polling_head(target=f"{POLLING}&sid={sid}"))
    assert (reply.status, reply.body) == (200, "1")
    assert await ended(gateway, "connect_timeout") == before + 1


@pytest.mark.threat("T8")
async def test_where_a_token_is_required_five_seconds_are_enough(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", AUTH_MODE="required", PING_INTERVAL_MS="60000", **ISSUED)
    began = asyncio.get_running_loop().time()
    async with await connect(gateway.port) as client:
        assert await client.ended() == (None, True)
    assert 4.5 < asyncio.get_running_loop().time() - began < 12
    assert await ended(gateway, "connect_timeout") == 1


@pytest.mark.threat("T8")
@pytest.mark.parametrize("polls", [False, True], ids=["websocket", "polling"])
async def test_before_a_namespace_is_joined_eight_kilobytes_are_enough(gateway: Service, *, polls: bool) -> None:
    before = await ended(gateway, "protocol_error")
    packet = "40/nowhere," + json.dumps({"token": "x" * 4_500})
    if polls:
        sid = await _poll_sid(gateway)
        body = "\x1e".join([packet] * 2).encode()
        head = polling_head({"Content-Length": str(len(body))}, f"{POLLING}&sid={sid}", "POST")
        assert (await ask(gateway.port, head + body)).status == 400
    else:
        async with await connect(gateway.port) as client:
            client.text(packet)
            client.text(packet)
            assert await client.ended() == (None, True)
    assert await ended(gateway, "protocol_error") == before + 1


@pytest.mark.threat("T22")
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", ORIGIN + ".evil.example", "https://APP.example", ""]
)
async def test_a_page_from_elsewhere_gets_in_on_neither_transport(gateway: Service, origin: str) -> None:
    assert (await handshake(gateway.port, headers={"Origin": origin})).status == 400
    assert (await handshake(gateway.port, headers={"Origin": origin}, polls=True)).status == 403
    two = polling_head({"Origin": f"{ORIGIN}\r\nOrigin: https://evil.example"})
    assert (await ask(gateway.port, two)).status == 400
    assert await admits(gateway.port, headers={"Origin": ORIGIN})


class Smuggled(NamedTuple):
    """A request that hides another behind it."""

    name: str
    data: bytes


HIDDEN = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"
SMUGGLED = [
    Smuggled("a length beside an upgrade", upgrade_head(headers={"Content-Length": str(len(HIDDEN))}) + HIDDEN),
    Smuggled(
        "chunks beside an upgrade", upgrade_head(headers={"Transfer-Encoding": "chunked"}) + b"0\r\n\r\n" + HIDDEN
    ),
    Smuggled("an upgrade that is refused", upgrade_head(headers={"Sec-WebSocket-Version": "12"}) + HIDDEN),
    Smuggled("an upgrade elsewhere", upgrade_head("/x") + HIDDEN),
    Smuggled("two requests at once", polling_head({"Connection": "keep-alive"}, "/x") + HIDDEN),
    Smuggled("a bare line feed", b"GET /x HTTP/1.1\nHost: h\n\n" + HIDDEN),
    Smuggled("a folded header", polling_head({"X": "1\r\n folded"}) + HIDDEN),
    Smuggled("a space before the colon", b"GET /x HTTP/1.1\r\nHost : h\r\n\r\n" + HIDDEN),
    Smuggled("a NUL in a value", polling_head({"X": "a\0b"}) + HIDDEN),
    Smuggled("two lengths", polling_head({"Content-Length": "0\r\nContent-Length: 5"}, POLLING, "POST") + HIDDEN),
    Smuggled("a length and chunks", polling_head({"Content-Length": "5\r\nTransfer-Encoding: chunked"}) + HIDDEN),
    Smuggled("an unknown coding", polling_head({"Transfer-Encoding": "x"}, POLLING, "POST") + HIDDEN),
]


@pytest.mark.threat("T23")
@pytest.mark.parametrize("smuggled", SMUGGLED, ids=lambda smuggled: smuggled.name)
async def test_a_request_behind_a_refused_one_is_never_answered(gateway: Service, smuggled: Smuggled) -> None:
    reader, writer = await dial(gateway.port)
    writer.write(smuggled.data)
    async with asyncio.timeout(PATIENCE_S):
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
    writer.transport.abort()
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b" 101 " not in answer
    assert b"websocket_connections" not in answer


EIO = {"absent": "", "3": "&EIO=3", "5": "&EIO=5", "4 and a space": "&EIO=4%20", "twice": "&EIO=4&EIO=4"}
SIDS = {"absent": "", "random": "&sid=abc", "__proto__": "&sid=__proto__", "constructor": "&sid=constructor"}


@pytest.mark.threat("T4")
async def test_requests_that_do_not_fit_their_connection_are_all_answered_and_change_nothing(gateway: Service) -> None:
    for transport, method, (eio_name, eio), (sid_name, sid) in product(
        ("polling", "websocket", "__proto__"), ("GET", "POST", "PUT"), EIO.items(), SIDS.items()
    ):
        target = f"/socket.io/?transport={transport}{eio}{sid}"
        reply = await ask(gateway.port, polling_head({"Content-Length": "0"}, target, method))
        assert reply.status == 400, (transport, method, eio_name, sid_name, reply)
    own, other = await _poll_sid(gateway), await _poll_sid(gateway)
    for eio_name, eio in EIO.items():
        for sid in (own, other):
            for method in ("GET", "POST"):
                target = f"/socket.io/?transport=polling{eio}&sid={sid}"
                reply = await ask(gateway.port, polling_head({"Content-Length": "0"}, target, method))
                assert reply.status == 400, (eio_name, method, reply)
            upgrade = await ask(gateway.port, upgrade_head(f"/socket.io/?transport=websocket{eio}&sid={sid}"))
            assert upgrade.status == 400, (eio_name, upgrade)
    for sid in (own, other):
        assert (await _post(gateway, sid, "40")).body == "ok", "both live"
        assert (await _post(gateway, sid, "1")).body == "ok"


@pytest.mark.threat("T4")
@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/octet-stream"}, "3", 400),
        ({"Content-Encoding": "gzip"}, "3", 415),
        ({}, "x" * 20_000, 413),
        ({}, "b!!!", 400),
        ({}, "\x1e\x1e", 400),
        ({}, "", 400),
    ],
)
async def test_a_bad_post_gets_its_answer_and_leaves_nothing(
    gateway: Service, headers: dict[str, str], body: str, status: int
) -> None:
    sid = await _poll_sid(gateway)
    assert (await _post(gateway, sid, body, headers)).status == status
    await eventually(lambda: _polling_clients(gateway), "its connection ends", lambda count: count == 0)


@pytest.mark.threat("T30")
async def test_more_handshakes_a_second_than_allowed_are_told_to_come_back(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", MAX_ACCEPTS_PER_SECOND="10")
    async with clients(gateway.port, 60) as tried:
        statuses = [one.status for one in tried]
    assert set(statuses) == {SWITCHED, 503}
    assert await refused(gateway, "too many new clients") == statuses.count(503)
    await eventually(lambda: admits(gateway.port), "the rate recovers")


async def test_an_old_connection_ends_with_the_code_after_which_clients_come_back(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", MAX_CONNECTION_AGE_SECONDS="1")
    async with await connect(gateway.port) as client:
        client.text("40")
        assert await client.ended() == (1012, True)
    assert await ended(gateway, "too_old") == 1


async def _write_for_ever(writer: asyncio.StreamWriter, most: int) -> None:
    """Until the line is cut, or so many bytes are written."""
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(most // 10_000):
            writer.write(b"x" * 10_000)
            await writer.drain()
            await asyncio.sleep(0.001)


async def _half_open(gateway: Service) -> float:
    return (await gateway.scrape())["tickwire_half_open_connections"]


async def _polling_clients(gateway: Service) -> float:
    return (await gateway.scrape())['websocket_connections{transport="polling"}']


async def _poll_sid(gateway: Service) -> str:
    reply = await ask(gateway.port, polling_head())
    assert reply.status == 200, reply
    return str(json.loads(reply.body[1:])["sid"])


async def _post(gateway: Service, sid: str, body: str, headers: dict[str, str] | None = None) -> Reply:
    head = polling_head({"Content-Length": str(len(body)), **(headers or {})}, f"{POLLING}&sid={sid}", "POST")
    return await ask(gateway.port, head + body.encode())
