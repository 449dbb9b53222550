"""Packets of ill will at a real gateway, in both parsers: attachments, placeholders, nesting, numbers, names, acks."""

import asyncio
import json
from collections.abc import Sequence
from typing import NamedTuple

import msgpack
import pytest
import pytest_asyncio

from services.launcher.embedded_valkey import EmbeddedValkey
from tests.support.bystander import beside
from tests.support.cluster import Cluster, Service
from tests.support.hostile import OK, POLLING, ended, polling_head
from tests.support.waiting import eventually
from tests.support.wire_client import Op, ask, connect, frame
from tests.support.wire_socket import WireSocket, joined

REFUSED_NAMESPACES = 3
ATTACHMENTS_S = 5
"""They are waited for so long: what ends sooner was refused."""

HOLE = '{"_placeholder":true,"num":0}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    module_cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    await module_cluster.start("gateway", "price-ingest")
    return module_cluster


def nested(depth: int, *, maps: bool = False) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"a": value} if maps else [value]
    return value


def packed(*args: object) -> bytes:
    return bytes(msgpack.packb({"type": 2, "data": ["x", *args], "nsp": "/", "id": 7}))


def around(raw: bytes) -> bytes:
    """A packet whose argument is these very bytes."""
    whole = packed(b"HERE")
    return whole.replace(msgpack.packb(b"HERE"), raw)


class Bad(NamedTuple):
    """A packet that ends its sender."""

    name: str
    packet: str | bytes


IN_JSON = [
    Bad("seven arrays deep", f'427["x",{json.dumps(nested(8))}]'),
    Bad("seven objects deep", f'427["x",{json.dumps(nested(8, maps=True))}]'),
    Bad("thousands deep", '427["x",' + "[" * 8_000 + "]" * 8_000 + "]"),
    Bad("an array too long", f'427["x",{json.dumps([1] * 513)}]'),
    Bad("an event with too many arguments", f"427{json.dumps(['x', *[1] * 512])}"),
    Bad("too many keys", f'427["x",{json.dumps({str(n): 1 for n in range(65)})}]'),
    Bad("too many elements together", f'427["x",{json.dumps([[1] * 500] * 9, separators=(",", ":"))}]'),
    Bad("NaN", '427["x",NaN]'),
    Bad("infinity", '427["x",-Infinity]'),
    Bad("a number beyond floats", '427["x",1e999]'),
    Bad("an integer beyond 64 bits", f'427["x",{2**64}]'),
    Bad("a negative integer beyond 64 bits", f'427["x",{-(2**63) - 1}]'),
    Bad("an integer of five thousand digits", f'427["x",{"9" * 5_000}]'),
    Bad("a lone surrogate", '427["x","\\ud800"]'),
    Bad("a lone surrogate as a key", '427["x",{"\\udfff":1}]'),
    Bad("a namespace that is too long", "427/" + "n" * 200 + ',["x"]'),
    Bad("an event name that is an object", '427[{"a":1}]'),
    Bad("no event name", "427[null]"),
]
IN_MSGPACK = [
    Bad("seven arrays deep", packed(nested(8))),
    Bad("seven maps deep", packed(nested(8, maps=True))),
    Bad("thousands deep", around(b"\x91" * 8_000 + b"\xc0")),
    Bad("an array too long", packed([1] * 513)),
    Bad("too many keys", packed({str(n): 1 for n in range(65)})),
    Bad("too many elements together", packed([[1] * 500] * 9)),
    Bad("an array that claims 2^32 elements", around(b"\xdd\xff\xff\xff\xff")),
    Bad("a map that claims 2^32 keys", around(b"\xdf\xff\xff\xff\xff")),
    Bad("a text that claims 2^32 bytes", around(b"\xdb\xff\xff\xff\xff")),
    Bad("bytes that claim 2^32", around(b"\xc6\xff\xff\xff\xff")),
    Bad("NaN", packed(float("nan"))),
    Bad("infinity", packed(float("inf"))),
    Bad("a timestamp", packed(msgpack.Timestamp(1))),
    Bad("an extension", packed(msgpack.ExtType(5, b"abc"))),
    Bad("an extension of notepack's number with another value", packed(msgpack.ExtType(0, b"\x01"))),
    Bad("a key that is a number", packed({1: 2})),
    Bad("a key that is bytes", packed({b"a": 2})),
    Bad("text that is no UTF-8", around(b"\xa2\xff\xfe")),
    Bad("eleven binary parts", packed(*[b"x"] * 11)),
    Bad("a placeholder", packed({"_placeholder": True, "num": 0})),
]


