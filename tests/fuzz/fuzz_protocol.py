"""Fuzz the protocol package: whatever arrives, the answer is a value or a `PeerError`, and memory stays flat.

    python -m tests.fuzz.fuzz_protocol --seconds 60 --target json|msgpack|engineio|connection|all [--seed N]

The exit code is 1 if something was found; the input is printed as a Python literal, ready for a unit test.
"""

import sys
from math import inf

import msgpack

from protocol.engineio import codec
from protocol.engineio.payload import PayloadLimits, decode_payload, encode_payload
from protocol.engineio.session import CloseCause, Session, SessionSettings, State, Transport
from protocol.errors import PeerError
from protocol.socketio.connection import Connection, ConnectionSettings, ConnectRequested, EventReceived
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.parser import Limits, MessageData, Parser, Parsers
from tests.fuzz import seeds
from tests.fuzz.fuzzer import SEPARATOR, Finding, Target, cut, main
from tests.support.decoding import decode_until_refused

PARSERS = Parsers(JsonParser(Limits()), MsgpackParser(Limits()))
SETTINGS = ConnectionSettings(parsers=PARSERS, max_pending_acks=8, max_unanswered=8)
SESSIONS = SessionSettings(ping_interval=300, ping_timeout=200)
PROBING = (State.PROBE_OPEN, State.PROBED)
PLACE = b'{"_placeholder":true,"num":0}'
JSON_CORPUS = (
    b"0",
    b'0{"token":"t"}',
    b"0/custom,",
    b"1",
    b'2["subscribe:price",["A","B"]]',
    b'20["x",{"a":[1,2.5,null,true,"\\u20ac"]}]',
    b'3/custom,7[{"ok":true}]',
    b'4{"message":"no"}',
    b'51-["x",' + PLACE + b"]" + SEPARATOR + b"\x00bytes",
    b"62-3[" + PLACE + b"," + PLACE.replace(b"0", b"1") + b"]" + SEPARATOR + b"\x001" + SEPARATOR + b"\x002",
)
JSON_TOKENS = (
    *(
        b"0",
        b"1",
        b"2",
        b"3",
        b"4",
        b"51-",
        b"510-",
        b"50-",
        b"62-",
        b"-",
        b"/",
        b",",
        b"/custom,",
        b"9007199254740992",
    ),
    *(b"[", b"]", b"{", b"}", b":", b'"', b"[[[[[[[[", b"null", b"true", b"NaN", b"1e999", b"-0", b"1E5", b"\\ud800"),
    *(b'"connect"', b'"__proto__":', b'"_placeholder":true', b'"num":', b'"splice"', PLACE, b"\xed\xa0\x80", b"\xff"),
)
UNDEFINED = b"\xd4\x00\x00"


def packed(**fields: object) -> bytes:
    """Write a msgpack map."""
    return bytes(msgpack.packb(fields))


MSGPACK_CORPUS = (
    b"\x83\xa4type\x00\xa4data" + UNDEFINED + b"\xa3nsp\xa1/",
    packed(type=0, data={"token": "t", "offset": msgpack.ExtType(0, b"\0")}, nsp="/"),
    packed(type=1, data=None, nsp="/"),
    packed(type=2, data=["x", {"a": [1, 2.5, None, True, "€", b"b"]}], options={"compress": True}, id=0, nsp="/custom"),
    packed(type=2, data=["subscribe:price", ["A"] * 20], nsp="/"),
    packed(type=3, id=7, data=[2**64 - 1, -(2**63), b""], nsp="/"),
    packed(type=4, data={"message": "no"}, nsp="/x"),
)
MSGPACK_TOKENS = (
    *(
        UNDEFINED,
        b"\xc0",
        b"\xc1",
        b"\xc2",
        b"\xc4\x01\x00",
        b"\xc6\xff\xff\xff\xff",
        b"\xc7\x01\x00\x00",
        b"\xc9\xff\xff\xff\xff",
    ),
    *(
        b"\xcb\x7f\xf8" + b"\0" * 6,
        b"\xcb\x7f\xf0" + b"\0" * 6,
        b"\xca\x7f\x80\0\0",
        b"\xcf" + b"\xff" * 8,
        b"\xd3\x80" + b"\0" * 7,
    ),
    *(b"\xd6\xff\0\0\0\0", b"\xd7\x00" + b"\0" * 8, b"\xdb\xff\xff\xff\xff", b"\xdc\x02\x00", b"\xdd\xff\xff\xff\xff"),
    *(
        b"\xde\x00\x40",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 40,
        b"\x81\xa1a" * 20,
        b"\xa3nsp",
        b"\xa4type",
        b"\xa4data",
        b"\xa2id",
    ),
    *(
        b"\xa1/",
        b"\xacsocket_id",
        b"\xac_placeholder\xc3",
        b"\x82\xac_placeholder\xc3\xa3num\x00",
        b"\xa3\xed\xa0\x80",
        b"\xff",
    ),
)
ENGINE_CORPUS = (
    b"2probe" + SEPARATOR + b"5",
    b"4hello\x1ebAP8=\x1e3",
    b"1",
    b"6",
    b'0{"sid":"s","upgrades":[],"pingInterval":1,"pingTimeout":1,"maxPayload":1}',
)
ENGINE_TOKENS = (
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
    b"probe",
    b"b",
    b"AP8=",
    b"=",
    b"\x1e",
    b"\x1e\x1e",
    b"1",
    b"0{",
    b"\xff",
    b"\xe2\x82\xac",
)


