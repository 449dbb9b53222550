"""The WebSocket driver, fed with masked frames byte by byte: what it passes on, what it answers, what it ends."""

import asyncio
import zlib
from collections.abc import Callable, Sequence
from math import inf

import pytest

from protocol.engineio.session import SessionSettings, Transport
from protocol.socketio.parser import MessageData
from services.gateway.connection import EngineConnection, Host
from services.gateway.deadlines import Deadlines
from services.gateway.frames import frame_message, frame_messages
from services.gateway.limits import MAX_FRAGMENTS, MESSAGE_TIMEOUT_S, WebSocketLimits
from services.gateway.websocket import CLOSE_TIMEOUT_S, HandshakeRefusedError, WebSocket
from shared.names import close_reasons
from shared.names.close_reasons import CloseReason
from tests.support.manual_loop import ManualLoop
from tests.support.waiting import eventually

LIMITS = WebSocketLimits(max_message=16_384, frame_rate=50, frame_burst=200, write_timeout=10.0)
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
MASK = b"\x11\x22\x33\x44"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # for that key, by RFC 6455 section 1.3
HANDSHAKE = (
    ("host", "a"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", KEY),
    ("sec-websocket-version", "13"),
)


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, compressed: bool = False) -> bytes:
    """A client's frame (RFC 6455 section 5.2)."""
    length = len(payload)
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 65_536:
        size = b"\xfe" + length.to_bytes(2)
    else:
        size = b"\xff" + length.to_bytes(8)
    body = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))
    return bytes([(0x80 if fin else 0) | (0x40 if compressed else 0) | opcode]) + size + MASK + body


