"""RFC 6455 at the wire, on the gateway's own `WebSocket` behind an echo: every kind of frame, legal and not.

What the Autobahn suite asks in its groups 1 to 7, 9 and 10, in our own words and at our sizes, for machines on which
that suite cannot be had. Sockets are real ones on the loopback. Bytes and text are in `test_websocket_text.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

import pytest

from services.gateway.limits import MAX_FRAGMENTS, WebSocketLimits
from shared.names import close_reasons
from tests.support.echo_place import Place
from tests.support.wire_client import Frame, Op, WireClient, frame

GATEWAY: Final = WebSocketLimits(max_message=16_384, frame_rate=50, frame_burst=200, write_timeout=10.0)
"""As the gateway's settings have it by default."""

SIZES: Final = (0, 1, 125, 126, 127, 128, 65_535, 65_536)
"""Around each change of the length field's form (section 5.2)."""

KINDS: Final = (Op.TEXT, Op.BINARY)
RESERVED: Final = (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
PING, PONG, TEXT, BINARY, CONT, CLOSE = Op.PING, Op.PONG, Op.TEXT, Op.BINARY, Op.CONT, Op.CLOSE
HELLO: Final = frame(TEXT, b"hello")
HELLO_BACK: Final = Frame(TEXT, b"hello")


@pytest.fixture(name="place")
async def somewhere() -> AsyncIterator[Place]:
    place = Place()
    yield place
    await place.close()


async def answers(client: WireClient, *sent: bytes, octets: bool = False) -> list[Frame]:
    """Send bytes, at once or one by one; all frames until the echo of a last `.`, which is left out."""
    await send(client, b"".join(sent) + frame(BINARY, b"."), octets=octets)
    found: list[Frame] = []
    while (received := await client.receive()) != Frame(BINARY, b"."):
        assert received is not None, found
        found.append(received)
    return found


async def send(client: WireClient, data: bytes, *, octets: bool = False) -> None:
    """Send bytes; one at a time, each in a turn of the event loop, so that the server reads it alone."""
    if not octets:
        client.writer.write(data)
        return
    for octet in data:
        client.writer.write(bytes((octet,)))
        await asyncio.sleep(0)


async def ending(client: WireClient, *sent: bytes) -> tuple[list[Frame], int | None]:
    """Send what ends it: the frames before the goodbye, and its code (None: an empty one, -1: there was none)."""
    client.writer.write(b"".join(sent))
    found: list[Frame] = []
    while (received := await client.receive()) is not None:
        if received.op is CLOSE:
            client.send(CLOSE, received.payload)
            assert await client.receive() is None, "something came after the goodbye"
            return found, received.close_code
        found.append(received)
    return found, -1


# --- messages


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op", KINDS)
async def test_a_message_of_each_size_comes_back(place: Place, op: Op, size: int) -> None:
    client = await place.client()
    payload = b"*" * size if op is TEXT else bytes(index & 0xFF for index in range(size))
    assert await answers(client, frame(op, payload)) == [Frame(op, payload)]


@pytest.mark.parametrize("chop", [1, 997, 1 << 15])
@pytest.mark.parametrize("op", KINDS)
async def test_a_message_may_come_in_pieces_of_any_size(place: Place, op: Op, chop: int) -> None:
    client = await place.client()
    payload = b"x" * (300 if chop == 1 else 65_536)
    data = frame(op, payload)
    for start in range(0, len(data), chop):
        client.writer.write(data[start : start + chop])
        await asyncio.sleep(0)
    assert await answers(client) == [Frame(op, payload)]


@pytest.mark.parametrize("op", KINDS)
@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024])
async def test_a_thousand_messages_come_back_in_order(place: Place, op: Op, size: int) -> None:
    client = await place.client()
    payloads = [b"%04d" % number + b"*" * size for number in range(1000)]
    assert await answers(client, *(frame(op, payload) for payload in payloads)) == [Frame(op, it) for it in payloads]


async def test_no_mask_ends_it(place: Place) -> None:
    client = await place.client()
    assert await ending(client, HELLO, frame(TEXT, b"hello", masked=False)) == ([HELLO_BACK], 1002)


# --- pings and pongs


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125])
@pytest.mark.parametrize("octets", [False, True])
async def test_a_ping_is_answered_with_its_payload(place: Place, payload: bytes, *, octets: bool) -> None:
    client = await place.client()
    assert await answers(client, frame(PING, payload), octets=octets) == [Frame(PONG, payload)]


async def test_every_ping_of_many_is_answered_in_order(place: Place) -> None:
    client = await place.client()
    payloads = [b"payload-%d" % number for number in range(10)]
    assert await answers(client, *(frame(PING, it) for it in payloads)) == [Frame(PONG, it) for it in payloads]


async def test_every_ping_is_answered_though_its_octets_come_alone(place: Place) -> None:
    client = await place.client()
    payloads = [b"payload-%d" % number for number in range(10)]
    pings = [frame(PING, it) for it in payloads]
    assert await answers(client, *pings, octets=True) == [Frame(PONG, it) for it in payloads]


