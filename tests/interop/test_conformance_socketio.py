"""Socket.IO at the wire: both parsers over both transports (protocol reference 3, 4, 7)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import product
from time import monotonic
from typing import Final

import msgpack
import pytest

from tests.support.conformance_client import NO_PINGS_MS, Poller, Wire, serving
from tests.support.conformance_socket import (
    ACK,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    UNDEFINED,
    Json,
    Packet,
    SocketPeer,
    peer,
)

CONNECT_TIMEOUT_S: Final = 1.0
ARGS: Final = [1, "2", {"3": [True, None]}, -1.5, "é€😀"]
BINARY: Final = [b"\x01\x02\x03", {"deep": [b"", {"er": b"\xff"}]}, "text"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The app without its pings."""
    with serving(NO_PINGS_MS) as port:
        yield port


@pytest.fixture(scope="module")
def pinging_port() -> Iterator[int]:
    """The app with its pings, patient with slow machines."""
    with serving((300, 20_000)) as port:
        yield port


@pytest.fixture(params=product(("polling", "websocket"), ("json", "msgpack")), ids="-".join)
async def client(request: pytest.FixtureRequest, port: int) -> AsyncIterator[SocketPeer]:
    """A client of each transport and parser that has not said anything."""
    async with peer(port, *request.param) as made:
        yield made


@pytest.fixture
async def member(client: SocketPeer) -> SocketPeer:
    """The same, in the namespace `/`."""
    await client.join()
    return client


@pytest.mark.parametrize("auth", [None, {}, {"token": "123", "n": [1, {"x": None}]}])
@pytest.mark.parametrize("namespace", ["/", "/custom"])
async def test_connect_is_answered_before_the_application_speaks(
    client: SocketPeer, namespace: str, auth: Json
) -> None:
    await client.say(Packet(CONNECT, auth, namespace))
    reply = await client.hear()
    assert reply is not None
    assert reply.data.keys() == {"sid"}
    assert reply == Packet(CONNECT, {"sid": reply.data["sid"]}, namespace)
    assert await client.hear() == Packet(EVENT, ["auth", auth or {}], namespace)


async def test_client_in_a_hurry_is_told_its_auth_first(client: SocketPeer) -> None:
    await client.say(Packet(CONNECT), Packet(EVENT, ["message", 1]))
    heard = [await client.hear() for _ in range(3)]
    assert heard[1:] == [Packet(EVENT, ["auth", {}]), Packet(EVENT, ["message-back", 1])]


async def test_client_that_leaves_in_a_hurry_is_told_no_more_than_its_auth(client: SocketPeer) -> None:
    await client.say(Packet(CONNECT, None, "/custom"), Packet(DISCONNECT, namespace="/custom"))
    await client.say(Packet(CONNECT))
    reply, *told = [heard async for heard in _until_spoken_to_in(client, "/")]
    assert (reply.kind, reply.namespace) == (CONNECT, "/custom")
    assert told in ([], [Packet(EVENT, ["auth", {}], "/custom")])
    assert await client.hear() == Packet(EVENT, ["auth", {}])
    assert await client.lives()


async def _until_spoken_to_in(client: SocketPeer, namespace: str) -> AsyncIterator[Packet]:
    while (heard := await client.hear()) is not None and heard.namespace != namespace:
        yield heard


async def test_namespaces_have_ids_of_their_own(client: SocketPeer) -> None:
    ids = [await client.join(namespace) for namespace in ("/", "/custom")]
    if isinstance(client.link, Poller):
        ids.append(client.link.handshake["sid"])
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("namespace", ["/random", "/custom?token=abc", "/Custom"])
async def test_unknown_namespace_is_refused_and_the_transport_stays(client: SocketPeer, namespace: str) -> None:
    await client.say(Packet(CONNECT, None, namespace))
    assert await client.hear() == Packet(CONNECT_ERROR, {"message": "Invalid namespace"}, namespace)
    await client.join()
    assert await client.lives()


