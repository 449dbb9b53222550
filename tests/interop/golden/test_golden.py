"""Golden bytes: what the stock JavaScript packages write, we read; what we write, they read.

`golden.json` is made by `make_golden.cjs` out of the official encoders and committed, so only what is marked `interop`
needs Node and the packages in `tests/interop/node_modules`.
"""

import json
import subprocess
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias, TypedDict, cast

import pytest
from socketio import msgpack_packet as python_msgpack
from socketio import packet as python_json

from protocol.engineio import codec
from protocol.engineio import packets as engineio
from protocol.engineio.payload import PayloadLimits, decode_payload, encode_payload
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.packets import Ack, Connect, ConnectError, Disconnect, Event, Packet, Value
from protocol.socketio.parser import Limits, MessageData, Parser
from tests.support.decoding import decode_all
from tests.support.hex_json import from_wire
from tests.support.shown import shown

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Item: TypeAlias = "dict[str, Json]"


class Answer(TypedDict):
    """What check_decode.cjs prints."""

    socketio: list[Item]
    engineio: list[Item]
    payloads: list[list[Item]]


HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
PARSERS: dict[str, Parser] = {"json": JsonParser(Limits()), "msgpack": MsgpackParser(Limits())}
SOCKETIO: list[Item] = GOLDEN["socketio"]
FOREIGN: list[Item] = GOLDEN["foreign"]
FRAMES: list[Item] = GOLDEN["engineio"]["frames"]
PAYLOADS: list[Item] = GOLDEN["engineio"]["payloads"]

each_parser = pytest.mark.parametrize("parser", PARSERS)


def meaning(item: Item) -> str:
    return str(item.get("meaning", item))


def from_frame(frame: Json) -> MessageData:
    assert isinstance(frame, dict)
    return str(frame["text"]) if "text" in frame else bytes.fromhex(str(frame["hex"]))


def to_frame(message: MessageData) -> Json:
    return {"text": message} if isinstance(message, str) else {"hex": message.hex()}


def frames_of(item: Item, key: str) -> tuple[MessageData, ...]:
    frames = item[key]
    assert isinstance(frames, list)
    return tuple(map(from_frame, frames))


def to_json(value: object) -> Json:
    """Return a value with its bytes as golden.json writes them, and decimals as JavaScript reads them."""
    match value:
        case bytes():
            return {"$hex": value.hex()}
        case Decimal():
            return float(value)
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
        case _:
            return cast("Json", value)


def packet_of(item: Item) -> Packet:
    fields = item["packet"]
    assert isinstance(fields, dict)
    namespace, data = str(fields["nsp"]), from_wire(fields.get("data"))
    ack_id = cast("int | None", fields.get("id"))
    match fields["type"], data:
        case 0, dict() | None:
            return Connect(namespace, data)
        case 1, None:
            return Disconnect(namespace)
        case 2, [str() | int() as name, *args]:
            return Event(name, tuple(args), namespace, ack_id)
        case 3, [*args] if ack_id is not None:
            return Ack(ack_id, tuple(args), namespace)
        case 4, dict() | str():
            return ConnectError(data, namespace)
        case _:
            raise AssertionError(item)


def engine_packet_of(fields: Json) -> engineio.Packet:
    assert isinstance(fields, dict)
    kind, data = fields["type"], from_wire(fields.get("data"))
    if kind == "message":
        assert isinstance(data, (str, bytes))
        return engineio.Message(data)
    if kind == "open":
        shake = json.loads(str(data))
        return engineio.Open(
            shake["sid"],
            tuple(shake["upgrades"]),
            shake["pingInterval"],
            shake["pingTimeout"],
            shake["maxPayload"],
        )
    probe = data == "probe"
    simple: dict[str, engineio.Packet] = {
        "close": engineio.Close(),
        "ping": engineio.Ping(probe),
        "pong": engineio.Pong(probe),
        "upgrade": engineio.Upgrade(),
        "noop": engineio.Noop(),
    }
    return simple[str(kind)]


