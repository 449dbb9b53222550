"""Attacks with well-formed frames: packets, payloads, tokens and ids that are made to cost or to get something."""

import asyncio
import base64
import json
import re
from typing import ClassVar, Final

import msgpack

from shared.names.events import ClientEvent
from tests.soak.kinds import Ground, Kind
from tests.soak.line import Line, word

_DEEP: Final = 7_000
_LONG_ID: Final = "9" * 300
_CURSOR: Final = re.compile(r'\},"([^"]+)"\]')
"""What ends the greeting: a client's place in the logs."""

_UNSIGNED: Final = b'{"alg":"none"}'
_SIGNED: Final = (b'{"alg":"HS256"}', b'{"alg":"RS256"}', b'{"alg":"HS256","crit":["x"]}')


class Nested(Kind):
    """JSON and msgpack as deep as a message is long."""

    name = "nested"
    threat = "T13 T14"

    async def attack(self, line: Line, ground: Ground) -> None:
        if ground.chance.random() < 0.5:
            await line.join()
            opening = ground.chance.choice(("[", '{"a":'))
            await line.text('42["subscribe:price",' + opening * (_DEEP // len(opening)))
            await line.text('42["subscribe:price",' + "[" * _DEEP + "]" * _DEEP + "]")
        else:
            await line.upgrade()
            await line.binary(b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data" + b"\x91" * _DEEP + b"\x01")
        await line.read_on()


class LyingMsgpack(Kind):
    """Headers that promise four billion elements or bytes, and nothing behind them."""

    name = "lying-msgpack"
    threat = "T13"

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.upgrade()
        lie = ground.chance.choice((b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")) + b"\xff\xff\xff\xff"
        if ground.chance.random() < 0.5:
            await line.binary(_packed(0))
            await line.read_until(b"sid")
        await line.binary(b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data" + lie + b"\x00" * 64)
        await line.read_on()


class MissingAttachments(Kind):
    """Binary events whose attachments never come, are too many, or come without having been announced."""

    name = "missing-attachments"
    threat = "T2 T3"

    heads: ClassVar = (
        '51-["subscribe:price",{"_placeholder":true,"num":0}]',
        '510-["subscribe:price",{"_placeholder":true,"num":0}]',
        '5999999999-["subscribe:price"]',
        '50-["subscribe:price"]',
        '51-["subscribe:price",{"_placeholder":true,"num":"splice"}]',
    )

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.join()
        await line.text(ground.chance.choice(self.heads))
        match ground.chance.randrange(3):
            case 0:
                await line.binary(b"x" * 15_000)
            case 1:
                await line.text('42["subscribe:price","BTC-USDT"]')
            case _:
                pass
        await line.read_on()


class NamespaceFlood(Kind):
    """CONNECT to one unknown namespace after the other, below the frame guard."""

    name = "namespace-flood"
    threat = "T27"

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.upgrade()
        pause = ground.pace()
        while True:
            await line.text(f"40/{word(ground.chance)},")
            await asyncio.sleep(pause)


class RoomFlood(Kind):
    """Subscribes to distinct symbols for as long as it lives, good names and bad ones; charts and trades too."""

    name = "room-flood"
    threat = "T25 T26"
    life_s = 30.0

    bad: ClassVar = ("", "*", "user:1", "x" * 5_000, "a\r\nSUBSCRIBE b", "{md}", "price:*", 7, None, {"$ne": 1}, ["a"])
    events: ClassVar = (
        ClientEvent.SUBSCRIBE_PRICE,
        ClientEvent.SUBSCRIBE_TRADES,
        ClientEvent.SUBSCRIBE_CHART,
        ClientEvent.SUBSCRIBE_METRICS,
        ClientEvent.RESYNC_PRICE,
        ClientEvent.UNSUBSCRIBE_PRICE,
    )

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.join()
        chance, pause = ground.chance, ground.pace()
        for number in range(100_000):
            event = chance.choice(self.events)
            if event is ClientEvent.SUBSCRIBE_CHART:
                arguments: list[object] = [word(chance), chance.choice(("1s", "1m", "7y", word(chance)))]
            elif chance.random() < 0.2:
                arguments = [chance.choice(self.bad)]
            else:
                arguments = [[word(chance) for _ in range(chance.choice((1, 50, 400)))]]
            await line.text(f"42{number}{json.dumps([event, *arguments])}")
            await asyncio.sleep(pause)


class AckFlood(Kind):
    """Answers to what nobody asked, and questions with ids that no counter reaches."""

    name = "ack-flood"
    threat = "T28"

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.join()
        forged = (
            lambda: f"43{ground.chance.randrange(1 << 40)}[true]",
            lambda: f'42{ground.chance.randrange(1 << 62)}["subscribe:price","A"]',
            lambda: f'42{_LONG_ID}["subscribe:price","A"]',
            lambda: f"461-{ground.chance.randrange(100)}[]",
        )
        weights, pause = (80, 80, 1, 1), ground.pace()
        while True:
            await line.text(ground.chance.choices(forged, weights)[0]())
            await asyncio.sleep(pause)


class EventFlood(Kind):
    """Tiny events at the edge of the frame guard or far beyond it; names that are no events, and reserved ones."""

    name = "event-flood"
    threat = "T6 T12 T33"
    attackers = 8

    reserved: ClassVar = ("connect", "disconnect", "disconnecting", "newListener", "connect_error", "__proto__")

    async def attack(self, line: Line, ground: Ground) -> None:
        await line.join()
        chance = ground.chance
        if chance.random() < 0.3:
            await line.text("42" + json.dumps([ClientEvent.RESYNC_PRICE, "A"]), 1_000)
            await line.read_on()
        pause = ground.pace()
        while True:
            name = chance.choice((word(chance), ClientEvent.RESYNC_PRICE, ClientEvent.AUTHENTICATE, word(chance, 2000)))
            await line.text("42" + json.dumps([name, "A"]))
            await asyncio.sleep(pause)
            if chance.random() < 0.01:
                await line.text(f'42["{chance.choice(self.reserved)}"]')


class TokenGuess(Kind):
    """Tokens that are no tokens: unsigned, signed with a guess, huge, in CONNECT and in `authenticate`."""

    name = "token-guess"
    threat = "T15 T16 T17 T18"
    attackers = 6
    pause_s = 1.0

    async def attack(self, line: Line, ground: Ground) -> None:
        token = json.dumps(self._token(ground))
        if ground.chance.random() < 0.7:
            await line.upgrade()
            await line.text(f'40{{"token":{token}}}')
            await line.read_until(b"44")
            return
        await line.join()
        for number in range(200):
            await line.text(f'42{number}["{ClientEvent.AUTHENTICATE}",{token}]')
            await line.read_until(b"43")
            await asyncio.sleep(0.1)

    def _token(self, ground: Ground) -> object:
        chance = ground.chance
        claims = _b64(json.dumps({"sub": "admin", "role": "admin", "exp": 4_000_000_000, "iat": 1}).encode())
        match chance.randrange(5):
            case 0:
                return f"{_b64(_UNSIGNED)}.{claims}."
            case 1:
                header = chance.choice(_SIGNED)
                return f"{_b64(header)}.{claims}.{_b64(chance.randbytes(32))}"
            case 2:
                return "x" * 14_000
            case 3:
                return _b64(b"[" * 1_500) + "." + _b64(b'{"a":' * 300) + ".AAAA"
            case _:
                return {"token": [word(chance)] * 20}


class RecoveryGuess(Kind):
    """Comes back as somebody else: with a `pid` out of thin air, and a place in the logs that may be a real one."""

    name = "recovery-guess"
    threat = "T5"
    attackers = 6
    pause_s = 1.0

    def __init__(self) -> None:
        self._cursor = ""

    async def attack(self, line: Line, ground: Ground) -> None:
        chance = ground.chance
        await line.upgrade()
        if not self._cursor:
            await line.text("40")
            greeted = await line.read_until(b'"hello"') + await line.read()
            self._cursor = "".join(_CURSOR.findall(greeted.decode(errors="replace"))[:1])
        invented = ("0-0", "x" * 8_000, "../../etc", "\u2028\n", word(chance, 20))
        offset = self._cursor if chance.random() < 0.7 else chance.choice(invented)
        pid = chance.choice((word(chance, 20), word(chance, 20), "x" * 8_000, "__proto__", "*", "{md}"))
        await line.text("40" + json.dumps({"pid": pid, "offset": offset}))
        await line.read_until(b"4")
        await asyncio.sleep(1.0)


def _packed(kind: int) -> bytes:
    packed: bytes = msgpack.packb({"type": kind, "nsp": "/"})
    return packed


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


KINDS: Final = (
    Nested,
    LyingMsgpack,
    MissingAttachments,
    NamespaceFlood,
    RoomFlood,
    AckFlood,
    EventFlood,
    TokenGuess,
    RecoveryGuess,
)
