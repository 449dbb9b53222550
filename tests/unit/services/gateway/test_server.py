"""The client port: handshakes judged in the reference server's order, before any upgrade, on real sockets."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest

from protocol.engineio.session import SessionSettings
from protocol.socketio.parser import MessageData
from services.gateway.addresses import TrustedProxies, parse_networks
from services.gateway.connection import EngineConnection
from services.gateway.doorway import DoorwayLimits
from services.gateway.frames import frame_message
from services.gateway.limits import WebSocketLimits
from services.gateway.server import RETRY_WITHIN_S, STOP_S, Mount, Server, ServerSettings
from shared.names import close_reasons
from shared.names.close_reasons import CloseReason
from shared.tasks import TaskGroup
from tests.support import fakes_http
from tests.support.fakes_http import UPGRADE as UPGRADE_LINES
from tests.support.fakes_http import FakePort, PollingClient, http, masked, text
from tests.support.waiting import eventually

WS = "EIO=4&transport=websocket"
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


class Application:
    def __init__(self, connection: EngineConnection) -> None:
        self.connection = connection
        self.messages: list[MessageData] = []

    def receive(self, data: MessageData, _now: float) -> None:
        self.messages.append(data)

    def drained(self) -> None:
        pass

    def closed(self, _reason: CloseReason) -> None:
        pass

    def next_deadline(self) -> float:
        return inf

    def handle_deadline(self, now: float) -> None:
        pass


class Running:
    """A server on a free port, and what it said of its clients."""

    def __init__(self, **settings: Any) -> None:
        self.refused: list[str] = []
        self.ended: list[CloseReason] = []
        defaults: dict[str, Any] = {
            "allowed_origins": frozenset({"https://good.example"}),
            "max_connections": 0,
            "max_accepts": 0,
            "head_timeout": 5.0,
        }
        self.applications: list[Application] = []
        mount = Mount(
            settings.pop("session", SessionSettings(upgrades=False)),
            WebSocketLimits(max_message=1000, frame_rate=50, frame_burst=200, write_timeout=10),
            self.make,
        )
        self.server = Server(
            asyncio.get_running_loop(),
            ServerSettings(**{**defaults, **settings}),
            {"/socket.io/": mount},
            on_refused=self.refused.append,
            on_ended=self.ended.append,
        )
        self.port = 0

    def make(self, connection: EngineConnection) -> Application:
        self.applications.append(Application(connection))
        return self.applications[-1]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, request: str) -> tuple[int, str]:
        """Send one request; returns status and body, of a refusal all of it."""
        reader, writer = await self.open()
        writer.write(request.encode())
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split()[1])
            body = "" if status == 101 else (await reader.read()).decode()
        writer.close()
        return status, body

    async def join(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client that is in: its handshake has been read."""
        reader, writer = await self.open()
        writer.write(request().encode())
        async with asyncio.timeout(10):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            assert (await reader.read(1000))[2:].startswith(b'0{"sid":')
        return reader, writer


Start = Callable[..., Any]


@pytest.fixture(name="start")
async def starter() -> AsyncIterator[Start]:
    running: list[Running] = []

    async def start(**settings: Any) -> Running:
        made = Running(**settings)
        running.append(made)
        made.port = await made.server.start("127.0.0.1", 0)
        return made

    yield start
    for made in running:
        await made.server.stop()


def request(
    query: str = WS, *headers: str, method: str = "GET", path: str = "/socket.io/", upgrade: bool = True
) -> str:
    lines = (f"{method} {path}?{query} HTTP/1.1", "Host: a", *(UPGRADE if upgrade else ()), *headers)
    return "\r\n".join([*lines, "", ""])