def test_the_golden_bytes_are_those_of_the_versions_we_support() -> None:
    versions = {"socket.io-parser": "4.2.7", "socket.io-msgpack-parser": "3.0.2", "engine.io-parser": "5.2.3"}
    assert versions.items() <= GOLDEN["versions"].items()


@each_parser
@pytest.mark.parametrize("item", SOCKETIO, ids=meaning)
def test_what_javascript_writes_we_read(parser: str, item: Item) -> None:
    assert decode_all(PARSERS[parser], frames_of(item, parser)) == packet_of(item)


@pytest.mark.parametrize("item", FOREIGN, ids=meaning)
def test_what_other_clients_write_we_read(item: Item) -> None:
    assert decode_all(PARSERS[str(item["parser"])], frames_of(item, "frames")) == packet_of(item)


@each_parser
@pytest.mark.parametrize("item", [item for item in SOCKETIO if item["from"] == "server"], ids=meaning)
def test_what_a_server_writes_we_write_the_same(parser: str, item: Item) -> None:
    assert PARSERS[parser].encode(packet_of(item)) == frames_of(item, parser)


@pytest.mark.parametrize("item", FRAMES, ids=meaning)
def test_engineio_frames_are_the_same_both_ways(item: Item) -> None:
    packet = engine_packet_of(item["packet"])
    assert codec.decode(from_frame(item["frame"])) == packet
    assert codec.decode(from_frame(item["textFrame"])) == packet
    assert codec.encode(packet) == from_frame(item["frame"])
    assert codec.encode(packet, binary_as_text=True) == from_frame(item["textFrame"])


@pytest.mark.parametrize("item", PAYLOADS, ids=meaning)
def test_polling_bodies_are_the_same_both_ways(item: Item) -> None:
    body, packets = str(item["body"]).encode(), item["packets"]
    assert isinstance(packets, list)
    expected = [engine_packet_of(packet) for packet in packets]
    assert list(decode_payload(body, PayloadLimits())) == expected
    assert encode_payload(expected) == body


# --- python-socketio, whose packages are installed beside ours

PYTHON_PACKETS: list[tuple[Packet, Item]] = [
    (Connect("/", {}), {"packet_type": 0, "data": {}}),
    (Connect("/custom", {"token": "t"}), {"packet_type": 0, "data": {"token": "t"}, "namespace": "/custom"}),
    (Disconnect(), {"packet_type": 1}),
    (Disconnect("/custom"), {"packet_type": 1, "namespace": "/custom"}),
    (Event("x", (1, {"a": "€"})), {"packet_type": 2, "data": ["x", 1, {"a": "€"}]}),
    (Event("x", (), "/custom", 0), {"packet_type": 2, "data": ["x"], "namespace": "/custom", "id": 0}),
    (Ack(7, ([1.5],)), {"packet_type": 3, "data": [[1.5]], "id": 7}),
]
PYTHON_CODECS = {"json": python_json.Packet, "msgpack": python_msgpack.MsgPackPacket}


@each_parser
@pytest.mark.parametrize(("packet", "fields"), PYTHON_PACKETS, ids=shown)
def test_what_python_socketio_writes_we_read(parser: str, packet: Packet, fields: Item) -> None:
    written = PYTHON_CODECS[parser](**{"namespace": "/", **fields}).encode()
    messages = written if isinstance(written, list) else [written]
    assert decode_all(PARSERS[parser], tuple(messages)) == packet


@each_parser
@pytest.mark.parametrize(("packet", "fields"), PYTHON_PACKETS, ids=shown)
def test_what_we_write_python_socketio_reads(parser: str, packet: Packet, fields: Item) -> None:
    (message,) = PARSERS[parser].encode(packet)
    read = PYTHON_CODECS[parser](encoded_packet=message)
    assert (read.packet_type, read.namespace or "/", read.id) == (
        fields["packet_type"],
        fields.get("namespace", "/"),
        fields.get("id"),
    )
    assert read.data == fields.get("data")