class FakeTransport(asyncio.Transport):
    """A socket that keeps what is written; `buffered` bytes of it are not drained."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.buffered = 0
        self.high_water: int | None = None
        self.aborts = 0
        self.closed = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert low is None
        self.high_water = high

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.closed
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.buffered  # uvloop's transports keep it after an abort

    def abort(self) -> None:
        self.aborts += 1
        assert self.aborts < 10, "asked again and again"
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Application:
    """Notes messages and endings."""

    def __init__(self) -> None:
        self.messages: list[MessageData] = []
        self.closings: list[CloseReason] = []
        self.drains = 0
        self.on_message: Callable[[], None] = lambda: None

    def receive(self, data: MessageData, _now: float) -> None:
        self.messages.append(data)
        self.on_message()

    def drained(self) -> None:
        self.drains += 1

    def closed(self, reason: CloseReason) -> None:
        self.closings.append(reason)

    def next_deadline(self) -> float:
        return inf

    def handle_deadline(self, now: float) -> None:
        pass


class Setup:
    def __init__(
        self, limits: WebSocketLimits = LIMITS, *, extensions: Sequence[str] | None = None, text_only: bool = False
    ) -> None:
        self.loop = ManualLoop()
        self.loop.now = asyncio.get_running_loop().time()
        self.transport = FakeTransport()
        self.sockets: set[WebSocket] = set()
        self.socket = WebSocket(limits, self.transport, self.loop.now, self.sockets, text_only=text_only)
        if extensions is not None:
            self.socket.accept("/", [*HANDSHAKE, *(("sec-websocket-extensions", offer) for offer in extensions)])
        self.handshake = self.written()
        settings = SessionSettings(ping_interval=10**9, upgrades=False)
        host = Host(self.loop.as_loop, Deadlines(self.loop.as_loop), settings, lambda _connection, _reason: None)
        self.application = Application()
        self.connection = EngineConnection(host, self.socket, "sid", Transport.WEBSOCKET)
        self.socket.serve(self.connection)
        self.connection.open(self.application)
        self.transport.written.clear()

    def receive(self, *frames: bytes) -> None:
        self.socket.data_received(b"".join(frames))

    async def all_taken(self) -> None:
        """It takes a turn of the event loop for some frames, and does not read meanwhile."""
        await eventually(lambda: self.transport.reading or self.transport.closed, "all frames are taken")

    def written(self) -> bytes:
        written, self.transport.written = b"".join(self.transport.written), []
        return written

    def lose(self) -> None:
        self.socket.connection_lost(None)


@pytest.fixture(name="setup")
async def one_socket() -> Setup:
    return Setup()


# --- the handshake


async def test_a_handshake_is_answered_as_the_standard_says(setup: Setup) -> None:
    setup.socket.accept("/socket.io/", HANDSHAKE)
    answer = setup.written().decode()
    assert answer.startswith("HTTP/1.1 101 ")
    assert f"Sec-WebSocket-Accept: {ACCEPT}\r\n" in answer
    assert "Sec-WebSocket-Extensions" not in answer


@pytest.mark.parametrize("missing", ["upgrade", "connection", "sec-websocket-key", "sec-websocket-version"])
async def test_a_handshake_that_lacks_something_is_refused(setup: Setup, missing: str) -> None:
    headers = [(name, value) for name, value in HANDSHAKE if name != missing]
    with pytest.raises(HandshakeRefusedError) as refused:
        setup.socket.accept("/socket.io/", headers)
    assert refused.value.response.startswith(b"HTTP/1.1 4")


# --- messages


@pytest.mark.parametrize("length", [0, 124, 125, 126, 16_383])
async def test_messages_of_every_size_arrive_whole(setup: Setup, length: int) -> None:
    setup.receive(masked(TEXT, b"4" + b"x" * length), masked(BINARY, b"y" * length))
    assert setup.application.messages == ["x" * length, b"y" * length]


async def test_frames_may_be_split_at_every_byte(setup: Setup) -> None:
    for byte in masked(TEXT, "4é".encode()) + masked(BINARY, b"\x01"):
        setup.socket.data_received(bytes([byte]))
    assert setup.application.messages == ["é", b"\x01"]


async def test_fragments_are_joined_and_control_frames_may_come_between(setup: Setup) -> None:
    snowman = "4☃".encode()
    setup.receive(masked(TEXT, snowman[:2], fin=False), masked(PING, b"hi"), masked(CONTINUATION, snowman[2:]))
    assert setup.application.messages == ["☃"]
    assert setup.written() == b"\x8a\x02hi"


async def test_a_pong_nobody_asked_for_is_ignored(setup: Setup) -> None:
    setup.receive(masked(PONG, b"x"))
    assert (setup.written(), setup.application.closings) == (b"", [])


# --- what ends it


ENDINGS: list[tuple[str, list[bytes], CloseReason]] = [
    ("not UTF-8", [masked(TEXT, b"4\xff")], close_reasons.INVALID_TEXT),
    ("no mask", [b"\x81\x014"], close_reasons.WEBSOCKET_ERROR),
    ("reserved bit", [b"\xc1" + masked(TEXT, b"4")[1:]], close_reasons.WEBSOCKET_ERROR),
    ("unknown opcode", [masked(0x3)], close_reasons.WEBSOCKET_ERROR),
    ("long control frame", [masked(PING, b"x" * 126)], close_reasons.WEBSOCKET_ERROR),
    ("fragmented control frame", [masked(PING, b"", fin=False)], close_reasons.WEBSOCKET_ERROR),
    ("continuation of nothing", [masked(CONTINUATION)], close_reasons.WEBSOCKET_ERROR),
    ("message inside a message", [masked(TEXT, b"4", fin=False), masked(TEXT, b"4")], close_reasons.WEBSOCKET_ERROR),
    ("too big", [masked(BINARY, b"x" * 16_385)], close_reasons.MESSAGE_TOO_BIG),
    (
        "too big in fragments",
        [masked(BINARY, b"x" * 10_000, fin=False), masked(CONTINUATION, b"x" * 10_000)],
        close_reasons.MESSAGE_TOO_BIG,
    ),
    ("huge length announced", [b"\x82\xff" + b"\x7f" + b"\xff" * 7 + MASK], close_reasons.MESSAGE_TOO_BIG),
    (
        "too many fragments",
        [masked(BINARY, b"x", fin=False), *[masked(CONTINUATION, b"x", fin=False)] * MAX_FRAGMENTS],
        close_reasons.MESSAGE_TOO_BIG,
    ),
    ("flood", [masked(PONG)] * 250, close_reasons.FRAME_FLOOD),
    ("goodbye", [masked(CLOSE, b"\x03\xe8")], close_reasons.CLIENT_LEFT),
    ("bad goodbye", [masked(CLOSE, b"\x00")], close_reasons.WEBSOCKET_ERROR),
]


@pytest.mark.parametrize(("_what", "frames", "reason"), ENDINGS, ids=[name for name, *_ in ENDINGS])
async def test_what_the_standard_or_a_bound_forbids_ends_it_once(
    setup: Setup, _what: str, frames: list[bytes], reason: CloseReason
) -> None:
    for _ in range(2):
        setup.receive(*frames)
        await setup.all_taken()
        setup.transport.reading = True
    setup.lose()
    assert setup.application.closings == [reason]
    assert setup.sockets == set()


async def test_many_frames_take_turns_with_other_clients_and_nothing_is_read_meanwhile(setup: Setup) -> None:
    others = Setup()
    messages = [f"{number}" for number in range(150)]
    setup.receive(*(masked(TEXT, f"4{message}".encode()) for message in messages))
    others.receive(masked(TEXT, b"4here"))
    assert others.application.messages == ["here"]
    assert 0 < len(setup.application.messages) < 50
    assert not setup.transport.reading
    await setup.all_taken()
    assert setup.application.messages == messages


async def test_what_waits_for_its_turn_when_the_socket_goes_is_dropped(setup: Setup) -> None:
    setup.receive(*[masked(TEXT, b"4x")] * 150)
    taken = len(setup.application.messages)
    setup.transport.closed = True
    setup.lose()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(setup.application.messages) == taken


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([masked(TEXT, b"4\xff")], 1007),
        ([masked(0x3)], 1002),
        ([masked(BINARY, b"x" * 16_385)], 1009),
        ([masked(CLOSE, b"\x03\xe8")], 1000),
    ],
)
async def test_the_goodbye_has_the_reason_s_code(setup: Setup, frames: list[bytes], code: int) -> None:
    setup.receive(*frames)
    written = setup.written()
    assert written[0] == 0x80 | CLOSE
    assert int.from_bytes(written[2:4]) == code


async def test_an_engine_io_ending_has_an_empty_close_frame(setup: Setup) -> None:
    setup.connection.end(close_reasons.PING_TIMEOUT)
    assert setup.written() == b"\x88\x00"


async def test_who_answers_the_goodbye_is_closed_and_who_does_not_is_dropped(setup: Setup) -> None:
    setup.connection.end(close_reasons.SERVER_STOPPING)
    assert not setup.transport.is_closing()
    setup.receive(masked(TEXT, b"4late"), masked(CLOSE, b"\x03\xf4"))
    assert setup.transport.is_closing()
    assert setup.application.messages == []
    silent = Setup()
    silent.connection.end(close_reasons.SERVER_STOPPING)
    silent.loop.advance(CLOSE_TIMEOUT_S - 0.1)
    assert silent.transport.aborts == 0
    silent.loop.advance(0.2)
    assert silent.transport.aborts == 1


async def test_a_message_that_is_never_finished_ends_it(setup: Setup) -> None:
    setup.receive(masked(TEXT, b"4", fin=False))
    setup.connection.rearm()
    setup.loop.advance(MESSAGE_TIMEOUT_S / 2)
    setup.receive(masked(CONTINUATION, b"x", fin=False))
    setup.loop.advance(MESSAGE_TIMEOUT_S / 2 + 0.1)
    assert setup.application.closings == [close_reasons.WEBSOCKET_ERROR]


async def test_a_message_finished_in_time_does_not(setup: Setup) -> None:
    setup.receive(masked(TEXT, b"4", fin=False), masked(CONTINUATION, b"x"))
    setup.loop.advance(MESSAGE_TIMEOUT_S * 2)
    assert setup.application.closings == []


async def test_a_lost_connection_is_told_once(setup: Setup) -> None:
    assert setup.sockets == {setup.socket}
    setup.lose()
    assert setup.application.closings == [close_reasons.PEER_GONE]
    assert setup.sockets == set()
    assert not setup.socket.eof_received()


# --- a socket that does not drain


async def test_a_full_socket_is_not_writable_until_it_drains(setup: Setup) -> None:
    setup.socket.pause_writing()
    while_full = setup.socket.writable
    setup.socket.resume_writing()
    assert (while_full, setup.socket.writable) == (False, True)
    assert setup.application.drains == 1


async def test_a_socket_is_full_as_soon_as_the_kernel_does_not_take_all(setup: Setup) -> None:
    assert setup.transport.high_water == 0


async def test_a_socket_that_was_full_before_it_was_a_websocket_is_not_writable(setup: Setup) -> None:
    setup.transport.buffered = 1
    setup.socket.serve(setup.connection)
    assert not setup.socket.writable


async def test_who_drains_nothing_in_time_is_dropped_without_goodbye(setup: Setup) -> None:
    setup.socket.write(b"x" * 1000)
    setup.transport.buffered = 1000
    setup.socket.pause_writing()
    setup.written()
    setup.loop.advance(LIMITS.write_timeout - 0.1)
    assert setup.application.closings == []
    setup.loop.advance(0.2)
    assert setup.application.closings == [close_reasons.SLOW_CONSUMER]
    assert setup.transport.aborts > 0
    assert setup.written() == b""


async def test_who_drains_a_little_gets_more_time(setup: Setup) -> None:
    setup.socket.write(b"x" * 1000)
    setup.transport.buffered = 1000
    setup.socket.pause_writing()
    for left in (999, 998, 997):
        setup.transport.buffered = left
        setup.loop.advance(LIMITS.write_timeout)
        assert setup.application.closings == []
    setup.loop.advance(LIMITS.write_timeout + 0.1)
    assert setup.application.closings == [close_reasons.SLOW_CONSUMER]


async def test_a_goodbye_that_does_not_drain_holds_nobody_up() -> None:
    setup = Setup(WebSocketLimits(max_message=100, frame_rate=50, frame_burst=200, write_timeout=1.0))
    setup.connection.end(close_reasons.KICKED)
    setup.transport.buffered = 1000
    setup.socket.pause_writing()
    setup.loop.advance(1.1)
    assert setup.transport.aborts > 0


async def test_ending_who_does_not_read_drops_it_at_once(setup: Setup) -> None:
    setup.socket.pause_writing()
    setup.connection.end(close_reasons.SERVER_STOPPING)
    assert setup.transport.aborts == 1
    assert setup.written() == b""


async def test_only_the_newest_ping_of_who_does_not_read_is_answered_and_later(setup: Setup) -> None:
    setup.socket.pause_writing()
    setup.receive(masked(PING, b"one"), masked(PING, b"two"))
    assert setup.written() == b""
    setup.socket.resume_writing()
    assert setup.written() == b"\x8a\x03two"


# --- clients that agreed on another form of frames

DEFLATE = WebSocketLimits(16_384, frame_rate=50, frame_burst=200, write_timeout=10.0, deflate=True)
OFFERS = [
    ["permessage-deflate; client_max_window_bits"],
    ["permessage-deflate"],
    ["permessage-deflate; server_no_context_takeover; client_no_context_takeover"],
    ["x-webkit-deflate-frame", "permessage-deflate; client_max_window_bits; server_max_window_bits=10"],
]


def deflate(data: bytes) -> bytes:
    """A message as RFC 7692 section 7.2.1 compresses it."""
    packer = zlib.compressobj(wbits=-12)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def inflate(data: bytes) -> bytes:
    """The reverse; a decompressor of its own, so that no context may be kept."""
    return zlib.decompressobj(wbits=-15).decompress(data + b"\x00\x00\xff\xff")


def read_compressed(data: bytes) -> list[tuple[int, bytes]]:
    """The messages in a server's frames as (opcode, payload), however each was sent."""
    found = []
    while data:
        length, start = data[1], 2
        if length == 126:
            length, start = int.from_bytes(data[2:4]), 4
        payload, first, data = data[start : start + length], data[0], data[start + length :]
        found.append((first & 0x0F, inflate(payload) if first & 0x40 else payload))
    return found