GOOD = "Origin: https://good.example"
BAD_ORIGIN = "Origin: https://bad.example"
UNKNOWN = '{"code":1,"message":"Session ID unknown"}'
METHOD = '{"code":2,"message":"Bad handshake method"}'
ORIGIN = '{"code":4,"message":"Origin not allowed"}'
TOKEN = "A token belongs into auth, never into the URL"
# Each row breaks its own rule and those of all rows below it that can be broken at the same time: the first one tells.
HANDSHAKES: list[tuple[str, int, str]] = [
    (request("EIO=3&transport=carrier&sid=x", BAD_ORIGIN, method="POST"), 400, "Transport unknown"),
    (request("EIO=3", BAD_ORIGIN), 400, "Transport unknown"),
    (request("EIO=4&transport=smoke", upgrade=False), 400, '{"code":0,"message":"Transport unknown"}'),
    (request("EIO=4&transport=polling&sid=x", BAD_ORIGIN, upgrade=False, method="PUT"), 400, UNKNOWN),
    (request("EIO=4&transport=polling", BAD_ORIGIN, "Content-Length: 0", upgrade=False, method="POST"), 400, METHOD),
    (request("EIO=3&transport=polling", BAD_ORIGIN), 400, "Bad request"),
    (request("EIO=3&transport=polling", BAD_ORIGIN, upgrade=False), 403, ORIGIN),
    (request("EIO=3&transport=polling", upgrade=False), 400, '{"code":5,"message":"Unsupported protocol version"}'),
    (request("EIO=3&transport=websocket&sid=x", "Origin: a\x7fb", method="POST"), 400, "malformed request"),
    (request("EIO=3&transport=websocket&sid=x", GOOD, GOOD, method="POST"), 400, "Bad request"),
    (request("EIO=3&transport=websocket&sid=x", BAD_ORIGIN, method="POST"), 400, "Session ID unknown"),
    (request("EIO=3&transport=websocket", BAD_ORIGIN, method="PUT"), 400, "Bad handshake method"),
    (
        request("EIO=3&transport=websocket", BAD_ORIGIN, upgrade=False),
        400,
        '{"code":3,"message":"Bad request"}',
    ),
    (request("EIO=3&transport=websocket", BAD_ORIGIN, "Content-Length: 0"), 400, "Bad request"),
    (request("EIO=3&transport=websocket", BAD_ORIGIN), 400, "Origin not allowed"),
    (request("EIO=3&transport=websocket&token=x", GOOD), 400, TOKEN),
    (request("EIO=3&transport=polling&token=x", upgrade=False), 403, f'{{"code":4,"message":"{TOKEN}"}}'),
    (request("EIO=3&transport=websocket", GOOD), 400, "Unsupported protocol version"),
    (request("transport=websocket"), 400, "Unsupported protocol version"),
    (request(WS, path="/other/"), 404, "connect a Socket.IO client to /socket.io/"),
    (request(WS, GOOD), 101, ""),
    (request(WS), 101, ""),
]


@pytest.mark.parametrize(("sent", "status", "body"), HANDSHAKES, ids=range(len(HANDSHAKES)))
async def test_handshakes_are_judged_in_the_documented_order(start: Start, sent: str, status: int, body: str) -> None:
    running = await start()
    assert await running.ask(sent) == (status, body)
    assert len(running.refused) == (status != 101)
    assert running.server.accepted == (status == 101)


async def test_an_upgrade_that_the_standard_forbids_is_refused(start: Start) -> None:
    running = await start()
    sent = request().replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8")
    assert (await running.ask(sent))[0] == 400
    assert running.refused == ["bad_websocket_handshake"]
    assert running.server.connections == set()


@pytest.mark.parametrize(
    "sent",
    [
        request(WS, GOOD).replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        request(WS, GOOD).replace("Sec-WebSocket-Key", "X-Key"),
        request(WS, GOOD).replace("Host: a", "X-Host: a"),
        request(WS, GOOD, "X-Two: \0"),
        request(WS + "&EIO=4", GOOD),
        request(WS, GOOD, path="/other/"),
        request("EIO=4&transport=polling", GOOD, "Content-Encoding: gzip", upgrade=False),
    ],
)
async def test_a_refusal_says_who_may_read_it_however_early_it_comes(sent: str) -> None:
    port = FakePort(allowed_origins=frozenset({"https://good.example"}))
    socket = port.connect()
    socket.feed(sent.encode())
    answer = socket.answer()
    assert answer.status >= 400
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert answer.headers["vary"] == "Origin"


