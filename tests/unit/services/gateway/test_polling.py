"""Long-polling through the whole client port: GETs that wait, POSTs, overlaps, endings (protocol reference 2.4)."""

import asyncio
import json
from base64 import b64encode

import pytest

from services.gateway.frames import frame_message
from services.gateway.polling import CLOSE_WAIT_S, COMPRESS_FROM, HIGH_WATER
from shared.names import close_reasons
from shared.names.close_reasons import CloseReason
from tests.support.fakes_http import POLLING, FakePort, PollingClient, inflate, text

WRITE_TIMEOUT_S = 10
"""Of `FakePort`."""

BAD = (400, {"code": 3, "message": "Bad request"})
UNKNOWN = (400, {"code": 1, "message": "Session ID unknown"})


@pytest.fixture(name="port")
async def one_port() -> FakePort:
    return FakePort()


@pytest.fixture(name="client")
async def one_client(port: FakePort) -> PollingClient:
    return PollingClient(port)


def status(client: PollingClient) -> tuple[int, object]:
    """What a GET is answered with."""
    answer = client.get().answer()
    return answer.status, json.loads(answer.body)


# --- GET


async def test_the_handshake_is_answered_at_once_with_the_open_packet_alone(client: PollingClient) -> None:
    opened = json.loads(client.handshake.body[1:])
    assert client.handshake.body[:1] == b"0"
    assert opened.keys() == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
    assert opened["upgrades"] == ["websocket"]
    assert client.handshake.headers["content-type"] == "text/plain; charset=UTF-8"
    assert client.handshake.headers["cache-control"] == "no-store"
    assert "set-cookie" not in client.handshake.headers


async def test_a_get_waits_until_there_is_something_to_say(client: PollingClient) -> None:
    parked = client.get()
    client.port.loop.advance(20)
    assert parked.take() == b""
    client.push("hi")
    assert parked.answer().body == b"4hi"


async def test_what_came_meanwhile_goes_out_together_and_in_order(client: PollingClient) -> None:
    for data in ("one", b"\x00\xff", "☃"):
        client.push(data)
    assert client.poll() == b"4one\x1eb" + b64encode(b"\x00\xff") + "\x1e4☃".encode()
    assert client.get().take() == b""


async def test_pings_come_with_a_poll_and_pongs_keep_the_client(client: PollingClient) -> None:
    for _ in range(3):
        parked = client.get()
        client.port.loop.advance(25.1)
        assert parked.answer().body == b"2"
        assert client.post(b"3").body == b"ok"
    assert client.port.ended == []


async def test_who_does_not_pong_is_unknown_from_then_on(client: PollingClient) -> None:
    parked = client.get()
    client.port.loop.advance(25.1)
    assert parked.answer().body == b"2"
    parked = client.get()
    client.port.loop.advance(20.1)
    assert parked.answer().body == b"1"
    assert client.port.ended == [close_reasons.PING_TIMEOUT]
    assert status(client) == UNKNOWN


async def test_a_second_get_ends_both_and_the_connection(client: PollingClient) -> None:
    parked = client.get()
    assert status(client) == BAD
    assert parked.answer().body == b"1"
    assert client.application.closings == [close_reasons.PROTOCOL_ERROR]
    assert status(client) == UNKNOWN


async def test_a_get_that_is_aborted_ends_the_connection(client: PollingClient) -> None:
    client.get().leave()
    assert client.application.closings == [close_reasons.PEER_GONE]
    assert status(client) == UNKNOWN


# --- POST


async def test_a_post_is_taken_packet_by_packet_and_answered_ok(client: PollingClient) -> None:
    answer = client.post(b"4one\x1e4two\x1eb" + b64encode(b"\x01\x02"))
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"ok", "text/html")
    assert client.application.messages == ["one", "two", b"\x01\x02"]


@pytest.mark.parametrize("body", [b"", b"9", b"\xff", b"b!", b"2", b"4a\x1e", b"4a\x1e\x1e4b"])
async def test_a_bad_post_ends_the_connection(client: PollingClient, body: bytes) -> None:
    assert client.post(body).status == 400
    assert client.application.closings == [close_reasons.PROTOCOL_ERROR]
    assert client.application.messages in ([], ["a"])
    assert "b" not in client.application.messages


