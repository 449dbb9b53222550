"""One request head: read the same however it is split, refused beyond its bounds, and not waited for for ever."""

import asyncio
from http import HTTPStatus

import pytest

from services.gateway.deadlines import Deadlines
from services.gateway.http import (
    MAX_HEAD,
    MAX_HEADER_LINE,
    MAX_HEADERS,
    MAX_QUERY_FIELDS,
    MAX_TARGET,
    HttpError,
    HttpFront,
    HttpRequest,
    response,
)
from tests.support.fakes_gateway import ManualLoop

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"
)


class Setup:
    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.loop.now = asyncio.get_running_loop().time()
        self.served: list[tuple[HttpRequest, bytes]] = []
        self.refused: list[HttpError] = []
        self.failure: HttpError | None = None
        self.front = HttpFront(self.serve, Deadlines(self.loop.as_loop), 5.0, self.refuse)
        self.front.connection_made(asyncio.Transport())

    def serve(self, _front: HttpFront, request: HttpRequest, rest: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.served.append((request, rest))

    def refuse(self, _front: HttpFront, error: HttpError) -> None:
        self.refused.append(error)

    def outcome(self) -> HTTPStatus | None:
        """None when it was served, else how it was refused; exactly one of both."""
        assert len(self.served) + len(self.refused) == 1
        return self.refused[0].status if self.refused else None


@pytest.fixture(name="setup")
async def one_connection() -> Setup:
    return Setup()


def head(*lines: bytes, target: bytes = b"/") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: a", *lines, b"", b""])


async def test_a_head_is_read(setup: Setup) -> None:
    setup.front.data_received(UPGRADE)
    ((request, rest),) = setup.served
    assert (request.method, request.path, request.is_upgrade, rest) == ("GET", "/socket.io/", True, b"")
    assert request.target == "/socket.io/?EIO=4&transport=websocket"
    assert request.query == {"EIO": "4", "transport": "websocket"}
    assert (request.header("upgrade"), request.header("x-two"), request.header("none")) == ("websocket", "1", None)
    assert (request.count("x-two"), request.count("host"), request.count("none")) == (2, 1, 0)


async def test_it_may_be_split_at_every_byte() -> None:
    whole = Setup()
    whole.front.data_received(UPGRADE + b"\x81\x00")
    for cut in range(1, len(UPGRADE)):
        setup = Setup()
        setup.front.data_received(UPGRADE[:cut])
        assert setup.served == []
        setup.front.data_received(UPGRADE[cut:] + b"\x81\x00")
        assert setup.served == whole.served
    assert whole.served[0][1] == b"\x81\x00"


async def test_it_may_come_byte_by_byte(setup: Setup) -> None:
    for byte in UPGRADE:
        setup.front.data_received(bytes([byte]))
    assert setup.outcome() is None


TOO_LONG = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
BAD = HTTPStatus.BAD_REQUEST
HEADS = [
    (head(), None),
    (head(target=b"/" + b"x" * (MAX_TARGET - 1)), None),
    (head(target=b"/" + b"x" * MAX_TARGET), HTTPStatus.REQUEST_URI_TOO_LONG),
    (head(*[b"X-%d: y" % number for number in range(MAX_HEADERS - 1)]), None),
    (head(*[b"X-%d: y" % number for number in range(MAX_HEADERS)]), TOO_LONG),
    (head(b"X: " + b"y" * (MAX_HEADER_LINE - 1)), None),
    (head(b"X: " + b"y" * MAX_HEADER_LINE), TOO_LONG),
    (head(*[b"X-%d: " % number + b"y" * 5_000 for number in range(4)]), TOO_LONG),
    (head(target=b"/?" + b"&".join(b"a%d=1" % number for number in range(MAX_QUERY_FIELDS))), None),
    (head(target=b"/?" + b"&".join(b"a%d=1" % number for number in range(MAX_QUERY_FIELDS + 1))), BAD),
    (head(target=b"/?EIO=4&EIO=3"), BAD),
    (head(b"Host: b"), BAD),
    (b"GET / HTTP/1.1\r\nAccept: x\r\n\r\n", BAD),
    (b"nonsense\r\n\r\n", BAD),
    (b"GET / HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n", BAD),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD),
]


@pytest.mark.parametrize(("data", "status"), HEADS, ids=range(len(HEADS)))
@pytest.mark.parametrize("piece", [100_000, 4_096, 1_000, 7])
async def test_bounds_hold_however_the_head_is_split(
    setup: Setup, data: bytes, status: HTTPStatus | None, piece: int
) -> None:
    for start in range(0, len(data), piece):
        setup.front.data_received(data[start : start + piece])
    assert setup.outcome() is status


async def test_a_head_without_end_is_refused(setup: Setup) -> None:
    setup.front.data_received(b"GET / HTTP/1.1\r\n")
    for _ in range(MAX_HEAD // 1000 + 1):
        setup.front.data_received(b"X: " + b"y" * 995 + b"\r\n")
    assert setup.outcome() is TOO_LONG


async def test_what_follows_the_head_of_an_upgrade_does_not_count_to_it(setup: Setup) -> None:
    setup.front.data_received(UPGRADE + b"x" * MAX_HEAD)
    assert setup.outcome() is None
    assert setup.served[0][1] == b"x" * MAX_HEAD


async def test_a_head_that_does_not_come_in_time_is_refused(setup: Setup) -> None:
    setup.front.data_received(UPGRADE[:50])
    setup.loop.advance(4.9)
    assert setup.refused == []
    setup.loop.advance(0.2)
    assert setup.outcome() is HTTPStatus.REQUEST_TIMEOUT
    setup.front.data_received(UPGRADE[50:])
    setup.loop.advance(100)
    assert setup.outcome() is HTTPStatus.REQUEST_TIMEOUT


@pytest.mark.parametrize("complete", [True, False])
async def test_no_deadline_is_left_of_who_is_served_or_gone(setup: Setup, *, complete: bool) -> None:
    setup.front.data_received(UPGRADE if complete else UPGRADE[:50])
    if not complete:
        setup.front.connection_lost(None)
    setup.loop.advance(100)
    assert setup.refused == []
    assert setup.front.due is None


async def test_whoever_serves_may_refuse(setup: Setup) -> None:
    setup.failure = HttpError(HTTPStatus.NOT_FOUND, "not here")
    setup.front.data_received(UPGRADE)
    setup.front.data_received(UPGRADE)
    assert setup.outcome() is HTTPStatus.NOT_FOUND


def test_an_answer_is_whole_and_closes() -> None:
    answer = response(HTTPStatus.SERVICE_UNAVAILABLE, b"full", headers=[("Retry-After", "1")])
    assert answer == (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n"
        b"Connection: close\r\nRetry-After: 1\r\n\r\nfull"
    )