@pytest.mark.parametrize("op", [PING, PONG])
@pytest.mark.parametrize("size", [126, 65_536])
async def test_a_long_control_frame_ends_it(place: Place, op: Op, size: int) -> None:
    client = await place.client()
    assert await ending(client, frame(op, b"\xfe" * size)) == ([], 1002)


@pytest.mark.parametrize("payload", [b"", b"unsolicited", b"x" * 125])
async def test_a_pong_that_nobody_asked_for_is_nothing(place: Place, payload: bytes) -> None:
    client = await place.client()
    sent = (frame(PONG, payload), frame(PING, b"after"), frame(PONG, payload))
    assert await answers(client, *sent) == [Frame(PONG, b"after")]


# --- reserved bits and opcodes


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("op", [TEXT, BINARY, PING, PONG, CLOSE])
async def test_a_reserved_bit_ends_it_after_what_came_before(place: Place, op: Op, rsv: int) -> None:
    client = await place.client()
    assert await ending(client, HELLO, frame(op, b"", rsv=rsv), HELLO) == ([HELLO_BACK], 1002)


@pytest.mark.parametrize("opcode", RESERVED)
@pytest.mark.parametrize("payload", [b"", b"reserved"])
async def test_a_reserved_opcode_ends_it_after_what_came_before(place: Place, opcode: int, payload: bytes) -> None:
    client = await place.client()
    assert await ending(client, HELLO, frame(opcode, payload), HELLO) == ([HELLO_BACK], 1002)


# --- fragments


@pytest.mark.parametrize("op", [PING, PONG, CLOSE])
async def test_a_control_frame_in_fragments_ends_it(place: Place, op: Op) -> None:
    client = await place.client()
    assert await ending(client, frame(op, b"", fin=False), frame(CONT, b"")) == ([], 1002)


@pytest.mark.parametrize("octets", [False, True])
@pytest.mark.parametrize("op", KINDS)
async def test_fragments_are_one_message(place: Place, op: Op, *, octets: bool) -> None:
    client = await place.client()
    sent = (frame(op, b"one", fin=False), frame(CONT, b"", fin=False), frame(CONT, b"two"))
    assert await answers(client, *sent, octets=octets) == [Frame(op, b"onetwo")]


@pytest.mark.parametrize("octets", [False, True])
async def test_a_ping_between_fragments_is_answered_before_their_message(place: Place, *, octets: bool) -> None:
    client = await place.client()
    sent = (
        frame(TEXT, b"1", fin=False),
        frame(PING, b"first"),
        frame(CONT, b"2", fin=False),
        frame(PING, b"second"),
        frame(CONT, b"3"),
    )
    expected = [Frame(PONG, b"first"), Frame(PONG, b"second"), Frame(TEXT, b"123")]
    assert await answers(client, *sent, octets=octets) == expected


@pytest.mark.parametrize("empties", [1, 2, 5])
async def test_empty_fragments_are_a_message(place: Place, empties: int) -> None:
    client = await place.client()
    sent = [frame(TEXT, b"", fin=False), *[frame(CONT, b"", fin=False)] * (empties - 1), frame(CONT, b"")]
    assert await answers(client, *sent) == [Frame(TEXT, b"")]


BROKEN_ORDERS: Final = {
    "a last fragment of nothing": [frame(CONT, b"x")],
    "a fragment of nothing": [frame(CONT, b"x", fin=False)],
    "a fragment of nothing, then a message": [frame(CONT, b"x", fin=False), HELLO],
    "a message inside a message": [frame(TEXT, b"1", fin=False), HELLO],
    "another kind inside a message": [frame(TEXT, b"1", fin=False), frame(BINARY, b"2")],
    "a second beginning": [frame(TEXT, b"1", fin=False), frame(TEXT, b"2", fin=False), frame(CONT, b"3")],
}


@pytest.mark.parametrize("sent", BROKEN_ORDERS.values(), ids=BROKEN_ORDERS)
async def test_fragments_out_of_order_end_it(place: Place, sent: Sequence[bytes]) -> None:
    client = await place.client()
    assert await ending(client, *sent) == ([], 1002)


async def test_a_fragment_after_the_last_one_ends_it(place: Place) -> None:
    client = await place.client()
    sent = (frame(TEXT, b"1", fin=False), frame(CONT, b"2"), frame(CONT, b"3"))
    assert await ending(client, *sent) == ([Frame(TEXT, b"12")], 1002)


@pytest.mark.threat("T10")
async def test_a_message_that_is_never_finished_ends_in_time(place: Place) -> None:
    client = await place.client(replace(GATEWAY, message_timeout=0.2))
    assert await ending(client, frame(TEXT, b"1", fin=False), frame(CONT, b"2", fin=False)) == ([], 1002)


# --- goodbyes

CODES: Final = (*(1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014), *(3000, 3999, 4000, 4999))
NO_CODES: Final = (*(0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999), *(5000, 65_535))


@pytest.mark.parametrize("code", CODES)
async def test_a_goodbye_is_answered_with_its_code(place: Place, code: int) -> None:
    client = await place.client()
    assert await ending(client, frame(CLOSE, code.to_bytes(2) + b"bye")) == ([], code)
    assert place.endings() == [close_reasons.CLIENT_LEFT.text]