async def test_refusal_carries_its_data_as_an_object(client: SocketPeer) -> None:
    error = {"message": "Not authorized", "data": {"code": "E_AUTH"}}
    for _ in range(3):
        await client.say(Packet(CONNECT, {"token": "t"}, "/forbidden"))
        assert await client.hear() == Packet(CONNECT_ERROR, error, "/forbidden")
    await client.join()


@pytest.mark.parametrize("args", [[], ARGS, BINARY, [b"x"] * 10])
async def test_event_comes_back(member: SocketPeer, args: Json) -> None:
    await member.say(Packet(EVENT, ["message", *args]))
    assert await member.hear() == Packet(EVENT, ["message-back", *args])


@pytest.mark.parametrize("args", [[], ARGS, BINARY])
@pytest.mark.parametrize("ack_id", [0, 456])
async def test_event_is_acknowledged_under_its_id(member: SocketPeer, ack_id: int, args: Json) -> None:
    await member.say(Packet(EVENT, ["message-with-ack", *args], ack_id=ack_id))
    assert await member.hear() == Packet(ACK, args, ack_id=ack_id)


@pytest.mark.parametrize("args", [[], ARGS, BINARY])
async def test_client_is_asked_and_its_answer_is_taken_once(member: SocketPeer, args: Json) -> None:
    for expected in (0, 1):
        await member.say(Packet(EVENT, ["ask-me", *args]))
        assert await member.hear() == Packet(EVENT, ["question", *args], ack_id=expected)
        answer = Packet(ACK, args[::-1], ack_id=expected)
        await member.say(answer, answer, Packet(ACK, [], ack_id=999))
        assert await member.hear() == Packet(EVENT, ["answer-was", *args[::-1]])
    assert await member.lives()


async def test_many_events_keep_their_order(member: SocketPeer) -> None:
    events = [[number, b"%d" % number] if number % 5 == 0 else [number] for number in range(100)]
    await member.say(*(Packet(EVENT, ["message", *args]) for args in events))
    assert [await member.hear() for _ in events] == [Packet(EVENT, ["message-back", *args]) for args in events]


async def test_event_of_no_handler_is_ignored(member: SocketPeer) -> None:
    await member.say(Packet(EVENT, ["nobody listens", 1]), Packet(EVENT, [7, 1]), Packet(EVENT, ["error"]))
    assert await member.lives()


async def test_leaving_a_namespace_is_not_answered_and_keeps_the_others(member: SocketPeer) -> None:
    await member.join("/custom")
    await member.say(Packet(DISCONNECT, namespace="/custom"))
    assert await member.lives()
    await member.join("/custom")


async def test_client_that_left_its_last_namespace_may_come_back(member: SocketPeer) -> None:
    await member.say(Packet(DISCONNECT))
    await member.join()
    assert await member.lives()


async def test_client_put_out_of_a_namespace_keeps_its_transport(member: SocketPeer) -> None:
    await member.join("/custom")
    await member.say(Packet(EVENT, ["kick-me"]))
    assert await member.hear() == Packet(DISCONNECT)
    await member.join()
    assert await member.lives()


async def test_kicked_client_is_told_for_each_namespace_before_the_transport_closes(member: SocketPeer) -> None:
    await member.join("/custom")
    await member.say(Packet(EVENT, ["kick-transport"]))
    told = [await member.hear() for _ in range(3)]
    assert told == [Packet(DISCONNECT), Packet(DISCONNECT, namespace="/custom"), None]


@pytest.mark.parametrize(
    "packet",
    [
        Packet(EVENT, ["message"]),
        Packet(EVENT, ["message"], "/custom"),
        Packet(ACK, [], ack_id=0),
        Packet(DISCONNECT),
        Packet(DISCONNECT, namespace="/random"),
        Packet(CONNECT_ERROR, {"message": "no"}),
    ],
    ids=str,
)
async def test_nothing_but_connect_may_come_from_outside_a_namespace(client: SocketPeer, packet: Packet) -> None:
    await client.say(packet)
    assert await client.hear() is None