@pytest.mark.parametrize("offer", OFFERS, ids=range(len(OFFERS)))
async def test_who_agreed_on_compression_gets_every_update_and_so_does_who_did_not(offer: list[str]) -> None:
    packed, plain = Setup(DEFLATE, extensions=offer), Setup(DEFLATE, extensions=[])
    assert b"Sec-WebSocket-Extensions: permessage-deflate" in packed.handshake
    assert b"no_context_takeover" in packed.handshake
    assert b"Sec-WebSocket-Extensions" not in plain.handshake
    shared = [frame_message("x" * 500), frame_messages(["51-[]", b"\x01" * 300]), frame_message("")]
    for frames in shared:
        packed.connection.write(frames)
        plain.connection.write(frames)
    written = packed.written()
    expected = [(TEXT, b"4" + b"x" * 500), (TEXT, b"451-[]"), (BINARY, b"\x01" * 300), (TEXT, b"4")]
    assert read_compressed(written) == expected
    assert len(written) < 100
    assert plain.written() == b"".join(shared)


async def test_nobody_gets_compression_unless_it_is_on() -> None:
    setup = Setup(LIMITS, extensions=OFFERS[0])
    assert b"Sec-WebSocket-Extensions" not in setup.handshake
    setup.receive(masked(TEXT, deflate(b"4x"), compressed=True))
    goodbye = setup.written()
    assert (goodbye[0], int.from_bytes(goodbye[2:4])) == (0x80 | CLOSE, 1002)
    assert setup.application.closings == [close_reasons.WEBSOCKET_ERROR]


