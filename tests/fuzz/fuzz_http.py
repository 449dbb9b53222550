"""Fuzz the client port: whatever clients send, in whatever pieces, they get documented answers and leave nothing.

    python -m tests.fuzz.fuzz_http --seconds 300 [--seed N]

Each input is a short play: some TCP connections to a server without sockets, requests and frames made by a grammar and
then often damaged, cut anywhere, mixed with clients that leave, endings of our own, and time. The oracle: every byte
that comes back is a whole HTTP answer with a documented status or a WebSocket frame, nothing raises, every connection
ends once, and when all clients are gone the server is as it was. A play is told by its seed, so a finding repeats.
"""

import argparse
import asyncio
import gc
import random
import sys
import time
import tracemalloc
from dataclasses import dataclass
from typing import Final

from shared.log import configure_logging
from shared.names import close_reasons
from tests.fuzz.fuzzer import Finding
from tests.support.fakes_http import UPGRADE, FakePort, FakeSocket, masked, read_answers

STATUSES: Final = {100, 101, 200, 204, 400, 403, 404, 408, 413, 414, 415, 426, 431, 503}
FIRST_BYTES: Final = {0x81, 0x82, 0x88, 0x8A, 0xC1, 0xC2}
MAX_GROWTH: Final = 512 * 1024
"""Bytes by which memory may differ between the first rounds and the last ones."""

PACKETS: Final = (
    b"4hello",
    b"3",
    b"2",
    b"1",
    b"0{}",
    b"5",
    b"6",
    b"2probe",
    b"bAP8=",
    b"b!",
    b"",
    b"9",
    b"\xff",
    b"4\xc3\xa9",
)
FRAMES: Final = (b"2probe", b"2probe", b"5", b"4hi", b"bAP8=", b"1", b"2", b"", b"\xff", b"x" * 300)
HEADERS: Final = (
    *("Connection: close", "Connection: keep-alive", "Expect: 100-continue", "Accept-Encoding: gzip", "Host: b"),
    *("Origin: https://good.example", "Origin: https://bad.example", "Content-Type: application/octet-stream"),
    *(
        "Content-Encoding: gzip",
        "Transfer-Encoding: chunked",
        "Content-Length: 7",
        "Content-Length: -1",
        "X: " + "y" * 9_000,
    ),
    *(
        "Upgrade: h2c",
        "Connection: Upgrade",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Access-Control-Request-Headers: x",
    ),
)
TOKENS: Final = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b" ", b":", b"\x00", b"\xff", b"\x1e", b"0\r\n\r\n", b"HTTP/1.0"),
    *(b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"?", b"&sid=", b"%00", b"ffffffffffffffff\r\n"),
)


