"""One TCP connection: requests read the same however they are split, refused beyond their bounds, answered once."""

import asyncio
import gc
import weakref
from http import HTTPStatus

import pytest

from services.gateway.addresses import TrustedProxies, parse_networks
from services.gateway.deadlines import Deadlines
from services.gateway.doorway import NO_LIMITS, Doorway, DoorwayLimits
from services.gateway.exchange import Exchange, HttpError, refusal
from services.gateway.http import (
    BODY_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    LINGER_S,
    MAX_CHUNKING,
    MAX_HEAD,
    MAX_HEADER_LINE,
    MAX_HEADERS,
    MAX_QUERY_FIELDS,
    MAX_TARGET,
    HttpConnection,
)
from tests.support.fakes_http import POLLING, WEBSOCKET, Answer, FakePort, FakeSocket, http
from tests.support.fakes_http import UPGRADE as UPGRADE_LINES
from tests.support.manual_loop import ManualLoop

MAX_BODY = 1_000
HEAD_S = 5.0
UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"
)


class Setup:
    """A connection, and a site that answers each request with what it is, unless it is told to wait or to refuse."""

    def __init__(self, limits: DoorwayLimits = NO_LIMITS, peer: str = "10.0.0.1") -> None:
        self.loop = ManualLoop()
        self.loop.now = asyncio.get_running_loop().time()
        self.begun: list[Exchange] = []
        self.served: list[tuple[Exchange, bytes]] = []
        self.refused: list[HttpError] = []
        self.aborts: list[bool] = []
        self.early = False
        self.parks = False
        self.failure: HttpError | None = None
        self.deadlines = Deadlines(self.loop.as_loop)
        self.turned_away: list[str] = []
        self.doorway = Doorway(limits, lambda: 0, self.turned_away.append)
        self.connection = HttpConnection(self, self.deadlines, HEAD_S, MAX_BODY, self.doorway)
        self.socket = FakeSocket(self.loop, self.connection, peer)
        self.connection.connection_made(self.socket)

    # `Site`

    def begin(self, exchange: Exchange) -> None:
        if self.failure is not None:
            raise self.failure
        self.begun.append(exchange)
        exchange.aborted = self.aborts.append
        if self.early:
            self.reply(exchange)

    def finish(self, exchange: Exchange, rest: bytes) -> None:
        self.served.append((exchange, rest))
        if not self.parks:
            self.reply(exchange)

    def refuse(self, _exchange: Exchange | None, _origin: str | None, error: HttpError) -> bytes:
        self.refused.append(error)
        return refusal(error.status, error.text.encode(), "text/plain")

    # What tests do

    def reply(self, exchange: Exchange) -> None:
        exchange.answer(HTTPStatus.OK, exchange.body or exchange.request.target.encode(), "text/plain")

    def bodies(self) -> list[bytes]:
        return [answer.body for answer in self.socket.answers()]

    def refusal(self) -> HTTPStatus | None:
        """None when the one request was served, else how it was refused; exactly one of both, and one answer."""
        assert len(self.served) + len(self.refused) == 1
        (answer,) = self.socket.answers()
        assert answer.status == (self.refused[0].status if self.refused else 200)
        return self.refused[0].status if self.refused else None


@pytest.fixture(name="setup")
async def one_connection() -> Setup:
    return Setup()