async def test_an_upgrade_to_anything_but_websocket_is_left_alone() -> None:
    port = FakePort()
    opened = port.ask(fakes_http.POLLING, "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AA")
    answer = opened.answer()
    assert (answer.status, answer.body[:1], answer.headers["connection"]) == (200, b"0", "close")
    refused = port.ask(fakes_http.WEBSOCKET, "Upgrade: h2c", "Connection: Upgrade").answer()
    assert (refused.status, refused.body) == (400, b'{"code":3,"message":"Bad request"}')


async def test_a_body_behind_an_upgrade_that_is_left_alone_is_refused_and_harms_nobody() -> None:
    client = PollingClient(FakePort())
    assert client.post(b"4hi", "Upgrade: h2c", "Connection: Upgrade").status == 400
    assert client.post(b"4still").body == b"ok"
    assert client.application.messages == ["still"]


async def test_a_star_allows_every_origin(start: Start) -> None:
    running = await start(allowed_origins=frozenset({"*"}))
    assert (await running.ask(request(WS, BAD_ORIGIN)))[0] == 101


async def test_a_client_is_let_in_served_and_noted_when_it_goes(start: Start) -> None:
    running = await start()
    _, writer = await running.join()
    writer.write(b"\x81\x83\x00\x00\x00\x004hi")
    await eventually(lambda: bool(running.applications[0].messages), "a message")
    assert running.applications[0].messages == ["hi"]
    assert len(running.server.connections) == running.server.accepted == 1
    writer.close()
    await eventually(lambda: bool(running.ended), "an ending")
    assert running.ended == [close_reasons.PEER_GONE]
    assert running.server.connections == set()


async def test_every_connection_has_its_own_secret_sid(start: Start) -> None:
    running = await start()
    sids = set()
    for _ in range(3):
        reader, writer = await running.open()
        writer.write(request().encode())
        await reader.readuntil(b"\r\n\r\n")
        frame = await reader.read(1000)
        sids.add(json.loads(frame[frame.index(b"{") :])["sid"])
        writer.close()
    assert len(sids) == 3
    assert min(map(len, sids)) >= 20


async def test_frames_that_come_with_the_handshake_are_taken(start: Start) -> None:
    running = await start()
    _, writer = await running.open()
    writer.write(request().encode() + b"\x81\x83\x00\x00\x00\x004hi")
    await eventually(lambda: bool(running.applications and running.applications[0].messages), "a message")
    assert running.applications[0].messages == ["hi"]
    writer.close()


async def test_a_full_gateway_says_when_to_come_back(start: Start) -> None:
    running = await start(max_connections=1)
    _, writer = await running.join()
    assert await running.ask(request()) == (503, "full")
    writer.close()
    await eventually(lambda: not running.server.connections, "it was noted")
    assert (await running.ask(request()))[0] == 101


async def test_new_clients_are_let_in_at_a_bounded_rate(start: Start) -> None:
    running = await start(max_accepts=2)
    answers = [await running.ask(request()) for _ in range(3)]
    assert answers == [(101, ""), (101, ""), (503, "too many new clients")]


async def test_a_stop_says_goodbye_and_waits_for_who_answers(start: Start) -> None:
    running = await start()
    reader, writer = await running.join()
    async with asyncio.timeout(10), TaskGroup() as tasks:
        stopping = tasks.spawn("stop", running.server.stop())
        goodbye = await reader.readexactly(4)
        writer.write(b"\x88\x82\x00\x00\x00\x00\x03\xf4")
        await reader.read()
        await stopping
    assert goodbye[0] == 0x88
    assert int.from_bytes(goodbye[2:4]) == 1012
    assert running.ended == [close_reasons.SERVER_STOPPING]
    writer.close()
    with pytest.raises(OSError, match="Connect call failed"):
        await running.open()