async def test_a_post_over_the_limit_is_413_and_the_connection_lives(client: PollingClient) -> None:
    assert client.post(b"4" + b"x" * 9_999).status == 200
    answer = client.post(b"4" + b"x" * 10_000)
    assert (answer.status, answer.body) == (413, b"")
    assert client.post(b"4on").status == 200
    assert client.port.ended == []


async def test_a_second_post_while_one_comes_in_ends_the_connection(client: PollingClient) -> None:
    slow = client.port.connect()
    slow.feed(f"POST {client.target} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n4ab".encode())
    assert client.post(b"4x").status == 400
    assert client.application.closings == [close_reasons.PROTOCOL_ERROR]
    slow.feed(b"cdefgh")
    assert slow.answer().status == 400
    assert client.application.messages == []


async def test_a_post_that_is_aborted_ends_the_connection(client: PollingClient) -> None:
    slow = client.port.connect()
    slow.feed(f"POST {client.target} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n4ab".encode())
    slow.leave()
    assert client.application.closings == [close_reasons.PEER_GONE]


async def test_a_post_that_comes_too_slowly_is_408_and_another_one_may_follow(client: PollingClient) -> None:
    slow = client.port.connect()
    slow.feed(f"POST {client.target} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n4ab".encode())
    client.port.loop.advance(10.1)
    assert slow.answer().status == 408
    assert client.post(b"4x").status == 200
    assert client.application.messages == ["x"]


async def test_an_octet_stream_is_refused(client: PollingClient) -> None:
    assert client.post(b"4x", "Content-Type: application/octet-stream").status == 400
    assert client.application.closings == [close_reasons.PROTOCOL_ERROR]


async def test_packets_count_as_frames_of_a_websocket_do(client: PollingClient) -> None:
    """`FakePort` allows 200 at once and 50 a second, as it does on a WebSocket."""
    assert client.post(b"\x1e".join([b"4x"] * 150)).status == 200
    for _ in range(50):
        assert client.post(b"3").status == 200
    client.port.loop.advance(1.0)
    assert client.post(b"\x1e".join([b"4y"] * 50)).status == 200
    assert client.port.ended == []
    assert client.post(b"4z\x1e4z").status == 400
    assert client.application.messages == ["x"] * 150 + ["y"] * 50
    assert client.application.closings == [close_reasons.FRAME_FLOOD]
    assert status(client) == UNKNOWN


async def test_a_flood_within_one_post_is_taken_as_far_as_it_is_allowed(client: PollingClient) -> None:
    client.application.on_message = lambda _data: None
    parked = client.get()
    assert client.post(b"\x1e".join([b"4x"] * 201)).status == 400
    assert len(client.application.messages) == 200
    assert client.application.closings == [close_reasons.FRAME_FLOOD]
    assert parked.answer().body == b"1"


async def test_other_methods_are_refused_and_harm_nobody(client: PollingClient) -> None:
    assert client.port.ask(client.target, method="PUT", body=b"4x").answer().status == 400
    assert client.port.ended == []
    assert client.application.messages == []


# --- endings


async def test_a_close_packet_ends_the_parked_get_with_nothing(client: PollingClient) -> None:
    parked = client.get()
    assert client.post(b"4last\x1e1\x1e4never").body == b"ok"
    assert parked.answer().body == b"4last"
    assert client.application.messages == ["last"]
    assert client.application.closings == [close_reasons.CLIENT_LEFT]
    other = PollingClient(client.port)
    parked = other.get()
    assert other.post(b"1").body == b"ok"
    assert parked.answer().body == b"6"
    assert client.port.is_at_rest() is False
    parked.leave()
    assert status(other) == UNKNOWN


async def test_our_goodbye_goes_out_with_the_parked_get(client: PollingClient) -> None:
    parked = client.get()
    client.connection.end(close_reasons.KICKED)
    assert parked.answer().body == b"1"
    assert status(client) == UNKNOWN


async def test_our_goodbye_waits_for_the_next_get_behind_what_waits_too(client: PollingClient) -> None:
    client.push("41")
    client.connection.end(close_reasons.KICKED)
    client.port.loop.advance(CLOSE_WAIT_S - 1)
    assert client.poll() == b"441"
    assert client.poll() == b"1", "alone: else the client would keep the events for its next connection"
    assert status(client) == UNKNOWN


