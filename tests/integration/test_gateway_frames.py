"""What ends a client that is in: illegal frames and packets, silence, floods. Each with its close code and reason.

The reason is read from the gateway's own count of endings; a client beside the one that misbehaves notices nothing.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgpack
import pytest
import pytest_asyncio

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.names import close_reasons
from shared.names.close_reasons import CloseReason
from tests.support.bystander import beside
from tests.support.cluster import Cluster, Service
from tests.support.waiting import PATIENCE_S
from tests.support.wire_client import Op, WireClient, connect, frame
from tests.support.wire_socket import joined

MAX_PAYLOAD = 16_384


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    module_cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    await module_cluster.start("gateway", "price-ingest")
    return module_cluster


def text(packet: str) -> bytes:
    return frame(Op.TEXT, packet.encode())


def binary(packet: object) -> bytes:
    return frame(Op.BINARY, packet if isinstance(packet, bytes) else msgpack.packb(packet))


def event(*args: object, **more: object) -> bytes:
    return binary({"type": 2, "data": list(args), "nsp": "/", **more})


class Ending(NamedTuple):
    """What a client sends, and how it ends: the close frame's code (None: an empty one), and the reason counted.

    `begun` says what it sent before: nothing, or a CONNECT of one of the parsers.
    """

    name: str
    begun: Literal["open", "json", "msgpack"]
    frames: Sequence[bytes]
    code: int | None
    reason: CloseReason


BROKEN = close_reasons.WEBSOCKET_ERROR
RULE = close_reasons.PROTOCOL_ERROR
TOO_BIG = close_reasons.MESSAGE_TOO_BIG
LEFT = close_reasons.CLIENT_LEFT
DEEP = "[" * 200 + "]" * 200

ENDINGS = [
    # RFC 6455
    Ending("a message over the limit", "json", [text("42" + "x" * MAX_PAYLOAD)], 1009, TOO_BIG),
    Ending("a frame that claims 2^62 bytes", "json", [b"\x82\xff\x40" + bytes(11)], 1009, TOO_BIG),
    Ending("fragments over the limit", "json", [frame(1, b"42", fin=False), frame(0, b"x" * 16_384)], 1009, TOO_BIG),
    Ending("too many fragments", "json", [frame(1, fin=False), *[frame(0, fin=False)] * 80], 1009, TOO_BIG),
    Ending("no mask", "json", [frame(Op.TEXT, b"3", masked=False)], 1002, BROKEN),
    Ending("a reserved bit", "json", [frame(Op.TEXT, b"3", rsv=4)], 1002, BROKEN),
    Ending("a reserved opcode", "json", [frame(3, b"3")], 1002, BROKEN),
    Ending("a reserved control opcode", "json", [frame(11)], 1002, BROKEN),
    Ending("a ping in fragments", "json", [frame(Op.PING, fin=False)], 1002, BROKEN),
    Ending("a long ping", "json", [frame(Op.PING, b"x" * 126)], 1002, BROKEN),
    Ending("a continuation of nothing", "json", [frame(Op.CONT, b"3")], 1002, BROKEN),
    Ending("a text inside a text", "json", [frame(1, b"4", fin=False), frame(1, b"3")], 1002, BROKEN),
    Ending("text that is no UTF-8", "json", [frame(Op.TEXT, b"42\xff\xfe")], 1007, close_reasons.INVALID_TEXT),
    Ending("UTF-8 cut short", "json", [frame(Op.TEXT, b"42\xe2\x82")], 1007, close_reasons.INVALID_TEXT),
    Ending("a goodbye", "json", [frame(Op.CLOSE, b"\x03\xe8")], 1000, LEFT),
    Ending("a goodbye on going away", "json", [frame(Op.CLOSE, b"\x03\xe9bye")], 1001, LEFT),
    Ending("a goodbye without a code", "json", [frame(Op.CLOSE)], None, LEFT),
    Ending("a goodbye with half a code", "json", [frame(Op.CLOSE, b"\x03")], 1002, BROKEN),
    Ending("a goodbye with a forbidden code", "json", [frame(Op.CLOSE, b"\x03\xed")], 1002, BROKEN),
    # Engine.IO
    Ending("Engine.IO close", "json", [text("1")], None, LEFT),
    Ending("Engine.IO close before anything", "open", [text("1")], None, LEFT),
    Ending("a ping from the client", "json", [text("2")], None, RULE),
    Ending("a probe on an open transport", "json", [text("2probe")], None, RULE),
    Ending("an unknown packet", "json", [text("9")], None, RULE),
    Ending("an empty packet", "json", [text("")], None, RULE),
    Ending("bad base64", "json", [text("b!!!")], None, RULE),
    # Socket.IO in JSON
    Ending("no CONNECT first", "open", [text('42["subscribe:price","BTC-USDT"]')], None, RULE),
    Ending("another parser's beginning", "open", [text('4{"type":0,"nsp":"/"}')], None, RULE),
    Ending("JSON that is none", "json", [text('42["subscribe:price",')], None, RULE),
    Ending("JSON with NaN", "json", [text('42["subscribe:price",NaN]')], None, RULE),
    Ending("JSON that is too deep", "json", [text(f'42["subscribe:price",{DEEP}]')], None, RULE),
    Ending("an event that is no array", "json", [text('42{"subscribe:price":1}')], None, RULE),
    Ending("an event without a name", "json", [text("42[]")], None, RULE),
    Ending("a reserved event", "json", [text('42["disconnect"]')], None, RULE),
    Ending("a second CONNECT", "json", [text("40")], None, RULE),
    Ending("a CONNECT_ERROR", "json", [text('44{"message":"no"}')], None, RULE),
    Ending("an unknown type", "json", [text("47")], None, RULE),
    Ending("a namespace not joined", "json", [text('42/other,["x"]')], None, RULE),
    Ending("an ack id out of range", "json", [text(f'42{"9" * 40}["subscribe:price"]')], None, RULE),
    Ending("binary that nobody announced", "json", [frame(Op.BINARY, b"\x00")], None, RULE),
    Ending("text instead of the attachment", "json", [text('451-["x",{"_placeholder":true,"num":0}]'), text("42[1]")],
           None, RULE),
    Ending("a placeholder that is none", "json", [text('451-["x",{"_placeholder":true,"num":7}]'), binary(b"1")],
           None, RULE),
    Ending("too many attachments", "json", [text('4511-["x"]')], None, RULE),
    # Socket.IO in msgpack
    Ending("msgpack that is none", "msgpack", [binary(b"\xc1")], None, RULE),
    Ending("msgpack cut short", "msgpack", [binary(b"\x83\xa4type")], None, RULE),
    Ending("bytes after the packet", "msgpack", [event("x")[:-1] + b"\x00"], None, RULE),
    Ending("text on a msgpack connection", "msgpack", [text('42["subscribe:price","BTC-USDT"]')], None, RULE),
    Ending("msgpack that is too deep", "msgpack", [event("x", json.loads(DEEP))], None, RULE),
    Ending("a msgpack array", "msgpack", [binary([2, "x"])], None, RULE),
    Ending("an unknown msgpack type", "msgpack", [binary({"type": 9, "nsp": "/"})], None, RULE),
    Ending("msgpack nil as an id", "msgpack", [event("x", id=None)], None, RULE),
    Ending("msgpack without a namespace", "msgpack", [binary({"type": 2, "data": ["x"]})], None, RULE),
    Ending("a map that claims 2^32 keys", "msgpack", [binary(b"\xdf\xff\xff\xff\xff")], None, RULE),
]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
async def test_a_client_that_breaks_a_rule_is_closed_with_the_right_code(
    gateway: Service, valkey: EmbeddedValkey, ending: Ending
) -> None:
    before = await _endings(gateway, ending.reason)
    async with beside(gateway.port, valkey.url), await connect(gateway.port) as client:
        await _begin(client, ending.begun)
        for data in ending.frames:
            client.writer.write(data)
        assert await client.ended() == (ending.code, True)
        assert await _endings(gateway, ending.reason) == before + 1


@pytest.mark.parametrize("name", ["json", "msgpack"])
async def test_fragments_with_a_ping_in_between_are_one_message(gateway: Service, name: str) -> None:
    async with joined(gateway.port, is_binary=name == "msgpack") as socket:
        op = Op.BINARY if socket.is_binary else Op.TEXT
        packet = {"type": 2, "data": ["subscribe:trades", "BTC-USDT"], "id": 9, "nsp": "/"}
        data = msgpack.packb(packet) if socket.is_binary else b'429["subscribe:trades","BTC-USDT"]'
        socket.client.send(op, data[:5], fin=False)
        socket.client.send(Op.PING, b"between")
        socket.client.send(Op.CONT, data[5:12], fin=False)
        socket.client.send(Op.CONT, data[12:])
        answers = [await socket.client.receive() for _ in range(2)]
        pong, ack = sorted((answer for answer in answers if answer), key=lambda answer: -answer.op)
        assert (pong.op, pong.payload) == (Op.PONG, b"between")
        assert b"BTC-USDT" in ack.payload


async def test_a_message_of_exactly_the_limit_is_taken(gateway: Service) -> None:
    async with joined(gateway.port) as socket:
        packet = '421["no:such:event","{}"]'
        socket.client.text(packet.format("x" * (MAX_PAYLOAD - len(packet) + 2)))
        assert "Unknown event" in await socket.next_text("431")


async def test_attachments_that_never_come_end_the_client_in_five_seconds(
    gateway: Service, valkey: EmbeddedValkey
) -> None:
    async with beside(gateway.port, valkey.url), joined(gateway.port) as socket:
        began = asyncio.get_running_loop().time()
        socket.client.text('451-["x",{"_placeholder":true,"num":0}]')
        assert await socket.client.ended() == (None, True)
        assert 4.5 < asyncio.get_running_loop().time() - began < 8


async def test_a_client_that_does_not_pong_is_closed_and_one_that_does_stays(
    cluster: Cluster, valkey: EmbeddedValkey
) -> None:
    gateway = await cluster.start("gateway", PING_INTERVAL_MS="300", PING_TIMEOUT_MS="1000")
    async with beside(gateway.port, valkey.url), await connect(gateway.port) as silent:
        silent.text("40")
        assert await silent.ended() == (None, True)
        assert await _endings(gateway, close_reasons.PING_TIMEOUT) == 1


async def test_a_client_that_joins_nothing_is_closed_though_it_pongs(cluster: Cluster, valkey: EmbeddedValkey) -> None:
    gateway = await cluster.start("gateway", PING_INTERVAL_MS="200", CONNECT_TIMEOUT_MS="1000")
    async with beside(gateway.port, valkey.url), await connect(gateway.port) as client:
        pings = 0
        while (received := await client.receive()) is not None and received.op is not Op.CLOSE:
            assert received.payload == b"2"
            pings += 1
            client.text("3")
        assert received is not None
        assert received.close_code is None
        assert pings >= 2
        assert await _endings(gateway, close_reasons.CONNECT_TIMEOUT) == 1


async def test_a_flood_of_frames_is_cut_off(gateway: Service, valkey: EmbeddedValkey) -> None:
    before = await _endings(gateway, close_reasons.FRAME_FLOOD)
    async with beside(gateway.port, valkey.url), joined(gateway.port) as socket:
        socket.client.writer.write(text("3") * 700)
        assert await socket.client.ended() == (None, False), "aborted: it would not read a goodbye"
        assert await _endings(gateway, close_reasons.FRAME_FLOOD) == before + 1


async def test_a_flood_of_pings_that_are_never_read_costs_no_memory(cluster: Cluster, valkey: EmbeddedValkey) -> None:
    gateway = await cluster.start("gateway", MAX_FRAMES_PER_SECOND="10000000", WRITE_TIMEOUT_MS="1000")
    async with beside(gateway.port, valkey.url), await connect(gateway.port, receive_buffer=4096) as client:
        client.stall()
        with pytest.raises(ConnectionError):
            await _ping_for_ever(client, gateway)
        assert await _endings(gateway, close_reasons.SLOW_CONSUMER) == 1


async def _ping_for_ever(client: WireClient, gateway: Service) -> None:
    """Until the gateway cuts the line; it must not grow meanwhile."""
    resident = gateway.rss()
    pings = frame(Op.PING, b"x" * 125) * 1000
    async with asyncio.timeout(PATIENCE_S):
        while True:
            client.writer.write(pings)
            await client.writer.drain()
            assert gateway.rss() - resident < 5_000_000


async def _begin(client: WireClient, begun: str) -> None:
    if begun == "json":
        client.text("40")
    elif begun == "msgpack":
        client.send(Op.BINARY, msgpack.packb({"type": 0, "nsp": "/"}))
    if begun != "open":
        for _ in range(2):  # the CONNECT reply and `hello`
            assert (await client.receive()) is not None


async def _endings(gateway: Service, reason: CloseReason) -> float:
    return (await gateway.scrape())[f'tickwire_disconnects_total{{reason="{reason.text}"}}']
