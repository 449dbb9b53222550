"""Handshakes, refusals and what every HTTP answer carries (protocol reference 2.2, 2.3, 2.8), at the wire."""

import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.conformance_client import NO_PINGS_MS, Answer, Http, Poller, Wire, request, serving
from tests.support.wire_client import ask, upgrade_head

PATHS: Final = ("/engine.io/", "/socket.io/")
OPEN_KEYS: Final = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
UNKNOWN_TRANSPORT: Final = {"code": 0, "message": "Transport unknown"}
UNKNOWN_SID: Final = {"code": 1, "message": "Session ID unknown"}
BAD_METHOD: Final = {"code": 2, "message": "Bad handshake method"}
BAD_REQUEST: Final = {"code": 3, "message": "Bad request"}
BAD_VERSION: Final = {"code": 5, "message": "Unsupported protocol version"}


@pytest.fixture(scope="module")
def suite_port() -> Iterator[int]:
    """The app as the official suites run it."""
    with serving() as port:
        yield port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The app without its pings."""
    with serving(NO_PINGS_MS) as port:
        yield port


def check_refused(answer: Answer, error: dict[str, object]) -> None:
    assert (answer.status, answer.json()) == (400, error)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", PATHS)
async def test_polling_handshake_has_exactly_the_keys_that_clients_expect(suite_port: int, path: str) -> None:
    opened = await request(suite_port, "GET", f"{path}?EIO=4&transport=polling")
    assert opened.status == 200
    assert opened.headers["content-type"] == "text/plain; charset=UTF-8"
    assert opened.headers["cache-control"] == "no-store"
    handshake = json.loads(opened.text.removeprefix("0"))
    assert handshake.keys() == OPEN_KEYS
    assert handshake == {
        "sid": handshake["sid"],
        "upgrades": ["websocket"],
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    }
    assert isinstance(handshake["sid"], str)


@pytest.mark.parametrize("path", PATHS)
async def test_websocket_handshake_offers_no_upgrade(suite_port: int, path: str) -> None:
    async with await Wire.open(suite_port, f"{path}?EIO=4&transport=websocket") as wire:
        opened = await wire.frame()
    assert isinstance(opened, str)
    handshake = json.loads(opened.removeprefix("0"))
    assert handshake.keys() == OPEN_KEYS
    assert (handshake["upgrades"], handshake["pingInterval"], handshake["pingTimeout"]) == ([], 300, 200)


async def test_sids_are_never_given_twice(port: int) -> None:
    sids = {(await Poller.open(port)).handshake["sid"] for _ in range(20)}
    assert len(sids) == 20
    assert min(map(len, sids)) >= 20


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("method", "query", "error"),
    [
        ("GET", "EIO=4", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=abc", UNKNOWN_TRANSPORT),
        ("POST", "EIO=4&transport=abc&sid=none", UNKNOWN_TRANSPORT),
        ("GET", "", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=polling&sid=none", UNKNOWN_SID),
        ("POST", "EIO=3&transport=polling&sid=none", UNKNOWN_SID),
        ("POST", "EIO=4&transport=polling", BAD_METHOD),
        ("PUT", "EIO=4&transport=polling", BAD_METHOD),
        ("DELETE", "EIO=3&transport=websocket", BAD_METHOD),
        ("GET", "EIO=4&transport=websocket", BAD_REQUEST),
        ("GET", "EIO=3&transport=websocket", BAD_REQUEST),
        ("GET", "transport=polling", BAD_VERSION),
        ("GET", "EIO=3&transport=polling", BAD_VERSION),
        ("GET", "EIO=abc&transport=polling", BAD_VERSION),
    ],
)
async def test_first_check_that_fails_names_the_error(
    port: int, path: str, method: str, query: str, error: dict[str, object]
) -> None:
    check_refused(await request(port, method, f"{path}?{query}"), error)


@pytest.mark.parametrize("path", PATHS)
async def test_checks_of_a_known_sid(port: int, path: str) -> None:
    poller = await Poller.open(port, path)
    sid = poller.handshake["sid"]
    check_refused(await request(port, "GET", f"{path}?EIO=4&sid={sid}"), UNKNOWN_TRANSPORT)
    check_refused(await request(port, "GET", f"{path}?EIO=4&transport=websocket&sid={sid}"), BAD_REQUEST)
    check_refused(await request(port, "GET", f"{path}?EIO=3&transport=polling&sid={sid}"), BAD_REQUEST)
    assert (await request(port, "PUT", poller.target)).status in (400, 405)
    other = next(each for each in PATHS if each != path)
    check_refused(await request(port, "GET", f"{other}?EIO=4&transport=polling&sid={sid}"), UNKNOWN_SID)
    await poller.send("40" if path == "/socket.io/" else "4it lives")
    assert await poller.next() is not None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("EIO=4", "Transport unknown"),
        ("EIO=4&transport=abc", "Transport unknown"),
        ("EIO=4&transport=websocket&sid=none", "Session ID unknown"),
        ("transport=websocket", "Unsupported protocol version"),
        ("EIO=abc&transport=websocket", "Unsupported protocol version"),
    ],
)
async def test_refused_upgrade_gets_the_bare_text(port: int, path: str, query: str, text: str) -> None:
    reply = await ask(port, upgrade_head(f"{path}?{query}"))
    assert (reply.status, reply.body) == (400, text)
    assert reply.headers["content-type"] == "text/html"
    assert reply.headers["connection"] == "close"
    assert reply.headers["access-control-allow-origin"] == "*"


async def test_upgrade_by_another_method_is_refused_and_harmless(port: int) -> None:
    async with await Wire.open(port, "/engine.io/?EIO=4&transport=websocket") as wire:
        opened = await wire.frame()
        assert isinstance(opened, str)
        target = f"/engine.io/?EIO=4&transport=websocket&sid={json.loads(opened[1:])['sid']}"
        reply = await ask(port, upgrade_head(target, {"Content-Length": "0"}, method="POST"))
        assert (reply.status, reply.body) == (400, "Bad request")
        await wire.send("4still here")
        assert await wire.next() == "4still here"


@pytest.mark.parametrize(
    "target", ["/", "/socket.io", "/engine.io?EIO=4&transport=polling", "/socket.iox/", "/metrics"]
)
async def test_other_paths_are_not_found(port: int, target: str) -> None:
    assert (await request(port, "GET", target)).status == 404


async def test_path_is_matched_by_its_beginning(port: int) -> None:
    opened = await request(port, "GET", "/socket.io/anything?EIO=4&transport=polling&t=x1")
    assert opened.status == 200


async def test_preflight_of_any_origin_is_answered(port: int) -> None:
    asked = {
        "Origin": "https://front.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-one, content-type",
    }
    answer = await request(port, "OPTIONS", "/socket.io/?EIO=4&transport=polling", headers=asked)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (204, b"", "0")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
    assert answer.headers["access-control-allow-headers"] == "x-one, content-type"


async def test_every_answer_carries_cors_headers(port: int) -> None:
    poller = await Poller.open(port)
    posted = await poller.post("4hello")
    polled = await poller.get()
    oversize = await poller.post(b"4" + b"x" * 1_000_000)
    closed = await poller.post("abc")
    gone = await poller.get()
    answers = [posted, polled, oversize, closed, gone]
    assert [answer.status for answer in (posted, polled, oversize, gone)] == [200, 200, 413, 400]
    assert {answer.headers.get("access-control-allow-origin") for answer in answers} == {"*"}
    async with await Wire.open(port, "/engine.io/?EIO=4&transport=websocket", {"Origin": "https://a.example"}) as wire:
        assert "\r\naccess-control-allow-origin: *\r\n" in wire.head.lower()


@pytest.mark.parametrize(
    "headers", [{"Sec-WebSocket-Key": None}, {"Sec-WebSocket-Version": "8"}, {"Host": None}, {"X": "\0"}]
)
async def test_refusals_of_what_is_no_handshake_carry_cors_headers_too(
    port: int, headers: dict[str, str | None]
) -> None:
    reply = await ask(port, upgrade_head("/engine.io/?EIO=4&transport=websocket", headers))
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (400, "*")


async def test_upgrade_to_another_protocol_is_left_alone(port: int) -> None:
    asked = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    opened = await request(port, "GET", "/engine.io/?EIO=4&transport=polling", headers=asked)
    assert (opened.status, opened.headers["connection"]) == (200, "close")
    assert opened.text.startswith("0{")


async def test_connection_serves_many_requests_until_the_client_wants_it_closed(port: int) -> None:
    poller = await Poller.open(port)
    async with await Http.open(port) as http:
        for number in range(5):
            posted = await http.ask("POST", poller.target, f"4{number}".encode())
            assert (posted.text, posted.headers["connection"]) == ("ok", "keep-alive")
            assert (await http.ask("GET", poller.target)).text == f"4{number}"
        posted = await http.ask("POST", poller.target, b"4last", {"Connection": "close"})
        assert (posted.text, posted.headers["connection"]) == ("ok", "close")
        assert await http.at_end()
    async with await Http.open(port) as http:
        polled = await http.ask("GET", poller.target, headers={"Connection": "close"})
        assert (polled.text, polled.headers["connection"]) == ("4last", "close")
        assert await http.at_end()
