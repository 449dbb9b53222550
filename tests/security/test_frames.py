"""Frames and messages of ill will at a real gateway: floods, fragments, compression, clients that do not read."""

import asyncio
import json
import zlib
from collections.abc import Sequence

import pytest
import pytest_asyncio

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.tasks import TaskGroup
from tests.support.bystander import beside
from tests.support.cluster import Cluster, Service
from tests.support.hostile import OK, POLLING, dial, ended, ended_though_busy, handshake, polling_head, swallow
from tests.support.limits import RATE_SETTINGS
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.wire_client import Op, WireClient, ask, connect, frame, upgrade_head
from tests.support.wire_socket import joined

WARNED = '42["error",{"code":101,"message":"Rate limit exceeded"}'
HOSTILE = 200
BYTES_EACH = 60_000
"""Generous: an honest one costs six thousand, the unread 16 KiB of a frame and a parser the most of the rest."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    module_cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    await module_cluster.start("gateway", "price-ingest")
    return module_cluster


@pytest.mark.threat("T9")
async def test_a_flood_of_pings_without_reading_is_cut_off_at_once_and_costs_nothing(
    gateway: Service, valkey: EmbeddedValkey
) -> None:
    before, resident = await ended(gateway, "frame_flood"), gateway.rss()
    async with beside(gateway.port, valkey.url), await connect(gateway.port, receive_buffer=4096) as client:
        client.stall()
        client.text("40")
        with pytest.raises(ConnectionError):
            await _flood(client, frame(Op.PING, b"x" * 125) * 1000)
        assert await ended(gateway, "frame_flood") == before + 1
    assert gateway.rss() - resident < 8_000_000


@pytest.mark.threat("T9", "T29")
async def test_pings_within_the_limit_that_nobody_reads_end_with_the_write_deadline(cluster: Cluster) -> None:
    limits = {"MAX_FRAMES_PER_SECOND": "10000000", "WRITE_TIMEOUT_MS": "1000"}
    gateway = await cluster.start("gateway", **limits)
    resident = gateway.rss()
    async with await connect(gateway.port, receive_buffer=4096) as client:
        client.stall()
        with pytest.raises(ConnectionError):
            await _flood(client, frame(Op.PING, b"x" * 125) * 1000)
    assert await ended(gateway, "slow_consumer") == 1
    assert gateway.rss() - resident < 8_000_000


@pytest.mark.threat("T10")
@pytest.mark.parametrize("piece", [b"", b"x"], ids=["empty", "one byte"])
async def test_a_message_in_more_than_sixty_four_fragments_is_refused(gateway: Service, piece: bytes) -> None:
    for fragments, code in ((64, None), (65, 1009)):
        async with joined(gateway.port) as socket:
            first = frame(Op.TEXT, b'421["x","', fin=False)
            socket.client.writer.write(first + frame(Op.CONT, piece, fin=False) * (fragments - 2))
            socket.client.writer.write(frame(Op.CONT, b'"]'))
            if code is None:
                assert "Unknown event" in await socket.next_text("431")
            else:
                assert await socket.client.ended() == (code, True)


@pytest.mark.threat("T10")
async def test_a_message_that_is_never_finished_ends_in_time(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", MESSAGE_TIMEOUT_MS="700")
    async with joined(gateway.port) as socket:
        began = asyncio.get_running_loop().time()
        socket.client.send(Op.TEXT, b"42", fin=False)
        assert await ended_though_busy(socket.client, frame(Op.PING)) == (1002, True)
        assert asyncio.get_running_loop().time() - began < 5


@pytest.mark.threat("T11")
async def test_compression_is_not_agreed_to_and_what_claims_it_is_refused(gateway: Service) -> None:
    opened = await handshake(gateway.port, headers={"Sec-WebSocket-Extensions": "permessage-deflate"})
    opened.writer.transport.abort()
    reader, writer = await dial(gateway.port)
    writer.write(upgrade_head(headers={"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}))
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    assert b" 101 " in answer
    assert b"extensions" not in answer.lower()
    resident = gateway.rss()
    bomb = zlib.compress(bytes(10_000_000))[2:-4]
    for _ in range(20):
        async with joined(gateway.port) as socket:
            socket.client.send(Op.BINARY, bomb, rsv=4)
            assert (await socket.client.ended())[0] in (1002, 1009)
    assert gateway.rss() - resident < 8_000_000


@pytest.mark.threat("T12")
async def test_a_flood_of_small_messages_is_warned_of_and_then_ended(gateway: Service, valkey: EmbeddedValkey) -> None:
    before = await ended(gateway, "message_flood")
    async with beside(gateway.port, valkey.url), joined(gateway.port) as socket:
        socket.client.writer.write(frame(Op.TEXT, b'42["x"]') * 390)
        assert (await socket.next_text(WARNED)).startswith(WARNED)
        assert (await socket.call("unsubscribe:trades", "BTC-USDT"))["ok"], "it is served, with its warning"
        socket.client.writer.write(frame(Op.TEXT, b'42["x"]') * 100)
        assert await socket.client.ended() == (1008, True)
    assert await ended(gateway, "message_flood") == before + 1
    assert (await gateway.scrape())["tickwire_message_warnings_total"] >= 1


@pytest.mark.threat("T12")
async def test_a_flood_that_comes_at_once_is_told_why_it_ended(gateway: Service) -> None:
    async with joined(gateway.port) as socket:
        socket.client.writer.write(frame(Op.TEXT, b"43999[]") * 450)
        assert (await socket.next_text(WARNED)).startswith(WARNED)
        assert await socket.client.ended() == (1008, True)


@pytest.mark.threat("T12")
async def test_polling_is_no_way_around_the_limit_on_messages(gateway: Service) -> None:
    before = await ended(gateway, "message_flood")
    sid = str(json.loads((await ask(gateway.port, polling_head())).body[1:])["sid"])
    target = f"{POLLING}&sid={sid}"
    statuses = []
    for body in ["40", "\x1e".join(['42["x"]'] * 300), "\x1e".join(['42["x"]'] * 190)]:
        head = polling_head({"Content-Length": str(len(body))}, target, "POST")
        statuses.append((await ask(gateway.port, head + body.encode())).status)
    assert statuses[:2] == [OK] * 2
    assert await ended(gateway, "message_flood") == before + 1


@pytest.mark.threat("T12")
async def test_a_client_that_subscribes_two_hundred_symbols_one_by_one_is_not_ended(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", RATE_LIMIT_BURST="300", RATE_LIMIT_DEFAULT="300")
    async with joined(gateway.port) as socket:
        for number in range(199):
            socket.client.text(f'42{number}["subscribe:price","S{number}"]')
        for number in range(199):
            assert '"ok":true' in await socket.next_text(f"43{number}[")
        assert not [text for text in socket.texts if text.startswith(WARNED)]


@pytest.mark.threat("T12")
@pytest.mark.parametrize("data", [b"3", b'42["subscribe:price",["A","B","C"]]'], ids=["pongs", "requests"])
async def test_clients_beside_floods_are_answered_soon(gateway: Service, valkey: EmbeddedValkey, data: bytes) -> None:
    """Twenty clients at a time come, send as much as they can and are ended, again and again."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    over = asyncio.Event()

    async def flood() -> None:
        while not over.is_set():
            async with await connect(gateway.port) as client:
                client.text("40")
                client.writer.write(frame(Op.TEXT, data) * 2_000)
                await swallow(client)

    async with beside(gateway.port, valkey.url), joined(gateway.port) as honest, TaskGroup() as tasks:
        floods = [tasks.spawn("flood", flood()) for _ in range(20)]
        for _ in range(60):
            at = loop.time()
            assert (await honest.call("unsubscribe:trades", "BTC-USDT")) is not None
            took.append(loop.time() - at)
            await asyncio.sleep(0.02)
        over.set()
        await asyncio.wait(floods, timeout=PATIENCE_S)
    assert sorted(took)[len(took) // 2] < 0.5
    assert max(took) < 3.0


@pytest.mark.threat("T29", "T2", "T8", "T10")
async def test_hostile_clients_of_every_kind_hold_little_memory(cluster: Cluster) -> None:
    """Before a namespace is joined and after: half a head, half a frame, half a message, attachments, acks, silence."""
    wide = dict.fromkeys(RATE_SETTINGS, "1000000")
    gateway = await cluster.start("gateway", **wide, MESSAGE_TIMEOUT_MS="60000", HANDSHAKE_TIMEOUT_MS="60000")
    for _ in range(10):  # what the first client of all costs is not theirs
        async with joined(gateway.port) as socket:
            assert (await socket.call("subscribe:price", "A"))["ok"]
    held: list[WireClient] = []
    writers: list[asyncio.StreamWriter] = []
    resident = gateway.rss()
    try:
        for number in range(HOSTILE):
            kind = number % len(KINDS)
            _, writer = await dial(gateway.port)
            writers.append(writer)
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 8_000)
            client = await connect(gateway.port, receive_buffer=4096)
            held.append(client)
            for data in KINDS[kind]:
                client.writer.write(data)
        async with joined(gateway.port) as socket:
            assert (await socket.call("subscribe:price", "A"))["ok"], "all that was sent before is read"
        await asyncio.sleep(0.5)
        assert (gateway.rss() - resident) / HOSTILE < BYTES_EACH
    finally:
        for client in held:
            client.writer.transport.abort()
        for writer in writers:
            writer.transport.abort()
    await eventually(lambda: _clients(gateway), "all are gone", lambda count: count == 0)


def _text(data: str) -> bytes:
    return frame(Op.TEXT, data.encode())


KINDS: Sequence[Sequence[bytes]] = [
    [],
    [frame(Op.TEXT, b"x" * 16_000)[:15_000]],
    [frame(Op.TEXT, b"4", fin=False), frame(Op.CONT, b"x" * 15_000, fin=False)],
    [_text("40"), _text('4510-["x",' + ",".join(f'{{"_placeholder":true,"num":{n}}}' for n in range(10)) + "]")]
    + [frame(Op.BINARY, bytes(1_500))] * 9,
    [_text("40"), *[_text(f'43{number}["never asked"]') for number in range(200)]],
    [_text("40"), *[_text(f'42{number}["subscribe:price",["A{number}","B{number}"]]') for number in range(100)]],
    [_text("40"), *[frame(Op.PING, b"x" * 125)] * 100],
    [_text(f"40/nowhere{number},") for number in range(3)],
]


async def _clients(gateway: Service) -> float:
    return (await gateway.scrape())['websocket_connections{transport="websocket"}']


async def _flood(client: WireClient, data: bytes) -> None:
    """Until the gateway cuts the line."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            client.writer.write(data)
            await client.writer.drain()
            await asyncio.sleep(0)