async def test_a_goodbye_without_a_code_is_answered_without_one(place: Place) -> None:
    client = await place.client()
    assert await ending(client, frame(CLOSE)) == ([], None)


async def test_a_goodbye_with_a_reason_as_long_as_can_be_is_answered(place: Place) -> None:
    client = await place.client()
    assert await ending(client, frame(CLOSE, b"\x03\xe8" + b"*" * 123)) == ([], 1000)


@pytest.mark.parametrize("code", NO_CODES)
async def test_a_goodbye_with_a_code_that_is_none_is_an_error(place: Place, code: int) -> None:
    client = await place.client()
    assert await ending(client, frame(CLOSE, code.to_bytes(2))) == ([], 1002)


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8" + b"*" * 124], ids=["half a code", "a long reason"])
async def test_a_goodbye_of_an_impossible_length_is_an_error(place: Place, payload: bytes) -> None:
    client = await place.client()
    assert await ending(client, frame(CLOSE, payload)) == ([], 1002)


async def test_a_goodbye_whose_reason_is_no_text_is_an_error(place: Place) -> None:
    client = await place.client()
    found, code = await ending(client, frame(CLOSE, b"\x03\xe8\xce\xba\xe1\xbd\xb9\xed\xa0\x80"))
    assert found == []
    assert code in (1002, 1007)


@pytest.mark.parametrize(
    "after",
    [HELLO, frame(PING, b"late"), frame(CLOSE, b"\x03\xe8"), frame(CONT, b"rest"), b"\xff\xff\xff"],
    ids=["message", "ping", "goodbye", "fragment", "junk"],
)
async def test_what_comes_after_a_goodbye_is_not_heard(place: Place, after: bytes) -> None:
    client = await place.client()
    assert await ending(client, frame(CLOSE, b"\x03\xe8"), after) == ([], 1000)


async def test_what_came_before_a_goodbye_is_answered(place: Place) -> None:
    client = await place.client()
    assert await ending(client, HELLO, frame(PING, b"x"), frame(CLOSE, b"\x03\xe8")) == (
        [HELLO_BACK, Frame(PONG, b"x")],
        1000,
    )


async def test_a_message_without_its_end_dies_with_a_goodbye(place: Place) -> None:
    client = await place.client()
    found, code = await ending(client, frame(TEXT, b"1", fin=False), frame(CLOSE, b"\x03\xe8"), frame(CONT, b"2"))
    assert found == []
    assert code in (1000, 1002)


# --- the gateway's own bounds


@pytest.mark.parametrize("op", KINDS)
async def test_the_longest_message_comes_back_whole_or_in_as_many_fragments_as_may_be(place: Place, op: Op) -> None:
    client = await place.client(GATEWAY)
    payload = b"x" * GATEWAY.max_message
    size = GATEWAY.max_message // MAX_FRAGMENTS
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    fragments = [
        frame(op if index == 0 else CONT, piece, fin=index == len(pieces) - 1) for index, piece in enumerate(pieces)
    ]
    assert await answers(client, frame(op, payload), *fragments) == [Frame(op, payload)] * 2


@pytest.mark.threat("T10")
@pytest.mark.parametrize("op", KINDS)
async def test_one_byte_more_is_too_big(place: Place, op: Op) -> None:
    client = await place.client(GATEWAY)
    assert await ending(client, frame(op, b"x" * (GATEWAY.max_message + 1))) == ([], 1009)
    assert place.endings() == [close_reasons.MESSAGE_TOO_BIG.text]


@pytest.mark.threat("T10")
@pytest.mark.parametrize("length", [b"\xfe\x40\x01", b"\xff" + (1 << 40).to_bytes(8), b"\xff" + b"\x7f" + b"\xff" * 7])
async def test_a_length_over_the_limit_is_refused_before_its_payload_comes(place: Place, length: bytes) -> None:
    client = await place.client(GATEWAY)
    assert await ending(client, b"\x82" + length + bytes(4)) == ([], 1009)


@pytest.mark.threat("T10")
@pytest.mark.parametrize("size", [0, 1])
async def test_one_fragment_more_is_too_many(place: Place, size: int) -> None:
    client = await place.client(GATEWAY)
    sent = [frame(BINARY, b"", fin=False), *[frame(CONT, b"x" * size, fin=False)] * MAX_FRAGMENTS]
    assert await ending(client, *sent) == ([], 1009)


@pytest.mark.threat("T9", "T12")
@pytest.mark.parametrize("op", [TEXT, PING, PONG])
async def test_more_frames_at_once_than_the_burst_end_it_without_a_goodbye(place: Place, op: Op) -> None:
    client = await place.client(GATEWAY)
    found, code = await ending(client, frame(op, b"x") * int(GATEWAY.frame_burst + 100))
    assert code == -1
    assert len(found) <= GATEWAY.frame_burst + 100
    assert place.endings() == [close_reasons.FRAME_FLOOD.text]
