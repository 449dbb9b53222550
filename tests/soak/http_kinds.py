"""Attacks before there is a client: connections, request heads and bodies, long-polling, upgrades."""

from typing import ClassVar, Final

from tests.soak.kinds import Ground, Kind
from tests.soak.line import Line, head, post, word

_DRIP_S: Final = 0.4
_BODY: Final = b'42["subscribe:price","A"]'


class Slowloris(Kind):
    """Request heads that come byte by byte, and connections that never say anything at all."""

    name = "slowloris"
    threat = "T7"
    attackers = 100
    life_s = 15.0

    async def attack(self, line: Line, ground: Ground) -> None:
        if ground.chance.random() < 0.3:
            await line.read_on()
        await line.send(b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: soak\r\n")
        while True:
            await line.drip(f"X-{word(ground.chance)}: 1\r\n".encode(), _DRIP_S)


class SlowBody(Kind):
    """A POST to a long-polling session whose body drips, and is never complete."""

    name = "slow-body"
    threat = "T4 T7"
    attackers = 20
    life_s = 30.0

    async def attack(self, line: Line, ground: Ground) -> None:  # noqa: ARG002 - it always does the same
        sid = await line.poll()
        await line.send(post(sid, 10_000))
        while True:
            await line.drip(b"4" * 100, _DRIP_S)


class ConnectionFlood(Kind):
    """Comes and goes, with a handshake and without one, from one address."""

    name = "connection-flood"
    threat = "T30 T31"
    attackers = 10
    pause_s = 0.4
    addresses = 1

    async def attack(self, line: Line, ground: Ground) -> None:
        match ground.chance.randrange(4):
            case 0:
                await line.send(head("polling"))
            case 1:
                await line.upgrade()
            case 2:
                await line.join()
            case _:
                pass


class Silent(Kind):
    """Becomes a WebSocket and says nothing more: neither CONNECT nor an answer to a ping."""

    name = "silent"
    threat = "T8"
    attackers = 60
    life_s = 60.0

    async def attack(self, line: Line, ground: Ground) -> None:  # noqa: ARG002 - it always does the same
        await line.upgrade()
        await line.read_on()


class PollingTricks(Kind):
    """Two GETs at once, bodies that are binary, huge or cut short, methods and versions that do not exist."""

    name = "polling-tricks"
    threat = "T4 T21"
    attackers = 6
    pause_s = 1.0

    async def attack(self, line: Line, ground: Ground) -> None:
        chance = ground.chance
        trick = chance.randrange(8)
        if trick == 0:
            await line.send(head(chance.choice(("polling&EIO=3", "none", "polling&transport=polling", ""))))
        elif trick == 1:
            await line.send(head(f"polling&sid={word(chance, chance.choice((20, 3_000)))}"))
        elif trick == 2:
            await line.send(head("polling&token=" + word(chance, 200)))
        else:
            await self._with_session(line, ground, trick)
        await line.read_on()

    async def _with_session(self, line: Line, ground: Ground, trick: int) -> None:
        sid = await line.poll()
        if trick == 3:
            await line.send(head(f"polling&sid={sid}") * 2, 2)
        elif trick == 4:
            await line.send(post(sid, 4, "application/octet-stream") + b"4xxx")
        elif trick == 5:
            await line.send(post(sid, 1 << 30) + b"4" * 100_000)
        elif trick == 6:
            await line.send(post(sid, 30_000) + b"\x1e".join([_BODY] * 1_000)[:30_000])
        else:
            await line.send(
                head(f"polling&sid={sid}", method=ground.chance.choice(("PUT", "DELETE", "TRACE", "X" * 99)))
            )


class PollingHoard(Kind):
    """Long-polling sessions that are opened and left alone, or whose GET is parked for good, from one address."""

    name = "polling-hoard"
    threat = "T4 T8"
    attackers = 20
    life_s = 60.0
    addresses = 1

    async def attack(self, line: Line, ground: Ground) -> None:
        sid = await line.poll()
        if ground.chance.random() < 0.5:
            await line.send(head(f"polling&sid={sid}"))
            await line.read_on()


class UpgradeProbe(Kind):
    """Upgrades of a long-polling session that are begun and never finished, several for one session."""

    name = "upgrade-probe"
    threat = "T4"
    attackers = 8
    life_s = 30.0

    async def attack(self, line: Line, ground: Ground) -> None:
        sid = await line.poll()
        probes: list[Line] = []
        try:
            for _ in range(3):
                probe = await ground.line()
                probes.append(probe)
                await probe.send(_probe(sid))
                await probe.read_until(b"\r\n\r\n")
                await probe.text("2probe")
            await probes[0].read_on()
        finally:
            for probe in probes:
                probe.close()


class Garbage(Kind):
    """Other protocols, and none."""

    name = "garbage"
    threat = "T7 T24 T32"
    pause_s = 1.0

    openings: ClassVar = (
        bytes.fromhex("16030100c8010000c40303") + b"\x07" * 190,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 8.8.8.8 8.8.4.4 1 2\r\n" + head("polling"),
        b"\r\n\r\n\x00\x0d\x0a\x51UIT\x0a\x21\x11\x00\x0c" + b"\x08" * 12,
        b"SSH-2.0-soak\r\n",
        b"GET /socket.io/\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00" * 4_000,
        b"GET / HTTP/1.1\r\nHost: soak\r\nX: \x1b[31m\x07\n\r\n\r\n",
    )

    async def attack(self, line: Line, ground: Ground) -> None:
        chance = ground.chance
        await line.send(chance.choice((*self.openings, chance.randbytes(2_000))))
        await line.read_on()


class Pipelining(Kind):
    """A hundred requests in one write, and heads that are too long or smuggle a second request."""

    name = "pipelining"
    threat = "T7 T23"
    pause_s = 2.0

    heads: ClassVar = (
        head("polling") * 100,
        head("polling", "X: " + "y" * 100_000 + "\r\n"),
        head("polling", "".join(f"X-{number}: 1\r\n" for number in range(10_000))),
        head("polling", "Cookie: " + "y" * 200_000),
        head("polling&x=" + "y" * 20_000),
        head("websocket", "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 40\r\n") + head("polling"),
        head("polling", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n" + head("polling"),
    )

    async def attack(self, line: Line, ground: Ground) -> None:
        packet = ground.chance.choice(self.heads)
        await line.send(packet, packet.count(b" HTTP/1.1\r\n"))
        await line.read_on()


def _probe(sid: str) -> bytes:
    more = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    )
    return head(f"websocket&sid={sid}", more)


KINDS: Final = (
    Slowloris,
    SlowBody,
    ConnectionFlood,
    Silent,
    PollingTricks,
    PollingHoard,
    UpgradeProbe,
    Garbage,
    Pipelining,
)