@pytest.mark.threat("T14", "T13", "T3")
@pytest.mark.parametrize("bad", [*IN_JSON, *IN_MSGPACK], ids=lambda bad: f"{type(bad.packet).__name__}-{bad.name}")
async def test_what_breaks_a_limit_ends_its_sender_and_nobody_else(
    gateway: Service, valkey: EmbeddedValkey, bad: Bad
) -> None:
    before = await ended(gateway, "protocol_error")
    is_binary = isinstance(bad.packet, bytes)
    async with beside(gateway.port, valkey.url), joined(gateway.port, is_binary=is_binary) as socket:
        if isinstance(bad.packet, bytes):
            socket.client.send(Op.BINARY, bad.packet)
        else:
            socket.client.text("4" + bad.packet[1:])
        assert await socket.client.ended() == (None, True)
    assert await ended(gateway, "protocol_error") == before + 1
    assert not gateway.lines("task_failed")
    assert "Traceback" not in gateway.log.read_text()


@pytest.mark.threat("T13", "T14")
@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "msgpack"])
async def test_what_is_just_within_the_limits_is_served(gateway: Service, *, is_binary: bool) -> None:
    async with joined(gateway.port, is_binary=is_binary) as socket:
        for value in (nested(6), [1] * 512, {str(n): 1 for n in range(64)}, -(2**63), 2**63, 1e308):
            assert (await socket.call("x", value))["error"]["message"] == "Unknown event"
        assert (await socket.call("subscribe:price", [f"S{number}" for number in range(50)]))["ok"]


@pytest.mark.threat("T14")
async def test_of_a_key_that_comes_twice_the_last_one_counts(gateway: Service) -> None:
    async with joined(gateway.port) as socket:
        socket.client.text('427["subscribe:price","A",{"max_hz":"x","max_hz":5}]')
        assert '"ok":true' in await socket.next_text("437")


class Attached(NamedTuple):
    """Messages of a JSON client that has joined."""

    name: str
    messages: Sequence[str | bytes]


ATTACHED = [
    Attached("none announced", [f'50-["x",{HOLE}]']),
    Attached("none announced and none there", ['50-["x"]']),
    Attached("no number", [f'5-["x",{HOLE}]']),
    Attached("millions", [f'5999999-["x",{HOLE}]']),
    Attached("eleven", ['511-["x",' + ",".join(HOLE.replace("0", str(n)) for n in range(11)) + "]"]),
    Attached("a negative number", [f'5-1-["x",{HOLE}]']),
    Attached("no place for them", ['51-["x"]']),
    Attached("one place for two", [f'52-["x",{HOLE}]']),
    Attached("a number that is text", ['51-["x",{"_placeholder":true,"num":"splice"}]']),
    Attached("a number that is true", [f'52-["x",{HOLE},{{"_placeholder":true,"num":true}}]']),
    Attached("a number that is false", ['51-["x",{"_placeholder":true,"num":false}]']),
    Attached("a number out of range", ['51-["x",{"_placeholder":true,"num":1}]']),
    Attached("a negative place", ['51-["x",{"_placeholder":true,"num":-1}]']),
    Attached("half a place", ['51-["x",{"_placeholder":true,"num":0.5}]']),
    Attached("one place twice", [f'52-["x",{HOLE},{HOLE}]']),
    Attached("more in a place", ['51-["x",{"_placeholder":true,"num":0,"more":1}]']),
    Attached("a place in a plain packet", [f'42["x",{HOLE}]'.removeprefix("4")]),
    Attached("text instead", [f'51-["x",{HOLE}]', '2["x"]']),
    Attached("bytes that nobody announced", [b"x"]),
    Attached("more bytes than a message may have", [f'52-["x",{HOLE},{HOLE.replace("0", "1")}]', *[bytes(9_000)] * 2]),
]


@pytest.mark.threat("T2", "T3")
@pytest.mark.parametrize("attached", ATTACHED, ids=lambda attached: attached.name)
async def test_attachments_that_do_not_fit_end_their_sender(gateway: Service, attached: Attached) -> None:
    before = await ended(gateway, "protocol_error") + await ended(gateway, "message_too_big")
    async with joined(gateway.port) as socket, asyncio.timeout(ATTACHMENTS_S - 1):
        for message in attached.messages:
            _send(socket, message)
        assert (await socket.client.ended())[1]
    assert await ended(gateway, "protocol_error") + await ended(gateway, "message_too_big") == before + 1


@pytest.mark.threat("T2")
async def test_attachments_before_a_namespace_is_joined_are_not_kept(gateway: Service) -> None:
    for packet in (f'451-["x",{HOLE}]', f'451-/nowhere,["x",{HOLE}]', '450-["x"]'):
        async with await connect(gateway.port) as client, asyncio.timeout(ATTACHMENTS_S - 1):
            client.text("40/nowhere,")
            assert (await client.receive()) is not None
            client.text(packet)
            assert await client.ended() == (None, True)