def check_accepted(parser: Parser, messages: list[MessageData]) -> None:
    """Check that what a parser accepts comes back the same through both."""
    for packet in decode_until_refused(parser, messages):
        for other in PARSERS:
            if decode_until_refused(other, other.encode(packet)) != [packet]:
                raise Finding(f"{other.name} does not bring back {packet!r}")


def fuzz_json(data: bytes) -> None:
    """The JSON parser on one input."""
    check_accepted(PARSERS.json, cut(data))


def fuzz_msgpack(data: bytes) -> None:
    """The msgpack parser on one input."""
    check_accepted(PARSERS.msgpack, list(data.split(SEPARATOR)))


def fuzz_engineio(data: bytes) -> None:
    """Codec, payload and session on one input: a polling body, then frames on the transport or the probe."""
    try:
        packets = list(decode_payload(data, PayloadLimits(max_packets=64)))
        if list(decode_payload(encode_payload(packets), PayloadLimits())) != packets:
            raise Finding(f"does not come back: {packets!r}")
    except PeerError:
        pass
    session = Session(SESSIONS, "s", Transport.POLLING, 0.0)
    session.open_probe(0.0)
    for now, frame in enumerate(cut(data)):
        try:
            packet = codec.decode(frame)
            if now % 2 and session.state in PROBING:
                session.receive_probe(packet)
            elif session.is_open:
                session.receive_packet(packet, now / 10)
            session.handle_deadline(now / 10)
        except PeerError:
            break
    session.close(CloseCause.SHUTDOWN, 0.0)
    session.finish(CloseCause.FORCED)
    if session.next_deadline() != inf:
        raise Finding("a life that is over waits for something")


def fuzz_connection(data: bytes) -> None:
    """A whole connection on one input, with an application that answers some of it."""
    connection = Connection(SETTINGS, 0.0)
    for now, message in enumerate(cut(data)):
        try:
            happening = connection.receive_message(message, now / 10)
            connection.handle_deadline(now / 10)
        except PeerError:
            break
        match happening:
            case ConnectRequested(namespace):
                if namespace in ("/", "/custom"):
                    connection.accept(namespace, "s1", "p1")
                    connection.ask(namespace, "question", token=now, now=now / 10)
                else:
                    connection.refuse(namespace, "Invalid namespace")
            case EventReceived(namespace, _, args, ack_id):
                connection.send_event(namespace, "echo", *args, None)
                if ack_id is not None and ack_id % 3:
                    connection.send_ack(namespace, ack_id, *args)
            case _:
                pass
        if len(connection.namespaces) > SETTINGS.max_namespaces:
            raise Finding("more namespaces than allowed")
    connection.close()
    if connection.next_deadline() != inf or connection.namespaces:
        raise Finding("a closed connection keeps something")


CONNECTION_CORPUS = (
    *(b"0" + SEPARATOR + item for item in (*JSON_CORPUS, *seeds.JSON)),
    *(MSGPACK_CORPUS[0] + SEPARATOR + item for item in (*MSGPACK_CORPUS, *seeds.MSGPACK)),
)
TARGETS = {
    "json": Target(fuzz_json, (*JSON_CORPUS, *seeds.JSON), JSON_TOKENS),
    "msgpack": Target(fuzz_msgpack, (*MSGPACK_CORPUS, *seeds.MSGPACK), MSGPACK_TOKENS),
    "engineio": Target(fuzz_engineio, (*ENGINE_CORPUS, *seeds.ENGINEIO), ENGINE_TOKENS),
    "connection": Target(fuzz_connection, CONNECTION_CORPUS, (*JSON_TOKENS, *MSGPACK_TOKENS, SEPARATOR)),
}


if __name__ == "__main__":
    sys.exit(main(TARGETS, "Fuzz the protocol package."))
