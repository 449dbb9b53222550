"""Logs: one line stays one line, an attack does not fill a disk, and no secret is anywhere but with its owner."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import structlog

from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.log import MAX_TRACEBACK_LENGTH, MAX_VALUE_LENGTH, configure_logging, get_logger
from shared.log_budget import BURST, TRACEBACK_COST
from tests.support.cluster import Cluster, Service, token
from tests.support.waiting import eventually
from tests.support.wire_client import PATH, ask, connect, upgrade_head
from tests.support.wire_socket import WireSocket, joined

LogTo = Callable[[str], io.StringIO]

NASTY = (
    "a\nb",
    'a\n{"level": "critical", "event": "forged"}',
    "\x1b[2J\x1b[31mred",
    "\u2028\u2029\x85",
    "\u202egnp.exe",
    "\x00\x07\x08\x7f",
    "\ud800",
    "x" * 1_000_000,
    '"},{"',
)


@pytest.fixture
def logging_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], io.StringIO]]:
    """Sets up logs of a form; what is written to standard error from then on."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def start(form: str) -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging("info", form, service="gateway")
        return stream

    yield start
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.threat("T32")
@pytest.mark.parametrize("nasty", NASTY, ids=lambda text: ascii(text[:12]))
def test_whatever_is_logged_stays_on_one_line_that_can_be_read(logging_to: LogTo, nasty: str):
    stderr = logging_to("json")
    log = get_logger("x")
    log.info(
        "named", symbol=nasty, inside={"a": [nasty]}, **{"key" + nasty[:10]: 1}, raw=nasty.encode(errors="replace")
    )
    logging.getLogger("library").warning("said %s", nasty)
    try:
        raise ValueError(nasty)
    except ValueError:
        log.exception("failed")
    written = stderr.getvalue()
    lines = written.split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["event"][:4] for line in lines] == ["name", "said", "fail"]
    assert all(" " <= character <= "~" for line in lines for character in line)
    assert max(map(len, lines)) < 6 * (MAX_TRACEBACK_LENGTH + 10 * MAX_VALUE_LENGTH)


@pytest.mark.threat("T32")
@pytest.mark.parametrize("nasty", NASTY, ids=lambda text: ascii(text[:12]))
def test_people_s_terminals_are_left_alone_too(logging_to: LogTo, nasty: str):
    stderr = logging_to("console")
    get_logger("x").info("named", symbol=nasty, inside={"a": [nasty]})
    written = stderr.getvalue()
    assert written.count("\n") == 1
    assert not {"\x1b", "\u2028", "\u202e", "\x00", "\x85"} & set(written)