@pytest.mark.threat("T2")
async def test_a_thousand_clients_that_owe_attachments_and_leave_leave_nothing(gateway: Service) -> None:
    resident = 0
    for round_ in range(2):
        for _ in range(20):
            held = [await connect(gateway.port) for _ in range(50)]
            for client in held:
                client.text("40")
                client.text('452-["x",' + HOLE + "," + HOLE.replace("0", "1") + "]")
                client.send(Op.BINARY, bytes(15_000))
            for client in held:
                client.send(Op.PING)
                while (received := await client.receive()) is not None and received.op is not Op.PONG:
                    pass
                assert received is not None, "it is waited for"
            for client in held:
                client.writer.transport.abort()
        await eventually(lambda: _clients(gateway), "all are gone", lambda count: count == 0)
        if round_ == 0:
            resident = gateway.rss()
    assert gateway.rss() - resident < 12_000_000, "what a thousand owe is fifteen; sessions live on for a while"


@pytest.mark.threat("T2")
async def test_attachments_that_are_polled_in_are_bounded_alike(gateway: Service) -> None:
    for packets in (f'450-["x",{HOLE}]', f'451-["x",{HOLE}]\x1e42["x"]', "bAAAA"):
        sid = str(json.loads((await ask(gateway.port, polling_head())).body[1:])["sid"])
        for body, status in (("40", OK), (packets, 400)):
            head = polling_head({"Content-Length": str(len(body))}, f"{POLLING}&sid={sid}", "POST")
            assert (await ask(gateway.port, head + body.encode())).status == status


@pytest.mark.threat("T27")
@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "msgpack"])
async def test_three_unknown_namespaces_are_refused_and_the_next_is_the_last(
    gateway: Service, *, is_binary: bool
) -> None:
    before = await ended(gateway, "protocol_error")
    async with joined(gateway.port, is_binary=is_binary) as socket:
        for number in range(REFUSED_NAMESPACES):
            _join(socket, f"/n{number}")
            received = await socket.client.receive()
            assert received is not None
            assert b"Invalid namespace" in received.payload
        _join(socket, "/n")
        assert await socket.client.ended() == (None, True)
    assert await ended(gateway, "protocol_error") == before + 1


@pytest.mark.threat("T28")
@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "msgpack"])
async def test_acks_that_nothing_waits_for_are_counted_and_passed_over(gateway: Service, *, is_binary: bool) -> None:
    before = (await gateway.scrape())["tickwire_unknown_acks_total"]
    async with joined(gateway.port, is_binary=is_binary) as socket:
        for number in (0, 1, 2**53 - 1):
            if is_binary:
                packet = {"type": 3, "data": ["forged"], "nsp": "/", "id": number}
                socket.client.send(Op.BINARY, msgpack.packb(packet))
            else:
                socket.client.text(f'43{number}["forged"]')
        assert (await socket.call("unsubscribe:price", "A"))["ok"]
    assert (await gateway.scrape())["tickwire_unknown_acks_total"] == before + 3


@pytest.mark.threat("T28")
async def test_an_ack_id_is_answered_once_and_may_come_again(gateway: Service) -> None:
    async with joined(gateway.port) as socket:
        socket.client.writer.write(frame(Op.TEXT, b'427["x"]') * 3)
        for _ in range(3):
            assert "Unknown event" in await socket.next_text("437")


@pytest.mark.threat("T26")
async def test_no_name_that_is_no_symbol_leaves_anything(gateway: Service) -> None:
    rooms = (await gateway.scrape())["websocket_rooms"]
    names = ["", " ", "*", "A*", "a\r\nb", "x" * 33, "A B", "{A}", "ä", "A\0", "price:A?", "[A]"]
    async with joined(gateway.port) as socket:
        for event in ("subscribe:price", "subscribe:trades"):
            answer = await socket.call(event, names)
            assert {item["error"]["code"] for item in answer["results"]} == {201}
        assert (await socket.call("subscribe:chart", "A\r\nB", "1m"))["error"]["code"] == 201
        assert (await gateway.scrape())["websocket_rooms"] == rooms


def _send(socket: WireSocket, message: str | bytes) -> None:
    if isinstance(message, bytes):
        socket.client.send(Op.BINARY, message)
    else:
        socket.client.text("4" + message)


def _join(socket: WireSocket, namespace: str) -> None:
    if socket.is_binary:
        socket.client.send(Op.BINARY, msgpack.packb({"type": 0, "nsp": namespace}))
    else:
        socket.client.text(f"40{namespace},")


async def _clients(gateway: Service) -> float:
    return (await gateway.scrape())['websocket_connections{transport="websocket"}']