def test_binary_that_python_socketio_writes_we_read() -> None:
    messages = python_json.Packet(packet_type=2, data=["x", b"1", {"a": [b"2"]}], id=3).encode()
    assert decode_all(PARSERS["json"], tuple(messages)) == Event("x", (b"1", {"a": [b"2"]}), "/", 3)


# --- the other way round: the real decoders on what we wrote

UPDATE: Value = {"symbol": "BTC-USDT", "price": Decimal("64000.10"), "ts": 1_763_800_000_000, "seq": 7, "n": 1}
SERVER_PACKETS: list[Packet] = [
    *(packet_of(item) for item in SOCKETIO if item["from"] == "server"),
    Event("price:update", (UPDATE,)),
    Event("price:batch", ([["BTC-USDT", Decimal("64000.10")], ["A", 1]], {"ts": 1, "seqs": [7, 8]})),
    Event("x", (None, True, -1, 1.0, 2**53 - 1, 1e-9, "€😀", [], {}, "x" * 300, [0] * 300)),
    Event("x", ({"a": [b"", {"b": b"\x00" * 300}]}, b"2"), "/custom", 0),
    Ack(2**53 - 1, (b"1", {"ok": False})),
    ConnectError("no"),
    Disconnect("/custom"),
]


def expected_by_javascript(packet: Packet) -> Item:
    match packet:
        case Connect(namespace, data):
            fields: dict[str, object] = {"type": 0, "data": data, "nsp": namespace}
        case Disconnect(namespace):
            fields = {"type": 1, "nsp": namespace}
        case Event(name, args, namespace, ack_id):
            fields = {"type": 2, "data": [name, *args], "nsp": namespace}
            if ack_id is not None:
                fields["id"] = ack_id
        case Ack(ack_id, args, namespace):
            fields = {"type": 3, "data": list(args), "nsp": namespace, "id": ack_id}
        case ConnectError(data, namespace):
            fields = {"type": 4, "data": data, "nsp": namespace}
    return {key: to_json(value) for key, value in fields.items()}


def spell_out(packet: Item) -> Item:
    """Give an empty message its empty text, which the JavaScript decoder leaves out."""
    return packet if packet["type"] != "message" else {"data": "", **packet}


def run_javascript(request: Item) -> Answer:
    """Let the stock decoders read what we wrote."""
    done = subprocess.run(
        ["node", str(HERE / "check_decode.cjs")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"are the packages in tests/interop/node_modules? {done.stderr}"
    return cast("Answer", json.loads(done.stdout))


@pytest.mark.interop
def test_what_we_write_javascript_reads() -> None:
    written = [(name, packet, parser.encode(packet)) for name, parser in PARSERS.items() for packet in SERVER_PACKETS]
    for name, parser in PARSERS.items():
        pairs = parser.encode_array([parser.encode_value([symbol, Decimal("0.5")]) for symbol in ("A", "B")])
        extras = parser.encode_value({"ts": 1})
        whole = Event("price:batch", ([["A", 0.5], ["B", 0.5]], {"ts": 1}))
        written.append((name, whole, (parser.encode_spliced("price:batch", [pairs, extras]),)))
    engine_packets = [engine_packet_of(item["packet"]) for item in FRAMES]
    answer = run_javascript(
        {
            "socketio": [{"parser": name, "frames": list(map(to_frame, messages))} for name, _, messages in written],
            "engineio": [to_frame(codec.encode(packet)) for packet in engine_packets],
            "payloads": [encode_payload(engine_packets).decode()],
        },
    )
    for (_, packet, _), understood in zip(written, answer["socketio"], strict=True):
        understood.pop("attachments", None)
        assert understood == expected_by_javascript(packet)
    packets = [item["packet"] for item in FRAMES]
    assert [spell_out(packet) for packet in answer["engineio"]] == packets
    assert [[spell_out(packet) for packet in body] for body in answer["payloads"]] == [packets]