@pytest.mark.parametrize(
    "packet",
    [
        Packet(CONNECT),
        Packet(CONNECT_ERROR, {"message": "no"}),
        Packet(EVENT, ["message"], "/custom"),
        Packet(EVENT, {}),
        Packet(EVENT, [{}]),
        Packet(EVENT, ["connect"]),
        Packet(EVENT, ["disconnecting"]),
        Packet(ACK, {}, ack_id=0),
        Packet(DISCONNECT, namespace="/custom"),
        Packet(7, []),
        Packet(EVENT, ["message", *[b""] * 11]),
    ],
    ids=str,
)
async def test_what_no_member_may_send_closes_the_transport(member: SocketPeer, packet: Packet) -> None:
    await member.say(packet)
    assert await member.hear() is None


@pytest.mark.parametrize(
    "frame",
    [
        "4abc",
        "42{}",
        '42abc["message-with-ack",1]',
        "42[",
        "42",
        "431",
        "40[]",
        "40null",
        "4",
        '45-["message"]',
        '450-["message"]',
        '4511-["message"]',
        '451.5-["message"]',
        '451-["message",{"_placeholder":true,"num":1}]',
        '451-["message",{"_placeholder":true,"num":-1}]',
        b"\x01",
        b"\x82\xa4type\x01\xa3nsp\xa1/",
    ],
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_malformed_json_packet_closes(port: int, transport: str, frame: str | bytes) -> None:
    async with peer(port, transport, "json") as member:  # type: ignore[arg-type]
        await member.join()
        await member.link.send(frame)
        assert await member.hear() is None


@pytest.mark.parametrize(
    "frame",
    [
        "40",
        b"\x82\xa4type\x01",
        b"\x82\xa4type\x01\xa3nsp\xa1/\x00",
        b"\xc0",
        msgpack.packb([2, "/", ["message"]]),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["message"], "id": None}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["message"], "id": 1.5}),
        msgpack.packb({"type": "2", "nsp": "/", "data": ["message"]}),
        msgpack.packb({"type": 2, "nsp": None, "data": ["message"]}),
        msgpack.packb({"type": 2, "data": ["message"]}),
        msgpack.packb({"type": 2, "nsp": "/"}),
        msgpack.packb({"type": 5, "nsp": "/", "data": ["message", b""]}),
        msgpack.packb({"type": 0, "nsp": "/custom", "data": []}),
        msgpack.packb({"type": 1, "nsp": "/", "data": {}}),
    ],
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_malformed_msgpack_packet_closes(port: int, transport: str, frame: str | bytes) -> None:
    async with peer(port, transport, "msgpack") as member:  # type: ignore[arg-type]
        await member.join()
        await member.link.send(frame)
        assert await member.hear() is None


@pytest.mark.parametrize("frame", ["4abc", "41", '42["message"]', "4{}", "4", b"\x01", b"\x90", b""])
async def test_first_message_that_is_of_no_parser_closes(port: int, frame: str | bytes) -> None:
    async with await Wire.connect(port, "/socket.io/") as wire:
        await wire.send(frame)
        assert await wire.goodbye() is None


async def test_json_packets_are_byte_for_byte_those_of_the_reference(port: int) -> None:
    async with await Wire.connect(port, "/socket.io/") as wire:
        await wire.send("40")
        opened = await wire.frame()
        assert isinstance(opened, str)
        assert opened.startswith('40{"sid":"')
        assert await wire.frame() == '42["auth",{}]'
        await wire.send("40/random", "40/custom")
        assert await wire.frame() == '44/random,{"message":"Invalid namespace"}'
        joined = await wire.frame()
        assert isinstance(joined, str)
        assert joined.startswith('40/custom,{"sid":"')
        assert await wire.frame() == '42/custom,["auth",{}]'
        await wire.send('42["message",1,"2",{"3":[true]}]', '42456["message-with-ack"]')
        assert await wire.frame() == '42["message-back",1,"2",{"3":[true]}]'
        assert await wire.frame() == "43456[]"
        await wire.send('452-789["message-with-ack",{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]')
        await wire.send(b"\x01", b"\x02")
        head = '462-789[{"a":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}]'
        assert [await wire.frame() for _ in range(3)] == [head, b"\x02", b"\x01"]
        await wire.send("40/forbidden,", "41/custom", '42["kick-me"]')
        assert await wire.frame() == '44/forbidden,{"message":"Not authorized","data":{"code":"E_AUTH"}}'
        assert await wire.frame() == "41"


