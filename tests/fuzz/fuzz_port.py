"""Fuzz the client port with bytes alone, for the fuzzer that goes by coverage; `fuzz_http.py` makes whole plays.

An input is cut into what is read at once, on one TCP connection after another; `$SID` in it is the newest connection's.
The oracle is that of `fuzz_http.py`: documented answers, whole frames, nothing raised, one ending each, nothing left.
"""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Final

from tests.fuzz.fuzz_http import check_rest
from tests.fuzz.fuzzer import SEPARATOR, Target
from tests.support.fakes_http import POLLING, UPGRADE, WEBSOCKET, FakePort, FakeSocket, http, masked

NEWCOMER: Final = b"\x01"
"""In front of what another client sends."""

SID: Final = b"$SID"
PIECES: Final = 24
PAUSE_S: Final = 3.0


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def fuzz_http(data: bytes) -> None:
    """Requests, from the first byte of a TCP connection on."""
    _runner().run(_play(b"", data.split(SEPARATOR)[:PIECES]))


def fuzz_websocket(data: bytes) -> None:
    """Frames, behind a good handshake in the same read; an odd first byte asks for compression."""
    extension = ("Sec-WebSocket-Extensions: permessage-deflate",) if data[:1] == b"\x01" else ()
    _runner().run(_play(http(WEBSOCKET, *UPGRADE, *extension), data[1:].split(SEPARATOR)[:PIECES], deflate=True))


async def _play(opening: bytes, pieces: Sequence[bytes], *, deflate: bool = False) -> None:
    port = FakePort(max_payload=1_000, deflate=deflate)
    sockets = [port.connect()]
    if opening:
        sockets[0].feed(opening)
    for piece in pieces:
        if piece.startswith(NEWCOMER):
            sockets.append(port.connect())
        if piece in (b"", NEWCOMER):
            port.loop.advance(PAUSE_S)
        else:
            _feed(port, sockets[-1], piece.removeprefix(NEWCOMER))
    check_rest(port, sockets)


def _feed(port: FakePort, socket: FakeSocket, piece: bytes) -> None:
    if port.applications:
        piece = piece.replace(SID, port.applications[-1].connection.sid.encode())
    socket.feed(piece)


def _post(body: bytes) -> bytes:
    return NEWCOMER + http(f"{POLLING}&sid=$SID", method="POST", body=body)


_OPEN: Final = http(POLLING)
_POLL: Final = NEWCOMER + http(f"{POLLING}&sid=$SID")
_PROBE: Final = NEWCOMER + http(f"{WEBSOCKET}&sid=$SID", *UPGRADE)
_CHUNKED: Final = (
    b"POST /engine.io/?EIO=4&transport=polling&sid=$SID HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    b"Expect: 100-continue\r\n\r\n6;e=1\r\n4hello\r\n0\r\nX: y\r\n\r\n"
)
HTTP_CORPUS: Final = (
    _OPEN,
    SEPARATOR.join((_OPEN, _POLL, _post(b"4hello\x1e3\x1ebAP8="))),
    SEPARATOR.join((_OPEN, _PROBE + masked(1, b"2probe"), masked(1, b"5"), masked(1, b"4hi"))),
    SEPARATOR.join((_OPEN, _POLL, b"", b"", _post(b"1"))),
    http(WEBSOCKET, *UPGRADE) + masked(1, b"4hello") + masked(8, b"\x03\xe8"),
    http(POLLING, "Origin: https://good.example", "Access-Control-Request-Headers: x", method="OPTIONS"),
    SEPARATOR.join((_OPEN, _CHUNKED)),
    http(POLLING, "Connection: close", "Accept-Encoding: gzip", method="PUT", body=b"x"),
)
HTTP_TOKENS: Final = (
    *(SEPARATOR, SEPARATOR + NEWCOMER, SID, b"\r\n", b"\r\n\r\n", b"\n", b"\x00", b"\xff", b"HTTP/1.0", b"HTTP/1.1"),
    *(
        b"GET ",
        b"POST ",
        b"OPTIONS ",
        b"HEAD ",
        b"PRI * HTTP/2.0",
        b"EIO=4",
        b"EIO=3",
        b"&sid=",
        b"&b64=1",
        b"&token=x",
    ),
    *(b"transport=polling", b"transport=websocket", b"Host: a", b"Content-Length: ", b"Transfer-Encoding: chunked"),
    *(
        b"Upgrade: websocket",
        b"Upgrade: h2c",
        b"Connection: close",
        b"Connection: Upgrade",
        b"Origin: null",
        b"Cookie: io=",
    ),
    *(
        b"Content-Encoding: gzip",
        b"Expect: 100-continue",
        b"Content-Type: application/octet-stream",
        b"0\r\n\r\n",
        b"%00",
    ),
    *(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Extensions: ", b"X-Forwarded-For: ::1"),
    *(b"\x1e", b"2probe", b"4hello", b"bAP8=", b"ffffffffffffffff\r\n", b" ", b":", b"?", b"&", b"="),
)
FRAMES: Final = (
    *(
        masked(1, b"4hello"),
        masked(2, b"\x01\x02"),
        masked(1, b"3"),
        masked(9, b"ping"),
        masked(10),
        masked(8, b"\x03\xe8"),
    ),
    *(masked(1, b"4a", fin=False), masked(0, b"b", fin=False), masked(0, b"c"), masked(1, b"1"), masked(1, b"bAP8=")),
)
WEBSOCKET_CORPUS: Final = (
    *(b"\x00" + each for each in FRAMES),
    b"\x00" + b"".join(FRAMES[6:9]),
    b"\x00" + SEPARATOR.join(FRAMES),
    b"\x01" + masked(1, b"4hello") + masked(1, b"\x32\xc9H\xcd\xc9\xc9\x07\x00", rsv=4),
    b"\x00" + masked(2, b"x" * 200) + masked(1, b"4" + "é€😀".encode()),
)
WEBSOCKET_TOKENS: Final = (
    *(
        *FRAMES,
        SEPARATOR,
        b"\x81\x80",
        b"\x82\xfe",
        b"\x82\xff",
        b"\x01\x80",
        b"\x80\x80",
        b"\x89\xfd",
        b"\x88\x82",
        b"\xc1",
    ),
    *(
        b"\x7f" + b"\xff" * 7,
        b"\xff\xff",
        bytes(4),
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x03\xed",
        b"\xf1",
        b"\x8b\x80",
    ),
)

TARGETS: Final = {
    "http": Target(fuzz_http, HTTP_CORPUS, HTTP_TOKENS),
    "websocket": Target(fuzz_websocket, WEBSOCKET_CORPUS, WEBSOCKET_TOKENS),
}