async def test_our_goodbye_waits_for_half_a_minute_only(client: PollingClient) -> None:
    client.connection.end(close_reasons.SERVER_STOPPING)
    assert client.port.server._by_sid
    client.port.loop.advance(CLOSE_WAIT_S + 0.1)
    assert not client.port.server._by_sid
    assert status(client) == UNKNOWN


async def test_a_post_after_our_goodbye_is_refused(client: PollingClient) -> None:
    client.connection.end(close_reasons.KICKED)
    assert client.post(b"4x").status == 400
    assert client.application.messages == []
    assert client.poll() == b"1"


@pytest.mark.parametrize("reason", close_reasons.ALL, ids=lambda reason: reason.text)
@pytest.mark.parametrize("parked", [True, False])
async def test_whatever_the_reason_the_application_is_told_once_and_nothing_stays(
    client: PollingClient, reason: CloseReason, *, parked: bool
) -> None:
    get = client.get() if parked else None
    for _ in range(2):
        client.connection.end(reason)
    if get is not None:
        assert get.answer().body in (b"1", b"6")
        get.leave()
    client.port.loop.advance(CLOSE_WAIT_S + 60)
    assert client.application.closings == client.port.ended == [reason]
    assert client.port.is_at_rest()


# --- clients that must be told otherwise

PYTHON = ("User-Agent: Python/3.11 aiohttp/3.14.1", "User-Agent: python-requests/2.33.0")
BROWSERS = ("User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "User-Agent: node-XMLHttpRequest")


@pytest.mark.parametrize("agent", [*PYTHON, "X: no agent at all"])
async def test_a_client_that_may_break_off_on_more_gets_few_packets_at_a_time(
    client: PollingClient, agent: str
) -> None:
    for number in range(45):
        client.push(str(number))
    client.connection.end(close_reasons.KICKED)
    bodies = [client.get(agent).answer().body.split(b"\x1e") for _ in range(4)]
    assert [len(packets) for packets in bodies] == [15, 15, 15, 1]
    assert [packet for packets in bodies for packet in packets] == [b"4%d" % number for number in range(45)] + [b"1"]


@pytest.mark.parametrize("agent", BROWSERS)
async def test_a_javascript_client_gets_all_that_waits_at_once(client: PollingClient, agent: str) -> None:
    for number in range(100):
        client.push(str(number))
    assert client.get(agent).answer().body.split(b"\x1e") == [b"4%d" % number for number in range(100)]


@pytest.mark.parametrize("reason", [close_reasons.SERVER_STOPPING, close_reasons.KICKED])
@pytest.mark.parametrize("agent", [*PYTHON, *BROWSERS])
async def test_a_python_client_that_is_to_come_back_sees_its_poll_fail(
    client: PollingClient, agent: str, reason: CloseReason
) -> None:
    parked = client.get(agent)
    client.connection.end(reason)
    answer = parked.answer()
    if agent in PYTHON and reason.reconnect:
        assert (answer.status, json.loads(answer.body)) == UNKNOWN
    else:
        assert (answer.status, answer.body) == (200, b"1")


async def test_last_words_come_before_the_poll_that_fails(client: PollingClient) -> None:
    client.push("41")
    client.connection.end(close_reasons.SERVER_STOPPING)
    assert client.get(PYTHON[0]).answer().body == b"441"
    assert client.get(PYTHON[0]).answer().status == 400
    assert status(client) == UNKNOWN
    assert not client.port.server._by_sid


# --- what an answer carries


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("br;q=1, gzip;q=0.5", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.000", None),
        ("br", None),
        (None, None),
    ],
)
async def test_a_large_answer_is_compressed_if_the_client_takes_that(
    client: PollingClient, accepted: str | None, coding: str | None
) -> None:
    headers = [f"Accept-Encoding: {accepted}"] if accepted else []
    client.push("x" * (COMPRESS_FROM - 2))
    small = client.get(*headers).answer()
    assert (len(small.body), small.headers.get("content-encoding")) == (COMPRESS_FROM - 1, None)
    client.push("x" * (COMPRESS_FROM - 1))
    large = client.get(*headers).answer()
    assert large.headers.get("content-encoding") == coding
    assert (len(large.body) < 100) == (coding is not None)
    assert inflate(large.body, coding) == b"4" + b"x" * (COMPRESS_FROM - 1)