async def test_a_client_that_does_not_answer_the_goodbye_is_dropped_in_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.server.STOP_S", 0.1)
    running = await start()
    reader, writer = await running.join()
    async with asyncio.timeout(10):
        await running.server.stop()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1_000_000)
    writer.close()


# --- requests that carry a sid


async def test_a_request_with_a_sid_is_held_against_what_that_client_does() -> None:
    port = FakePort()
    client = PollingClient(port)
    code = b'{"code":%d'
    for target, lines, method, expected in [
        (client.target.replace("EIO=4", "EIO=3"), (), "GET", code % 3),
        (client.target.replace("EIO=4&", ""), (), "GET", code % 3),
        (client.target.replace("polling", "websocket"), (), "GET", code % 3),
        (client.target, UPGRADE_LINES, "GET", b"Bad request"),
        (client.upgrade_target, (*UPGRADE_LINES, "Content-Length: 1"), "GET", b"Bad request"),
        (client.upgrade_target, UPGRADE_LINES, "POST", b"Bad handshake method"),
        (client.target, (), "DELETE", code % 2),
        (client.target + "x", (), "GET", code % 1),
    ]:
        answer = port.ask(target, *lines, method=method).answer()
        assert (answer.status, answer.body[: len(expected)]) == (400, expected)
        assert answer.headers["connection"] == "close"
    assert client.post(b"4still").status == 200
    assert port.ended == []


async def test_a_sid_of_a_websocket_is_no_polling_sid() -> None:
    port = FakePort()
    port.ask(fakes_http.WEBSOCKET, *UPGRADE_LINES)
    sid = port.applications[0].connection.sid
    assert port.ask(f"{fakes_http.POLLING}&sid={sid}").answer().body.startswith(b'{"code":3')
    second = port.ask(f"{fakes_http.WEBSOCKET}&sid={sid}", *UPGRADE_LINES)
    assert second.take().endswith(b"\r\n\r\n\x88\x00")


async def test_polling_and_websocket_handshakes_count_against_the_same_bounds() -> None:
    port = FakePort(max_connections=1)
    PollingClient(port)
    answer = port.ask(fakes_http.POLLING).answer()
    assert (answer.status, answer.body) == (503, b"full")
    assert port.ask(fakes_http.WEBSOCKET, *UPGRADE_LINES).answer().status == 503


async def test_those_who_are_refused_are_told_different_times_to_come_back() -> None:
    port = FakePort(max_connections=1)
    PollingClient(port)
    told = {int(port.ask(fakes_http.POLLING).answer().headers["retry-after"]) for _ in range(100)}
    assert told <= set(range(1, RETRY_WITHIN_S + 1))
    assert len(told) > 1


async def test_a_server_that_refuses_new_clients_serves_those_that_it_has() -> None:
    port = FakePort()
    client = PollingClient(port)
    port.server.refuse_new()
    assert port.ask(fakes_http.POLLING).answer().body == b"stopping"
    assert client.post(b"4still").status == 200
    assert port.server.present == 1


async def test_a_stop_lets_polling_clients_fetch_their_goodbye(start: Start) -> None:
    running = await start()
    reader, writer = await running.open()
    _, sid = await poll_handshake(reader, writer)
    async with asyncio.timeout(10), TaskGroup() as tasks:
        stopping = tasks.spawn("stop", running.server.stop())
        await eventually(lambda: bool(running.ended), "the connection has ended")
        assert (await exchange(reader, writer, polling("GET", sid)))[1] == b"1"
        await stopping
    assert running.server._by_sid == {}
    writer.close()


async def test_a_stop_closes_connections_that_wait_for_another_request_at_once(start: Start) -> None:
    running = await start()
    streams = [await running.open() for _ in range(3)]
    for reader, writer in streams[1:]:  # the first one has not said a word
        _, sid = await poll_handshake(reader, writer)
        await exchange(reader, writer, polling("POST", sid, b"1"))
    streams[2][1].write(b"GET /half")
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(10):
        await running.server.stop()
        assert asyncio.get_running_loop().time() - began < STOP_S / 2
        assert [await reader.read() for reader, _ in streams] == [b""] * 3
    assert len(running.server._doorway) == 0
    for _, writer in streams:
        writer.close()