@pytest.mark.threat("T32")
def test_the_same_line_again_and_again_is_rationed_and_counted(logging_to: LogTo, monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr("shared.log.SystemClock.monotonic", lambda _self: now)
    stderr = logging_to("json")
    log, library = get_logger("x"), logging.getLogger("library")
    for number in range(10_000):
        log.info("bad_frame", number=number)
        library.error("broken %d", number)
        try:
            raise ValueError(number)
        except ValueError:
            log.exception("failed")
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    assert len(lines) == 2 * BURST + BURST // TRACEBACK_COST
    now = 10.0
    log.info("bad_frame")
    assert json.loads(stderr.getvalue().splitlines()[-1])["suppressed"] == 10_000 - BURST


@pytest.mark.threat("T21")
def test_secrets_are_masked_where_no_name_gives_them_away(logging_to: LogTo):
    stderr = logging_to("json")
    secret = token("alice", now_ms=SystemClock().now_ms())
    try:
        raise ValueError(f"refused {secret} at rediss://gateway:pass/w@host:1/0")
    except ValueError as error:
        get_logger("x").exception("failed", error=str(error), cause=error, key="svc:{sessions:3}:the-pid_1")
    written = stderr.getvalue()
    for canary in (secret, secret.split(".")[2], "pass/w", "the-pid"):
        assert canary not in written
    assert "[token] at rediss://[login]@host:1/0" in written


def outputs(cluster: Cluster) -> str:
    return "".join(
        file.read_text(encoding="utf-8", errors="replace")
        for service in cluster.services
        for file in (service.log, service.out)
    )


@pytest.mark.threat("T32")
async def test_ten_thousand_bad_frames_tokens_and_packets_make_a_bounded_number_of_lines(cluster: Cluster):
    limits = {"MAX_ACCEPTS_PER_SECOND": "0", "RATE_LIMIT_DEFAULT": "100000", "RATE_LIMIT_BURST": "100000"}
    gateway = await cluster.start("gateway", **limits)
    before = len(gateway.log.read_bytes().splitlines())
    packets = (
        "4",
        "42",
        "42[",
        '42["x"',
        "9",
        "4" + "9" * 1000,
        "45-",
        "451-[1]",
        "b!",
        "\x00",
        '40{"token":"\n"}',
        "3",
    )

    async def attack(rounds: int) -> None:
        for number in range(rounds):
            async with await connect(gateway.port) as client:
                client.text(packets[number % len(packets)])
                client.send(3, b"bad opcode")
                await client.ended()

    await asyncio.gather(*(attack(50) for _ in range(10)))
    for _ in range(100):
        async with joined(gateway.port) as client:
            for number in range(100):
                client.emit("authenticate", f"no token {number}")
                client.emit(f"nonsense {number}\n", {"x": "\x1b[0m"})
            with suppress(ConnectionError):  # whoever says so much may be put out
                await client.client.writer.drain()
    lines = gateway.log.read_bytes().splitlines()[before:]
    assert len(lines) < BURST + 150
    assert all(json.loads(line) for line in lines)
    assert b"Traceback" not in gateway.log.read_bytes()


async def leave_canaries_everywhere(gateway: Service, secret: str) -> tuple[str, str, str]:
    """A token in every way that a client can send one; its ids: pid, Socket.IO id, Engine.IO id."""
    port = gateway.port
    tampered = secret[:-4] + "AAAA"
    async with await connect(port) as wire:
        client = WireSocket(wire)
        client.join({"token": secret})
        opened = json.loads((await client.next_text("40"))[2:])
        cursor = (await client.next("hello"))[1]
        await client.call("authenticate", secret)
        await client.call("authenticate", tampered)
        await client.call(secret, secret)
        await client.call("subscribe:price", [secret, secret[:32]])
        client.emit("authenticate", secret)
        wire.text(f'42["authenticate",{{"token":"{secret}"')
        await wire.ended()
    for auth in ({"token": tampered}, {"token": secret, "pid": opened["pid"], "offset": cursor}, {"token": [secret]}):
        async with await connect(port) as wire:
            client = WireSocket(wire)
            client.join(auth)
            await wire.receive()
            wire.text(f"4{secret}")
            wire.send(3, secret.encode())
            await wire.ended()
    for target in (f"{PATH}&token={secret}", f"/{secret}", f"{PATH}&sid={secret}", f"{PATH}&sid={opened['pid']}"):
        await ask(port, upgrade_head(target, {"Authorization": f"Bearer {secret}", "Cookie": f"t={secret}"}))
        await ask(port, upgrade_head(target.replace("websocket", "polling"), {"Upgrade": None, "Connection": "close"}))
    polled = await ask(
        port, b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    sid = json.loads(polled.body[1:])["sid"]
    for body in (f'40{{"token":"{secret}"}}', f"4{secret}", secret, f'42["{secret}"]'):
        head = f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        await ask(port, f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return opened["pid"], opened["sid"], sid


async def everything_in(bus: RedisBus) -> dict[bytes, bytes]:
    """Every key, and its value serialised by the server."""
    client = bus._client
    return {key: await dump(bus, key) async for key in client.scan_iter(count=1000)}


async def dump(bus: RedisBus, key: bytes) -> bytes:
    """A value as bytes that can be searched: DUMP compresses."""
    client = bus._client
    match await client.type(key):
        case b"string":
            return repr(await client.get(key)).encode()
        case b"hash":
            return repr(await client.hgetall(key)).encode()
        case b"stream":
            return repr(await client.xrange(key)).encode()
        case b"zset":
            return repr(await client.zrange(key, 0, -1)).encode()
        case b"set":
            return repr(await client.smembers(key)).encode()
        case kind:
            raise AssertionError(kind)


@pytest.mark.threat("T21")
async def test_a_token_is_nowhere_and_ids_are_in_no_log(cluster: Cluster, bus: RedisBus):
    await cluster.start("price-ingest", "trade-notifier", "metrics", LOG_LEVEL="debug")
    gateway = await cluster.start("gateway", LOG_LEVEL="debug")
    secret = token("alice", role="admin", now_ms=SystemClock().now_ms())
    pid, sid, transport_sid = await leave_canaries_everywhere(gateway, secret)
    sessions = await eventually(
        lambda: everything_in(bus), "a session", lambda all_: any(b"sessions" in k for k in all_)
    )
    parts = [secret, *secret.split(".")[1:]]
    for key, value in sessions.items():
        for canary in (*parts, transport_sid):
            assert canary.encode() not in key + value, key
        # The session's key is named by the pid, by design: who may read it may come back as that client.
        assert pid.encode() not in value
        assert pid.encode() not in key or key.startswith(b"svc:{sessions:")
    told = [(await service.ask(path))[1] for service in cluster.services for path in ("/metrics", "/readyz", "/livez")]
    for text in (*told, outputs(cluster)):
        for canary in (*parts, pid, sid, transport_sid):
            assert canary not in text
