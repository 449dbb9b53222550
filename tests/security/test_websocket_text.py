"""Text messages at the wire (RFC 6455 section 8.1, RFC 3629): what is UTF-8 comes back, what is not ends in 1007.

The same echo as in `test_websocket_cases.py`; bad text is found when its message is whole, wherever in it and in
whatever fragments it stands.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from shared.names import close_reasons
from tests.support.echo_place import Place
from tests.support.wire_client import Frame, Op, frame

GOOD: Final = (
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\x00\x01\x7f",
    "\x80\u07ff",
    "\u0800\uffff",
    "\U00010000\U0010ffff",
    "\ud7ff\ue000\ufffd",
    *(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)),
)
"""The first and last of each length, what surrounds the surrogates, and the noncharacters, which are text too."""

BAD: Final = {
    "a continuation alone": b"\x80",
    "the last continuation alone": b"\xbf",
    "continuations alone": b"\x80\xbf\x80\xbf",
    "a beginning alone, of two": b"\xc3 ",
    "a beginning alone, of three": b"\xe2\x82 ",
    "a beginning alone, of four": b"\xf0\x9f\x98 ",
    "cut short": "κόσμε".encode()[:-1],
    "beginnings without an end": b"\xc3\xe2\x82\xf0\x9f\x98",
    "what is no octet of it": b"\xfe\xff",
    "a slash in two": b"\xc0\xaf",
    "a slash in three": b"\xe0\x80\xaf",
    "a slash in four": b"\xf0\x80\x80\xaf",
    "the longest too long": b"\xc1\xbf\xe0\x9f\xbf\xf0\x8f\xbf\xbf",
    "zero in two": b"\xc0\x80",
    "five octets": b"\xf8\x88\x80\x80\x80",
    "six octets": b"\xfc\x84\x80\x80\x80\x80",
    "beyond the last": b"\xf4\x90\x80\x80",
    "a high surrogate": b"\xed\xa0\x80",
    "a low surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "after good text": "κόσμε".encode() + b"\xed\xa0\x80" + b"edited",
}


@pytest.fixture(name="place")
async def somewhere() -> AsyncIterator[Place]:
    place = Place()
    yield place
    await place.close()


def fragments(data: bytes, size: int) -> bytes:
    """A text message in fragments of a size."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    last = len(pieces) - 1
    return b"".join(
        frame(Op.CONT if index else Op.TEXT, piece, fin=index == last) for index, piece in enumerate(pieces)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_text_comes_back_wherever_it_is_cut(place: Place, size: int) -> None:
    client = await place.client()
    for text in GOOD:
        client.writer.write(fragments(text.encode(), size))
        assert await client.receive() == Frame(Op.TEXT, text.encode())


async def test_text_comes_back_though_its_octets_come_alone(place: Place) -> None:
    client = await place.client()
    for text in GOOD[:7]:
        for octet in frame(Op.TEXT, text.encode()):
            client.writer.write(bytes((octet,)))
            await asyncio.sleep(0)
        assert await client.receive() == Frame(Op.TEXT, text.encode())


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
async def test_what_is_no_text_ends_it(place: Place, data: bytes, size: int) -> None:
    client = await place.client()
    client.writer.write(frame(Op.TEXT, b"good") + fragments(data, size) + frame(Op.TEXT, b"never read"))
    assert await client.receive() == Frame(Op.TEXT, b"good")
    assert await client.ended() == (1007, True)
    assert place.endings() == [close_reasons.INVALID_TEXT.text]


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
async def test_as_bytes_it_comes_back(place: Place, data: bytes) -> None:
    client = await place.client()
    client.send(Op.BINARY, data)
    assert await client.receive() == Frame(Op.BINARY, data)
