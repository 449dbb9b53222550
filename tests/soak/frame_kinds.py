"""Attacks on the WebSocket layer: frames that are too many, too long, never finished, or wrong."""

import asyncio
import json
import struct
from typing import ClassVar, Final

from services.launcher.load import wire
from shared.names.events import ClientEvent
from tests.soak.kinds import Ground, Kind
from tests.soak.line import Line
from tests.soak.market import PRICED

_MASK: Final = b"\0\0\0\0"
_PING: Final = wire.frame(wire.PING, b"x" * 100)
_OPEN_TEXT, _CONTINUATION = 0x01, 0x00
_MIB: Final = 1 << 20
_AT_ONCE: Final = 50
"""Symbols that one request may name."""


def _header(opcode: int, length: int) -> bytes:
    """A frame header that promises so many bytes."""
    return bytes((opcode, 0xFF)) + struct.pack("!Q", length) + _MASK


class PingFlood(Kind):
    """Pings without reading one pong; every second one only as many as the frame guard lets pass."""

    name = "ping-flood"
    threat = "T9"
    small = True

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.join()
        burst, pause = (300, 0.05) if ground.chance.random() < 0.5 else (1, ground.pace())
        while True:
            await line.send(_PING * burst, burst)
            await asyncio.sleep(pause)


class FragmentFlood(Kind):
    """A message in empty or one-byte pieces that never ends."""

    name = "fragment-flood"
    threat = "T10"

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.join()
        await line.send(wire.frame(_OPEN_TEXT, b"4"))
        piece = wire.frame(_CONTINUATION, ground.chance.choice((b"", b"2")))
        at_once, pause = ground.chance.choice((1, 60, 1000)), ground.pace()
        while True:
            await line.send(piece * at_once, at_once)
            await asyncio.sleep(pause)


class FragmentStall(Kind):
    """The first piece of a message, and never the rest."""

    name = "fragment-stall"
    threat = "T10"
    attackers = 8
    life_s = 40.0

    async def attack(self, line: Line, ground: Ground) -> None:  # noqa: ARG002 - it always does the same
        await line.join()
        await line.send(wire.frame(_OPEN_TEXT, b'42["subscribe:price","' + b"x" * 4_000))
        await line.read_on()


class HugeMessage(Kind):
    """Messages over the limit: sent, promised, or put together from pieces. Headers of up to a terabyte."""

    name = "huge-message"
    threat = "T2 T12"

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.join()
        match ground.chance.randrange(4):
            case 0:
                await line.text("42" + "x" * _MIB)
            case 1:
                await line.send(_header(wire.TEXT, 1 << 40))
                await line.drip(b"x" * 100, 0.05)
            case 2:
                await line.send(_header(wire.BINARY, (1 << 63) + 1))
            case _:
                await line.send(wire.frame(_OPEN_TEXT, b"x" * 9_000))
                await line.send(wire.frame(_CONTINUATION, b"x" * 9_000))
        await line.read_on()


class BadFrames(Kind):
    """Frames that RFC 6455 forbids: no mask, reserved bits and opcodes, long control frames, text that is none."""

    name = "bad-frames"
    threat = "T11 T32"
    pause_s = 2.0

    frames: ClassVar = (
        b"\x81\x0242",
        b"\xc1\x82" + _MASK + b"42",
        wire.frame(0x83, b"42"),
        wire.frame(0x8B, b""),
        b"\x89\xfe" + struct.pack("!H", 200) + _MASK + b"x" * 200,
        b"\x09\x80" + _MASK,
        wire.frame(wire.TEXT, b"4\xff\xfe\xc0"),
        wire.frame(_CONTINUATION, b"42"),
        wire.frame(wire.CLOSE, b"\x01"),
    )

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.upgrade()
        await line.send(ground.chance.choice(self.frames))
        await line.read_on()


class Stalled(Kind):
    """Subscribes to the whole market, and never reads again."""

    name = "stalled-reader"
    threat = "T29"
    attackers = 10
    life_s = 40.0
    small = True

    async def attack(self, line: Line, ground: Ground) -> None:  # noqa: ARG002 - it always does the same
        await line.join()
        for first in range(0, len(PRICED), _AT_ONCE):
            await line.text("42" + json.dumps([ClientEvent.SUBSCRIBE_PRICE, PRICED[first : first + _AT_ONCE]]))
        while True:
            await line.text("3")  # the heartbeat, unasked: it lives as far as Engine.IO can tell
            await asyncio.sleep(5)


KINDS: Final = (PingFlood, FragmentFlood, FragmentStall, HugeMessage, BadFrames, Stalled)