def head(*lines: bytes, target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/" + version, b"Host: a", *lines, b"", b""])


def post(body: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", b"Content-Length: %d" % len(body), *lines, b"", body])


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n" + trailer + b"\r\n"


# --- heads


async def test_a_head_is_read(setup: Setup) -> None:
    setup.parks = True
    setup.socket.feed(UPGRADE)
    ((exchange, rest),) = setup.served
    request = exchange.request
    assert (request.method, request.path, request.is_upgrade, rest) == ("GET", "/socket.io/", True, b"")
    assert request.target == "/socket.io/?EIO=4&transport=websocket"
    assert request.query == {"EIO": "4", "transport": "websocket"}
    assert (request.header("upgrade"), request.header("x-two"), request.header("none")) == ("websocket", "1", None)
    assert (request.count("x-two"), request.count("host"), request.count("none")) == (2, 1, 0)


@pytest.mark.parametrize("data", [UPGRADE + b"\x81\x00", post(b"a body", b"X: y"), chunked(b"a ", b"body")])
async def test_a_request_may_be_split_at_every_byte(data: bytes) -> None:
    whole = Setup()
    whole.socket.feed(data)
    ((expected, rest),) = whole.served
    for cut in range(1, len(data) - len(rest)):
        setup = Setup()
        setup.socket.feed(data[:cut])
        assert setup.served == []
        setup.socket.feed(data[cut:])
        assert [(it.request, it.body, more) for it, more in setup.served] == [(expected.request, expected.body, rest)]
    assert rest == (b"\x81\x00" if data.startswith(UPGRADE) else b"")


async def test_a_request_may_come_byte_by_byte(setup: Setup) -> None:
    for byte in post(b"a body"):
        setup.socket.feed(bytes([byte]))
    assert setup.bodies() == [b"a body"]


TOO_LONG = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
TOO_BIG = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
BAD = HTTPStatus.BAD_REQUEST
REQUESTS = [
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
    (post(b"x" * MAX_BODY), None),
    (post(b"x" * (MAX_BODY + 1)), TOO_BIG),
    (post(b"x" * 100_000), TOO_BIG),
    (chunked(*[b"x"] * MAX_BODY), None),
    (chunked(b"x" * MAX_BODY, b"x"), TOO_BIG),
    (chunked(b"x", trailer=b"X: y\r\n"), None),
    (chunked(b"x", trailer=b"X: " + b"y" * (MAX_HEAD + MAX_CHUNKING * MAX_BODY)), TOO_BIG),
    (post(b"x", b"Transfer-Encoding: chunked"), BAD),
    (post(b"x", b"Content-Length: 2"), BAD),
    (post(b"x", b"Content-Encoding: gzip"), HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", BAD),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", BAD),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", BAD),
]


@pytest.mark.parametrize(("data", "status"), REQUESTS, ids=range(len(REQUESTS)))
@pytest.mark.parametrize("piece", [1_000_000, 4_096, 1_000, 7])
async def test_bounds_hold_however_a_request_is_split(
    setup: Setup, data: bytes, status: HTTPStatus | None, piece: int
) -> None:
    piece = max(piece, len(data) // 5_000)
    for start in range(0, len(data), piece):
        setup.socket.feed(data[start : start + piece])
    assert setup.refusal() is status


async def test_a_head_without_end_is_refused(setup: Setup) -> None:
    setup.socket.feed(b"GET / HTTP/1.1\r\n")
    for _ in range(MAX_HEAD // 1000 + 1):
        setup.socket.feed(b"X: " + b"y" * 995 + b"\r\n")
    assert setup.refusal() is TOO_LONG


async def test_what_follows_the_head_of_an_upgrade_does_not_count_to_it(setup: Setup) -> None:
    setup.socket.feed(UPGRADE + b"x" * 100_000)
    assert setup.refusal() is None
    assert setup.served[0][1] == b"x" * 100_000


async def test_whoever_serves_may_refuse(setup: Setup) -> None:
    setup.failure = HttpError(HTTPStatus.NOT_FOUND, "not here")
    setup.socket.feed(UPGRADE)
    setup.socket.feed(UPGRADE)
    assert setup.refusal() is HTTPStatus.NOT_FOUND


# --- one request after another


async def test_a_connection_carries_many_requests(setup: Setup) -> None:
    for number in range(100):
        setup.socket.feed(head(target=b"/%d" % number) if number % 2 else post(b"/%d" % number))
    answers = setup.socket.answers()
    assert [answer.body for answer in answers] == [b"/%d" % number for number in range(100)]
    assert {answer.headers["connection"] for answer in answers} == {"keep-alive"}
    assert not setup.socket.half_closed


@pytest.mark.parametrize("one_read", [True, False])
@pytest.mark.parametrize("second", [head(), b"GE", post(b"x" * 2_000), b"\xff"])
async def test_a_second_request_before_the_answer_ends_it_with_one_answer_at_most(
    setup: Setup, second: bytes, *, one_read: bool
) -> None:
    setup.parks = True
    for data in [head() + second] if one_read else [head(), second]:
        setup.socket.feed(data)
    setup.loop.advance(LINGER_S + 0.1)
    assert len(setup.socket.answers()) <= 1
    assert setup.socket.ended
    assert len(setup.aborts) == 1


@pytest.mark.parametrize(
    ("data", "stays"),
    [
        (head(), True),
        (head(b"Connection: keep-alive"), True),
        (head(b"Connection: close"), False),
        (head(b"Connection: Close"), False),
        (head(version=b"1.0"), False),
        (head(b"Connection: keep-alive", version=b"1.0"), True),
    ],
)
async def test_whether_the_connection_stays_is_the_clients_to_say_and_is_said_back(
    setup: Setup, data: bytes, *, stays: bool
) -> None:
    setup.socket.feed(data)
    answer = setup.socket.answer()
    assert answer.headers["connection"] == ("keep-alive" if stays else "close")
    assert setup.socket.half_closed is not stays


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(setup: Setup) -> None:
    lines, body = post(b"body", b"Expect: 100-continue")[:-4], b"body"
    setup.socket.feed(lines)
    assert setup.socket.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    setup.socket.feed(body)
    assert setup.bodies() == [b"body"]


async def test_no_leave_is_given_to_who_is_refused_anyway(setup: Setup) -> None:
    setup.failure = HttpError(HTTPStatus.NOT_FOUND)
    setup.socket.feed(post(b"body", b"Expect: 100-continue")[:-4])
    assert setup.socket.answer().status == 404


async def test_who_is_answered_before_its_body_came_is_told_that_the_connection_closes(setup: Setup) -> None:
    setup.early = True
    setup.socket.feed(post(b"body")[:-4])
    assert setup.socket.answer().headers["connection"] == "close"
    setup.socket.feed(b"body" + head())
    assert setup.socket.take() == b""
    assert setup.served == []


async def test_what_is_wrong_behind_a_request_that_was_answered_does_not_cost_its_answer(setup: Setup) -> None:
    setup.early = True
    setup.socket.feed(post(b"body") + b"\xff nonsense\r\n\r\n")
    assert setup.bodies() == [b"/"]
    assert (setup.socket.ended, setup.refused, setup.aborts) == (False, [], [])


# --- time


@pytest.mark.parametrize("data", [b"", UPGRADE[:50]])
async def test_a_head_that_does_not_come_in_time_is_refused(setup: Setup, data: bytes) -> None:
    if data:
        setup.socket.feed(data)
    setup.loop.advance(HEAD_S - 0.1)
    assert setup.refused == []
    setup.loop.advance(0.2)
    assert setup.socket.answer().status == 408
    setup.socket.feed(UPGRADE[50:])
    setup.loop.advance(100)
    assert (len(setup.refused), setup.socket.ended) == (1, True)


async def test_a_body_that_does_not_come_in_time_is_refused(setup: Setup) -> None:
    setup.socket.feed(post(b"body")[:-4])
    for _ in range(3):
        setup.loop.advance(BODY_TIMEOUT_S / 4)
        setup.socket.feed(b"x")
    assert setup.refused == []
    setup.loop.advance(BODY_TIMEOUT_S / 4 + 0.1)
    assert setup.socket.answer().status == 408
    assert setup.aborts == [False]


async def test_a_connection_without_requests_is_dropped_in_silence(setup: Setup) -> None:
    setup.socket.feed(head())
    setup.socket.take()
    setup.loop.advance(IDLE_TIMEOUT_S - 0.1)
    assert not setup.socket.ended
    setup.loop.advance(0.2)
    assert (setup.socket.ended, setup.socket.take(), setup.refused) == (True, b"", [])


async def test_a_request_that_is_served_later_is_not_hurried(setup: Setup) -> None:
    setup.parks = True
    setup.socket.feed(head())
    setup.loop.advance(1000)
    assert (setup.socket.take(), setup.socket.ended) == (b"", False)
    setup.reply(setup.served[0][0])
    assert setup.bodies() == [b"/"]


async def test_requests_in_quick_succession_leave_no_deadlines_behind(setup: Setup) -> None:
    for _ in range(200):
        setup.socket.feed(head())
    assert len(setup.deadlines._heap) < 10


@pytest.mark.parametrize("data", [b"", UPGRADE[:50], post(b"body")[:-1], head()])
async def test_nothing_is_left_of_who_is_gone(setup: Setup, data: bytes) -> None:
    if data:
        setup.socket.feed(data)
    setup.socket.leave()
    setup.loop.advance(100)
    assert setup.refused == []
    assert setup.connection.due is None


async def test_nothing_is_left_of_who_became_a_websocket(setup: Setup) -> None:
    setup.parks = True
    setup.socket.feed(UPGRADE)
    setup.served[0][0].hand_over()
    setup.loop.advance(100)
    assert (setup.connection.due, setup.socket.ended, setup.socket.take()) == (None, False, b"")


@pytest.mark.parametrize("leaves", [True, False])
async def test_it_is_freed_without_waiting_for_the_collector(*, leaves: bool) -> None:
    socket = FakePort().connect()
    known = weakref.ref(socket.protocol)
    gc.disable()
    try:
        if leaves:
            socket.feed(http(POLLING))
            socket.leave()
            socket.protocol = asyncio.Protocol()
        else:
            socket.feed(http(WEBSOCKET, *UPGRADE_LINES))
        assert known() is None
    finally:
        gc.enable()


# --- who leaves, and who does not read


@pytest.mark.parametrize("data", [head(), post(b"body")[:-4]])
async def test_who_leaves_before_the_answer_is_told_once_and_answering_is_harmless(setup: Setup, data: bytes) -> None:
    setup.parks = True
    setup.socket.feed(data)
    setup.socket.leave()
    assert setup.aborts == [True]
    exchange = setup.begun[0]
    setup.reply(exchange)
    exchange.answer_whole(b"x")
    assert (setup.socket.take(), setup.aborts) == (b"", [True])


async def test_only_the_first_answer_counts(setup: Setup) -> None:
    setup.socket.feed(head())
    exchange = setup.served[0][0]
    setup.reply(exchange)
    exchange.answer_whole(b"x")
    assert setup.bodies() == [b"/"]
    setup.socket.leave()
    assert setup.aborts == []


@pytest.mark.parametrize("data", [post(b"x" * 2_000), head(target=b"/" + b"x" * 9_000), head(b"X: " + b"y" * 9_000)])
async def test_a_refusal_can_be_read_while_the_rest_of_the_request_still_comes(setup: Setup, data: bytes) -> None:
    setup.socket.feed(data)
    for _ in range(10):
        setup.socket.feed(b"x" * 10_000)
    assert setup.socket.half_closed
    assert not setup.socket.ended
    assert setup.socket.answer().status in (413, 414, 431)
    setup.loop.advance(LINGER_S + 0.1)
    assert setup.socket.ended


async def test_a_last_answer_that_is_still_on_its_way_gets_more_time(setup: Setup) -> None:
    setup.socket.stuck = 50_000
    setup.socket.feed(head(b"Connection: close"))
    setup.loop.advance(LINGER_S + 0.1)
    assert not setup.socket.ended
    setup.loop.advance(IDLE_TIMEOUT_S)
    assert setup.socket.ended


async def test_no_more_requests_are_taken_from_who_does_not_read_its_answers(setup: Setup) -> None:
    setup.connection.pause_writing()
    assert not setup.socket.reading
    setup.connection.resume_writing()
    assert setup.socket.reading


def test_a_refusal_is_whole_and_closes() -> None:
    assert refusal(HTTPStatus.SERVICE_UNAVAILABLE, b"full", "text/plain", [("Retry-After", "1")]) == (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n"
        b"Connection: close\r\nRetry-After: 1\r\n\r\nfull"
    )


async def test_an_answer_without_content_says_so(setup: Setup) -> None:
    setup.parks = True
    setup.socket.feed(head())
    setup.served[0][0].answer(HTTPStatus.NO_CONTENT, b"", "")
    assert setup.socket.answers() == [Answer(204, {"content-length": "0", "connection": "keep-alive"}, b"")]


BEHIND_PROXY = DoorwayLimits(proxies=TrustedProxies(parse_networks(["10.0.0.0/8"])), proxy_header=True)
HEADER = b"PROXY TCP4 203.0.113.9 10.0.0.9 1 2\r\n"


@pytest.mark.parametrize("cut", [0, 1, len(HEADER) - 1, len(HEADER), len(HEADER) + 1])
async def test_a_proxy_header_names_the_client_before_its_request(cut: int) -> None:
    setup = Setup(BEHIND_PROXY)
    data = HEADER + http("/x")
    for piece in (data[:cut], data[cut:]):
        setup.socket.feed(piece)
    assert setup.bodies() == [b"/x"]
    (exchange,) = setup.begun
    assert exchange.peer == "203.0.113.9"
    setup.socket.feed(http("/y"))
    assert setup.bodies() == [b"/y"]


async def test_a_request_without_the_proxy_header_is_dropped_unread() -> None:
    setup = Setup(BEHIND_PROXY)
    setup.socket.feed(http("/x"))
    assert (setup.begun, setup.socket.take(), setup.socket.ended) == ([], b"", True)
    assert setup.turned_away == ["no PROXY header from a trusted proxy"]
    assert len(setup.doorway) == 0


async def test_a_proxy_header_that_drips_has_the_time_of_a_request_head() -> None:
    setup = Setup(BEHIND_PROXY)
    setup.socket.feed(HEADER[:5])
    setup.loop.advance(HEAD_S + 0.1)
    assert setup.socket.answer().status == 408


async def test_a_proxy_header_from_anybody_else_is_not_read() -> None:
    setup = Setup(BEHIND_PROXY, peer="203.0.113.1")
    setup.socket.feed(HEADER + http("/x"))
    assert (setup.begun, setup.socket.take(), setup.socket.ended) == ([], b"", True)


async def test_a_head_that_is_whole_is_no_longer_unfinished() -> None:
    setup = Setup()
    setup.parks = True
    assert setup.doorway.unfinished == 1
    setup.socket.feed(http("/x")[:-1])
    assert setup.doorway.unfinished == 1
    setup.socket.feed(http("/x")[-1:])
    assert (setup.doorway.unfinished, len(setup.doorway)) == (0, 1)
    setup.socket.leave()
    assert len(setup.doorway) == 0


# --- more at once than one turn takes


def crowd(setup: Setup) -> None:
    """No more requests are taken in this turn of the event loop."""
    while setup.doorway.turnstile.pass_through():
        pass


async def test_a_request_that_there_is_no_room_for_waits_for_the_next_turn_and_times_out_never(setup: Setup) -> None:
    crowd(setup)
    setup.socket.feed(head()[:10])
    assert not setup.socket.reading
    setup.loop.advance(HEAD_S + 1)
    setup.socket.feed(head()[10:])
    assert (setup.served, setup.refused) == ([], [])
    await asyncio.sleep(0)
    assert setup.bodies() == [b"/"]
    assert setup.socket.reading


async def test_who_leaves_while_its_request_waits_is_not_served(setup: Setup) -> None:
    crowd(setup)
    setup.socket.feed(head())
    setup.connection.connection_lost(None)
    await asyncio.sleep(0)
    assert (setup.served, setup.refused) == ([], [])