async def test_compressed_and_plain_messages_are_taken_from_who_agreed_on_it() -> None:
    setup = Setup(DEFLATE, extensions=OFFERS[0])
    setup.receive(masked(TEXT, deflate("4hé".encode()), compressed=True), masked(TEXT, b"4plain"))
    whole = deflate(b"4" + b"z" * 5_000)
    setup.receive(masked(TEXT, whole[:7], fin=False, compressed=True), masked(CONTINUATION, whole[7:]))
    assert setup.application.messages == ["hé", "plain", "z" * 5_000]


@pytest.mark.parametrize("size", [16_385, 10_000_000])
async def test_a_small_frame_that_would_become_a_large_message_is_too_big(size: int) -> None:
    setup = Setup(DEFLATE, extensions=OFFERS[0])
    bomb = deflate(b"4" + b"x" * size)
    assert len(bomb) < 16_384
    setup.receive(masked(TEXT, bomb, compressed=True))
    assert setup.application.closings == [close_reasons.MESSAGE_TOO_BIG]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b""])
async def test_what_cannot_be_inflated_ends_it_or_is_nothing(data: bytes) -> None:
    setup = Setup(DEFLATE, extensions=OFFERS[0])
    setup.receive(masked(TEXT, data, compressed=True))
    assert len(setup.application.closings) == 1
    assert setup.application.messages == []