async def test_a_stop_does_not_wait_long_for_who_does_not_read_its_answer(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.server.STOP_S", 0.1)
    running = await start()
    reader, writer = await running.open()
    _, sid = await poll_handshake(reader, writer)
    connection = running.server._by_sid[sid][0]
    connection.write(frame_message("x" * 20_000_000))
    writer.write(polling("GET", sid))
    await eventually(lambda: connection.writable, "the answer is written")
    async with asyncio.timeout(10):
        await running.server.stop()
    await eventually(lambda: not len(running.server._doorway), "it is gone")
    writer.transport.abort()


# --- nothing stays behind

SESSIONS = 1_000
AT_ONCE = 25
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def polling(method: str, sid: str = "", body: bytes | None = None, *lines: str) -> bytes:
    target = f"/socket.io/?EIO=4&transport=polling{sid and f'&sid={sid}'}"
    return http(target, *lines, method=method, body=body)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> tuple[int, bytes]:
    """Send a request, read its answer."""
    writer.write(sent)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length"))
    return int(head.split()[1]), await reader.readexactly(int(length.split(":")[1]))


async def poll_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str]:
    status, body = await exchange(reader, writer, polling("GET"))
    return status, json.loads(body[1:])["sid"]


class Ending:
    """Polling sessions that end in every way, one after another."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.ways = (
            self.leave,
            self.abort_get,
            self.abort_post,
            self.bad_packet,
            self.two_gets,
            self.octets,
            self.goodbye_parked,
            self.goodbye_fetched,
            self.goodbye_left,
            self.forget,
            self.upgrade_and_drop,
            self.upgrade_and_break,
            self.fail_upgrade,
        )

    async def one(self, number: int) -> None:
        reader, writer = await self.running.open()
        _, sid = await poll_handshake(reader, writer)
        await self.ways[number % len(self.ways)]((reader, writer), sid)
        writer.transport.abort()

    def connection(self, sid: str) -> EngineConnection:
        return self.running.server._by_sid[sid][0]

    async def leave(self, stream: Stream, sid: str) -> None:
        await exchange(*stream, polling("POST", sid, b"1"))

    async def abort_get(self, stream: Stream, sid: str) -> None:
        stream[1].write(polling("GET", sid))
        await stream[1].drain()

    async def abort_post(self, stream: Stream, sid: str) -> None:
        stream[1].write(polling("POST", sid, b"4abc")[:-1])
        await stream[1].drain()

    async def bad_packet(self, stream: Stream, sid: str) -> None:
        assert (await exchange(*stream, polling("POST", sid, b"9")))[0] == 400

    async def two_gets(self, stream: Stream, sid: str) -> None:
        stream[1].write(polling("GET", sid))
        reader, writer = await self.running.open()
        assert (await exchange(reader, writer, polling("GET", sid)))[0] in (200, 400)
        writer.close()

    async def octets(self, stream: Stream, sid: str) -> None:
        octets = "Content-Type: application/octet-stream"
        assert (await exchange(*stream, polling("POST", sid, b"4", octets)))[0] == 400

    async def goodbye_parked(self, stream: Stream, sid: str) -> None:
        stream[1].write(polling("GET", sid))
        self.connection(sid).end(close_reasons.KICKED)
        assert (await exchange(*stream, b""))[1] == b"1"

    async def goodbye_fetched(self, stream: Stream, sid: str) -> None:
        self.connection(sid).end(close_reasons.KICKED)
        assert (await exchange(*stream, polling("GET", sid)))[1] == b"1"

    async def goodbye_left(self, _stream: Stream, sid: str) -> None:
        self.connection(sid).end(close_reasons.KICKED)

    async def forget(self, _stream: Stream, _sid: str) -> None:
        pass

    async def probe(self, sid: str, *frames: bytes) -> None:
        reader, writer = await self.running.open()
        target = f"/socket.io/?EIO=4&transport=websocket&sid={sid}"
        writer.write(http(target, *UPGRADE_LINES) + b"".join(frames))
        await reader.readuntil(b"\r\n\r\n")
        await reader.read(100)
        writer.transport.abort()

    async def upgrade_and_drop(self, _stream: Stream, sid: str) -> None:
        await self.probe(sid, text(b"2probe"), text(b"5"))

    async def upgrade_and_break(self, _stream: Stream, sid: str) -> None:
        await self.probe(sid, text(b"2probe"), text(b"5"), masked(0x3))

    async def fail_upgrade(self, stream: Stream, sid: str) -> None:
        await self.probe(sid, text(b"nonsense"))
        await exchange(*stream, polling("POST", sid, b"1"))


def live_deadlines(server: Server) -> int:
    return sum(due.timed is not None for due in server._deadlines._heap)


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def test_nothing_stays_of_a_thousand_sessions_that_ended_in_every_way(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.polling.CLOSE_WAIT_S", 0.5)
    running = await start(session=SessionSettings(ping_interval=2_000, ping_timeout=500))
    endings = Ending(running)
    server, before = running.server, open_files()
    async with asyncio.timeout(60):
        for first in range(0, SESSIONS, AT_ONCE):
            await asyncio.gather(*(endings.one(number) for number in range(first, first + AT_ONCE)))
    await eventually(lambda: not server._by_sid, "no sid is left")
    await eventually(lambda: live_deadlines(server) == 0, "no deadline is left")
    await eventually(lambda: open_files() <= before, "no file is left open")
    assert (server.accepted, len(running.ended)) == (SESSIONS, SESSIONS)
    assert (server.connections, server._sockets, len(server._doorway)) == (set(), set(), 0)
    assert {close_reasons.PING_TIMEOUT, close_reasons.PROTOCOL_ERROR, close_reasons.PEER_GONE} < set(running.ended)
    running.applications.clear()
    gc.collect()
    assert not [it for it in gc.get_objects() if isinstance(it, EngineConnection) and it.sid]


PROXIES = TrustedProxies(parse_networks(["10.0.0.0/8"]))


async def test_an_address_gets_so_many_clients_and_polling_ones_count_once() -> None:
    port = FakePort(max_per_address=2)
    client = PollingClient(port)
    for _ in range(5):
        client.post(b"4x")
        client.poll()
    port.ask(fakes_http.WEBSOCKET, *UPGRADE_LINES)
    refused = port.ask(fakes_http.POLLING).answer()
    assert refused.status == 429
    assert refused.body == b"too many clients from this address"
    assert port.refused[-1:] == ["too many clients from this address"]
    assert port.ask(fakes_http.POLLING, peer="127.0.0.2").answer().status == 200


async def test_a_client_that_goes_leaves_its_place() -> None:
    port = FakePort(max_per_address=1)
    PollingClient(port).connection.end(close_reasons.KICKED)
    assert port.ask(fakes_http.POLLING).answer().status == 200


async def test_behind_trusted_proxies_each_client_counts_for_itself() -> None:
    port = FakePort(max_per_address=1, doorway=DoorwayLimits(proxies=PROXIES))
    for forwarded, status in [("1.1.1.1", 200), ("1.1.1.1", 429), ("1.1.1.2", 200), ("9.9.9.9, 1.1.1.1", 429)]:
        asked = port.ask(fakes_http.POLLING, f"X-Forwarded-For: {forwarded}", peer="10.0.0.1")
        assert asked.answer().status == status, forwarded
    for status in (200, 429):  # not behind one, the header is only text
        asked = port.ask(fakes_http.POLLING, f"X-Forwarded-For: 8.8.8.{status}", peer="127.0.0.1")
        assert asked.answer().status == status


async def test_an_address_gets_so_many_handshakes_a_second() -> None:
    port = FakePort(max_accepts_per_address=3)
    assert [port.ask(fakes_http.POLLING).answer().status for _ in range(5)] == [200] * 3 + [429] * 2
    port.loop.now += 1.0
    assert port.ask(fakes_http.POLLING).answer().status == 200