async def test_msgpack_packets_leave_out_what_they_do_not_have(port: int) -> None:
    async with await Wire.connect(port, "/socket.io/") as wire:
        await wire.send(b"\x83\xa4type\x00\xa4data\xd4\x00\x00\xa3nsp\xa1/")
        opened = await wire.frame()
        assert isinstance(opened, bytes)
        assert msgpack.unpackb(opened).keys() == {"type", "data", "nsp"}
        assert await wire.frame() == b"\x83\xa4type\x02\xa4data\x92\xa4auth\x80\xa3nsp\xa1/"
        event = {"nsp": "/", "id": 3, "type": 2, "options": {"compress": True}, "data": ["message-with-ack", b"\x00"]}
        await wire.send(msgpack.packb(event))
        assert await wire.frame() == b"\x84\xa2id\x03\xa4type\x03\xa4data\x91\xc4\x01\x00\xa3nsp\xa1/"
        await wire.send(msgpack.packb({"type": 2, "nsp": "/", "data": ["message", UNDEFINED, {"a": UNDEFINED}]}))
        assert await wire.frame() == msgpack.packb({"type": 2, "data": ["message-back", None, {}], "nsp": "/"})
        await wire.send(msgpack.packb({"type": 0, "data": {}, "nsp": "/custom"}))
        assert [len(await wire.frame()) > 0 for _ in range(2)] == [True, True]
        await wire.send(msgpack.packb({"type": 1, "data": None, "nsp": "/custom"}))
        await wire.send(msgpack.packb({"type": 2, "nsp": "/", "data": ["kick-me"]}))
        assert await wire.frame() == b"\x82\xa4type\x01\xa3nsp\xa1/"


async def test_msgpack_over_text_only_carriers(port: int) -> None:
    async with await Wire.connect(port, "/socket.io/", "&b64=1") as wire:
        await wire.send("bg6R0eXBlAKRkYXRh1AAAo25zcKEv")  # type 0, data undefined, nsp /
        assert isinstance(opened := await wire.frame(), str)
        assert opened.startswith("b")
        assert await wire.frame() == "bg6R0eXBlAqRkYXRhkqRhdXRogKNuc3ChLw=="


async def test_server_is_silent_until_the_client_connects(pinging_port: int) -> None:
    async with await Wire.connect(pinging_port, "/socket.io/") as wire:
        assert await wire.frame() == "2"
        await wire.send("3", "40")
        opened = await wire.frame()
        assert isinstance(opened, str)
        assert opened.startswith("40")


async def test_engine_packets_may_come_between_attachments(pinging_port: int) -> None:
    async with peer(pinging_port, "websocket", "json") as member:
        await member.join()
        await member.link.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\x01")
        await member.link.send("3", b"\x02")
        assert await member.hear() == Packet(EVENT, ["message-back", b"\x01", b"\x02"])


async def test_text_between_attachments_closes(port: int) -> None:
    async with peer(port, "websocket", "json") as member:
        await member.join()
        await member.link.send('451-["message",{"_placeholder":true,"num":0}]', '42["message"]')
        assert await member.hear() is None


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("says", [[], ["40/random"]])
async def test_client_that_pongs_but_never_joins_is_closed(pinging_port: int, transport: str, says: list[str]) -> None:
    began = monotonic()
    async with peer(pinging_port, transport, "json") as client:  # type: ignore[arg-type]
        if says:
            await client.link.send(*says)
            assert await client.hear() is not None
        assert await client.hear() is None
    assert monotonic() - began >= CONNECT_TIMEOUT_S - 0.01


async def test_client_that_left_its_last_namespace_is_not_timed_out(pinging_port: int) -> None:
    async with peer(pinging_port, "websocket", "json") as member:
        await member.join()
        await member.say(Packet(DISCONNECT))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S + 0.3):
                await member.hear()
