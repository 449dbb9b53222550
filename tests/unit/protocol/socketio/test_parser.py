"""The choice of a parser from the first message, and the defaults of the limits."""

import pytest

from protocol.errors import PeerError, ViolationCode
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.parser import Limits, MessageData, PacketType, Parsers, Pending, detect_parser

PARSERS = Parsers(json=JsonParser(Limits()), msgpack=MsgpackParser(Limits()))


@pytest.mark.parametrize("first", ["0", "0{}", "0/custom,", '0{"token":"t"}'])
def test_text_that_starts_a_connect_is_json(first: str) -> None:
    assert detect_parser(first, PARSERS) is PARSERS.json


@pytest.mark.parametrize("first", [b"\x80", b"\x83\xa4type", b"\x8f", b"\xde\x00\x03", b"\xdf\x00\x00\x00\x03"])
def test_a_map_is_msgpack(first: bytes) -> None:
    assert detect_parser(first, PARSERS) is PARSERS.msgpack


@pytest.mark.parametrize(
    "first", ["", "1", '2["x"]', "51-", "{}", " 0", b"", b"\x90", b"\x7f", b"0", b"\xdc\x00\x01", b"\xa1"]
)
def test_anything_else_is_neither(first: MessageData) -> None:
    with pytest.raises(PeerError) as caught:
        detect_parser(first, PARSERS)
    assert caught.value.code is ViolationCode.UNKNOWN_PARSER


def test_the_parsers_name_themselves() -> None:
    assert [parser.name for parser in PARSERS] == ["json", "msgpack"]


def test_stock_clients_take_ten_attachments_so_that_is_the_default() -> None:
    assert Limits().max_attachments == 10


def test_a_pending_packet_does_not_share_its_attachments() -> None:
    one = Pending(PacketType.ACK, "/", 1, [], (), 0)
    other = Pending(PacketType.ACK, "/", 1, [], (), 0)
    one.received.append(b"x")
    assert other.received == []