async def test_the_cookie_comes_with_the_first_answer_only() -> None:
    port = FakePort(cookie="route")
    client = PollingClient(port)
    sid = client.connection.sid
    assert client.handshake.headers["set-cookie"] == f"route={sid}; Path=/; HttpOnly; SameSite=Lax"
    client.push("x")
    assert "set-cookie" not in client.get().answer().headers
    assert "set-cookie" not in client.post(b"4x").headers


async def test_every_answer_says_who_may_read_it() -> None:
    port = FakePort(allowed_origins=frozenset({"https://good.example"}))
    origin = "Origin: https://good.example"
    client = PollingClient(port, origin)
    client.push("x")
    answers = [
        client.handshake,
        client.get(origin).answer(),
        client.post(b"4x", origin),
        client.post(b"4" + b"x" * 10_000, origin),
        port.ask("/engine.io/?EIO=4&transport=polling&sid=nobody", origin).answer(),
        port.ask(POLLING, origin, "Access-Control-Request-Headers: x-one", method="OPTIONS").answer(),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 413, 400, 204]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
    assert answers[-1].headers["access-control-allow-headers"] == "x-one"
    assert answers[-1].headers["content-length"] == "0"


async def test_a_foreign_origin_is_refused_and_told_nothing() -> None:
    port = FakePort(allowed_origins=frozenset({"https://good.example"}))
    answer = port.ask(POLLING, "Origin: https://bad.example").answer()
    assert (answer.status, answer.headers.get("access-control-allow-origin")) == (403, None)
    assert not port.applications


# --- who is behind


async def test_a_client_that_does_not_poll_is_behind_until_it_does(client: PollingClient) -> None:
    def state() -> tuple[bool, int]:
        return client.connection.writable, client.application.drains

    assert state() == (True, 0)
    client.push("x" * HIGH_WATER)
    assert state() == (False, 0)
    assert len(client.poll()) == HIGH_WATER + 1
    assert state() == (True, 1)
    client.push("x")
    client.poll()
    assert state() == (True, 1)


async def test_a_client_that_fetches_nothing_of_a_full_buffer_is_ended_and_begins_anew(client: PollingClient) -> None:
    client.push("x" * HIGH_WATER)
    client.port.loop.advance(WRITE_TIMEOUT_S - 0.1)
    assert client.port.ended == []
    client.port.loop.advance(0.2)
    assert client.port.ended == [close_reasons.SLOW_CONSUMER]
    assert status(client) == UNKNOWN


async def test_a_client_that_fetches_in_time_has_as_long_again(client: PollingClient) -> None:
    for _ in range(3):
        client.push("x" * HIGH_WATER)
        client.port.loop.advance(WRITE_TIMEOUT_S - 1)
        client.poll()
    client.push("x")
    client.port.loop.advance(WRITE_TIMEOUT_S)
    assert client.port.ended == []


# --- an upgrade


async def test_polls_end_with_nothing_while_a_websocket_takes_over_and_nothing_is_lost(client: PollingClient) -> None:
    parked = client.get()
    probe = client.probe()
    probe.feed(text(b"2probe"))
    assert probe.take() == b"\x81\x063probe"
    assert parked.answer().body == b"6"
    client.push("while upgrading")
    assert client.poll() == b"6"
    client.push(b"\x01")
    probe.feed(text(b"5"))
    assert probe.take() == frame_message("while upgrading") + frame_message(b"\x01")
    assert status(client) == BAD
    assert client.post(b"4x").status == 400
    client.push("after")
    assert probe.take() == frame_message("after")


async def test_what_waits_is_taken_once(client: PollingClient) -> None:
    client.push("a")
    carrier = client.connection.carrier
    assert carrier.take_waiting() == frame_message("a")
    assert carrier.take_waiting() == b""


async def test_an_upgrade_that_fails_leaves_polling_as_it_was(client: PollingClient) -> None:
    probe = client.probe()
    probe.feed(text(b"2probe"))
    client.push("kept")
    assert client.poll() == b"6"
    probe.leave()
    assert client.poll() == b"4kept"
    await asyncio.sleep(0)
    assert client.port.ended == []