async def test_binary_goes_as_text_to_who_takes_only_text() -> None:
    setup = Setup(text_only=True, extensions=[])
    setup.connection.write(frame_messages(["51-[]", b"\x00\xff"]))
    assert setup.written() == b"\x81\x06451-[]" + b"\x81\x05bAP8="
    setup.receive(masked(TEXT, b"bAP8="))
    assert setup.application.messages == [b"\x00\xff"]


async def test_binary_goes_as_compressed_text_to_who_wants_both() -> None:
    setup = Setup(DEFLATE, text_only=True, extensions=OFFERS[0])
    setup.connection.write(frame_message(b"\x00" * 300))
    ((opcode, payload),) = read_compressed(setup.written())
    assert (opcode, payload) == (TEXT, b"b" + b"A" * 400)


@pytest.mark.parametrize("text_only", [True, False])
async def test_an_answer_to_what_came_with_the_goodbye_is_left_unsaid(*, text_only: bool) -> None:
    setup = Setup(DEFLATE, text_only=text_only, extensions=OFFERS[0])
    setup.application.on_message = lambda: setup.connection.write(frame_message("answer"))
    setup.receive(masked(TEXT, b"4ask"), masked(CLOSE, b"\x03\xe8"))
    assert setup.application.messages == ["ask"]
    assert setup.application.closings == [close_reasons.CLIENT_LEFT]
    assert setup.written()[:1] == b"\x88"
    assert setup.transport.is_closing()


async def test_a_pong_is_sent_to_who_agreed_on_compression() -> None:
    setup = Setup(DEFLATE, extensions=OFFERS[0])
    setup.receive(masked(PING, b"hi"))
    assert setup.written() == b"\x8a\x02hi"