class Play:
    """One input: what its clients do, made up from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        origins = self.random.choice(({"*"}, {"https://good.example"}, set[str]()))
        self.port = FakePort(
            max_payload=self.random.choice((64, 1_000)),
            deflate=self.random.random() < 0.5,
            allowed_origins=frozenset(origins),
            max_connections=self.random.choice((0, 0, 2)),
            cookie=self.random.choice(("", "io")),
        )
        self.sockets: list[FakeSocket] = []
        self.sent: list[bytes] = []

    def run(self) -> None:
        """Play it, let all clients go and time pass, and look at what is left."""
        for _ in range(self.random.randrange(4, 30)):
            self._step()
        for socket in self.sockets:
            if self.random.random() < 0.7:
                socket.leave()
        check_rest(self.port, self.sockets)

    def _step(self) -> None:
        rng = self.random
        socket = rng.choice(self.sockets) if self.sockets and rng.random() < 0.5 else self._connect()
        match rng.randrange(12):
            case 0:
                socket.leave()
            case 1:
                self.port.loop.advance(rng.choice((0.1, 3, 11, 26, 31)))
            case 2 if self.port.applications:
                rng.choice(self.port.applications).connection.end(rng.choice(close_reasons.ALL))
            case 3 if self.port.applications:
                rng.choice(self.port.applications).echo(rng.choice(("x", b"\x00", "y" * 5_000)))
            case 4 if isinstance(socket.protocol, asyncio.Protocol):
                socket.protocol.pause_writing()
                socket.protocol.resume_writing()
            case 5 | 6:
                self._send(
                    socket, b"".join(masked(rng.choice((1, 1, 1, 2, 0, 8, 9)), rng.choice(FRAMES)) for _ in range(3))
                )
            case _:
                self._send(socket, self._request())

    def _connect(self) -> FakeSocket:
        self.sockets.append(self.port.connect())
        return self.sockets[-1]

    def _send(self, socket: FakeSocket, data: bytes) -> None:
        """Hand data over in pieces, damaged in one case out of three."""
        if self.random.random() < 0.33:
            data = self._damaged(data)
        self.sent.append(data)
        while data:
            size = self.random.choice((len(data), len(data), self.random.randrange(1, len(data) + 1), 1))
            socket.feed(data[:size])
            data = data[size:]

    def _damaged(self, data: bytes) -> bytes:
        rng, damaged = self.random, bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(damaged) + 1)
            match rng.randrange(4):
                case 0:
                    damaged[at:at] = rng.choice(TOKENS)
                case 1:
                    del damaged[at : at + rng.randrange(1, 20)]
                case 2:
                    damaged[at : at + 1] = bytes([rng.randrange(256)])
                case _:
                    damaged[at:at] = damaged[at : at + rng.randrange(1, 60)] * rng.randrange(1, 4)
        return bytes(damaged)

    def _request(self) -> bytes:
        rng = self.random
        lines = ["Host: a", *rng.sample(HEADERS, rng.choice((0, 0, 0, 1, 2)))]
        query = ["EIO=4" if rng.random() < 0.95 else "EIO=3"]
        upgrade = rng.random() < 0.25
        query.append(f"transport={'websocket' if upgrade else 'polling'}")
        lines += UPGRADE if upgrade else ()
        if self.port.applications and rng.random() < 0.8:
            query.append(f"sid={rng.choice(self.port.applications).connection.sid}")
        query += rng.sample(("b64=1", "t=abc", "sid=nobody", "token=x"), rng.choice((0, 0, 0, 1)))
        body = b""
        method = (
            "GET"
            if upgrade or len(query) < 3
            else rng.choice(("GET", "POST", "POST", "POST", "OPTIONS", "PUT", "HEAD"))
        )
        if method in ("POST", "PUT"):
            body = b"\x1e".join(rng.choice(PACKETS[:5] * 3 + PACKETS) for _ in range(rng.choice((1, 1, 2, 5, 200))))
            lines, body = self._framed(lines, body)
        head = [
            f"{method} /engine.io/?{'&'.join(query)} HTTP/{rng.choice(('1.1', '1.1', '1.1', '1.0'))}",
            *lines,
            "",
            "",
        ]
        return "\r\n".join(head).encode() + body

    def _framed(self, lines: list[str], body: bytes) -> tuple[list[str], bytes]:
        if self.random.random() < 0.7:
            wrong = self.random.choice((0, 0, 0, 0, 1, -1, 10**6))
            return [*lines, f"Content-Length: {max(0, len(body) + wrong)}"], body
        cut = self.random.randrange(len(body) + 1)
        chunks = [b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in (body[:cut], body[cut:]) if piece]
        return [*lines, "Transfer-Encoding: chunked"], b"".join(chunks) + b"0\r\n" + self.random.choice(
            (b"", b"X: y\r\n")
        ) + b"\r\n"


def check_rest(port: FakePort, sockets: list[FakeSocket]) -> None:
    """Let time pass and all clients go: what they got was whole, everything has ended once, and nothing is left."""
    for _ in range(12):
        port.loop.advance(30)
    for socket in sockets:
        check_written(socket.written)
        socket.leave()
    if not port.is_at_rest():
        raise Finding("something is left of a client that is gone")
    if any(len(application.closings) != 1 for application in port.applications):
        raise Finding("an application was not told of its end exactly once")
    if len(port.ended) != port.server.accepted:
        raise Finding("not every connection that was opened has ended")


def check_written(data: bytes) -> None:
    """Check that what a client got is whole and documented."""
    try:
        answers = read_answers(data)
    except (AssertionError, ValueError) as error:
        raise Finding(f"not whole answers: {data[:300]!r}") from error
    for answer in answers:
        if answer.status not in STATUSES:
            raise Finding(f"an undocumented answer: {answer}")
    if answers and answers[-1].status == 101:
        check_frames(data[data.index(b" 101 ") :].partition(b"\r\n\r\n")[2])


def check_frames(data: bytes) -> None:
    """Check that WebSocket frames are whole, unmasked, and of a kind that servers send; compressed ones included."""
    while data:
        length, start = data[1], 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start])
        if data[0] not in FIRST_BYTES or len(data) < start + length:
            raise Finding(f"not a frame: {data[:50]!r}")
        data = data[start + length :]


@dataclass(frozen=True)
class Summary:
    """How a run went."""

    plays: int
    growth: int
    failure: str | None = None


def attempt(seed: int) -> str | None:
    """Play one seed; return what is wrong with it, if anything."""
    play = Play(seed)
    try:
        play.run()
    except Exception as error:  # noqa: BLE001  # any exception is exactly what is looked for
        return f"seed {seed}: {type(error).__name__} {error} after {play.sent[-3:]!r}"
    return None


async def run(seconds: float, seed: int) -> Summary:
    """Play for a while; stop at the first finding. Memory is compared after a warm-up of a fifth."""
    start = told = time.monotonic()
    plays, base = 0, 0
    tracemalloc.start()
    try:
        while (now := time.monotonic()) < start + seconds:
            failure = attempt(seed + plays)
            plays += 1
            if failure is not None:
                return Summary(plays, 0, failure)
            await asyncio.sleep(0)
            if not base and now > start + seconds / 5:
                gc.collect()
                base = tracemalloc.get_traced_memory()[0]
            if now > told + 30:
                told = now
                say(f"http: {plays} plays, {tracemalloc.get_traced_memory()[0] >> 10} KiB")
        gc.collect()
        growth = tracemalloc.get_traced_memory()[0] - base if base else 0
    finally:
        tracemalloc.stop()
    return Summary(plays, growth, f"memory grew by {growth} bytes" if growth > MAX_GROWTH else None)


def say(line: str) -> None:
    """Tell how it goes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Fuzz the client port.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    summary = asyncio.run(run(options.seconds, options.seed))
    say(f"http: {summary.plays} plays, memory {summary.growth:+d} bytes, {summary.failure or 'nothing found'}")
    return summary.failure is not None


if __name__ == "__main__":
    configure_logging("warning", "console")
    sys.exit(main())
