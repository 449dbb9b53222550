"""Two users and an admin: whatever one of them tries, it never sees what is another's.

A real gateway. Alice and an admin hold what is private; Mallory, who has a valid token of her own, runs any sequence of
the moves that the protocol knows, Alice's stolen `pid` and cursor among them. Then something private happens, and after
it has reached its owners not one byte of it may have reached Mallory.
"""

import asyncio
import json
from itertools import count
from typing import Any, Final

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.messages import ClusterMetrics, Trade, encode, encode_json
from shared.names import redis_keys
from tests.support.cluster import Cluster, Service, token
from tests.support.waiting import PATIENCE_S
from tests.support.wire_client import Op, WireClient, connect
from tests.support.wire_socket import WireSocket, joined

NOW_MS: Final = SystemClock().now_ms()
TRADE_SHARDS: Final = 4
RECOVERY_S: Final = 0.1
"""How long somebody waits for what it would be given back."""

_numbers: Final = count(1)

ALICE, MALLORY, ROOT = (
    token("alice", now_ms=NOW_MS),
    token("mallory", now_ms=NOW_MS),
    token("root", role="admin", now_ms=NOW_MS),
)
DEAD: Final = token("alice", now_ms=NOW_MS - 86_400_000)
UNSIGNED: Final = jwt.encode({"sub": "alice", "role": "admin", "exp": NOW_MS // 1000 + 3600}, "", algorithm="none")
FORGED: Final = jwt.encode({"sub": "alice", "role": "admin", "exp": NOW_MS // 1000 + 3600}, "x" * 32)
SPLICED: Final = ".".join([MALLORY.split(".")[0], ALICE.split(".")[1], MALLORY.split(".")[2]])
TOKENS: Final = (MALLORY, DEAD, UNSIGNED, FORGED, SPLICED, None, "", {"sub": "alice"}, ["alice"])

NAMES: Final = (
    "user:alice",
    "admin",
    "user:{alice}",
    "price:user:alice",
    "*",
    "user:*",
    "alice",
    "log:{users:0}",
    "md:metrics",
    "\nuser:alice",
    "BTC-USDT",
)
EVENTS: Final = (
    "subscribe:price",
    "subscribe:trades",
    "subscribe:chart",
    "subscribe:metrics",
    "subscribe:user",
    "join",
    "room",
    "resync:price",
    "unsubscribe:metrics",
    "__proto__",
    "connect",
    "disconnect",
)
NAMESPACES: Final = ("/admin", "/user:alice", "/", "//", "/admin?token=" + FORGED, "/*")

names = st.sampled_from(NAMES)
moves = st.one_of(
    st.tuples(st.just("connect"), st.sampled_from(TOKENS), st.sampled_from(["stolen", "own", "none", "made up"])),
    st.tuples(st.just("authenticate"), st.sampled_from(TOKENS)),
    st.tuples(st.just("auth:refresh"), st.sampled_from(TOKENS)),
    st.tuples(st.just("emit"), st.sampled_from(EVENTS), st.lists(st.one_of(names, st.lists(names)), max_size=3)),
    st.tuples(st.just("namespace"), st.sampled_from(NAMESPACES), st.sampled_from(TOKENS)),
    st.tuples(st.just("reconnect")),
)


class Mallory:
    """A client that keeps every byte that it is sent.

    Args:
        port: of the gateway.
        stolen: Alice's `pid` and cursor.
    """

    def __init__(self, port: int, stolen: tuple[str, str]) -> None:
        self._port = port
        self._stolen = stolen
        self._own: tuple[str, str] | None = None
        self._client: WireClient | None = None
        self.seen = bytearray()

    async def play(self, steps: list[tuple[Any, ...]]) -> None:
        """Make the moves, in order; a connection that the gateway ends is opened anew by the next."""
        for kind, *rest in steps:
            client = await self._connected(joins=kind != "connect")
            match kind:
                case "connect":
                    self._say(f"40{json.dumps(self._auth(*rest))}")
                    await self.listen(RECOVERY_S)
                case "authenticate" | "auth:refresh":
                    self._say("42" + json.dumps([kind, *rest]))
                case "emit":
                    self._say("421" + json.dumps([rest[0], *rest[1]]))
                case "namespace":
                    self._say(f"40{rest[0]},{json.dumps(self._auth(rest[1], 'stolen'))}")
                    self._say(f'42{rest[0]},["subscribe:metrics"]')
                case "reconnect":
                    client.writer.transport.abort()
                    self._client = None
            await self.listen(0.005)

    async def listen(self, seconds: float) -> None:
        """Read what comes within a time."""
        while self._client is not None:
            try:
                received = await self._client.receive(seconds)
            except TimeoutError:
                return
            if received is None or received.op is Op.CLOSE:
                self._client.writer.transport.abort()
                self._client = None
                return
            self.seen += received.payload
            self._note(received.payload)

    async def close(self) -> None:
        if self._client is not None:
            self._client.writer.transport.abort()

    def _note(self, payload: bytes) -> None:
        if payload.startswith(b'40{"sid"'):
            pid = json.loads(payload[2:]).get("pid", "")
            self._own = (pid, self._own[1] if self._own else "")
        elif payload.startswith(b'42["hello"'):
            self._own = (self._own[0] if self._own else "", str(json.loads(payload[2:])[-1]))

    def _auth(self, secret: object, pid: str) -> dict[str, Any]:
        auth: dict[str, Any] = {} if secret is None else {"token": secret}
        known = {"stolen": self._stolen, "own": self._own, "made up": ("x" * 24, self._stolen[1])}.get(pid)
        if known is not None:
            auth["pid"], auth["offset"] = known
        return auth

    def _say(self, packet: str) -> None:
        if self._client is not None:
            self._client.text(packet)

    async def _connected(self, *, joins: bool) -> WireClient:
        if self._client is None:
            self._client = await connect(self._port)
            if joins:
                self._say(f"40{json.dumps({'token': MALLORY})}")
        return self._client


@pytest.fixture(scope="module")
def gateway(module_cluster: Cluster) -> Service:
    """With room for everything that Mallory tries."""
    return asyncio.run(module_cluster.start("gateway", RATE_LIMIT_DEFAULT="100000", RATE_LIMITS="authenticate=100000"))


async def private_data_happens(bus: RedisBus, alice: WireSocket, root: WireSocket) -> tuple[bytes, bytes]:
    """A notification for Alice and figures for admins, which both get; what each is known by."""
    trade_id, figure = f"private-{next(_numbers)}", 900_000_000 + next(_numbers)
    trade = Trade(trade_id, "SECRET-USDT", "1", "2", "buy", NOW_MS, None)
    log = redis_keys.user_log(redis_keys.shard_of("alice", TRADE_SHARDS))
    await bus.append(log, [{"u": "alice", "d": encode(trade)}], 1_000)
    figures = ClusterMetrics(figure, 1, 1.0, 1.0, 1, {}, [], [])
    await bus.publish([(redis_keys.CLUSTER_METRICS, encode_json(figures))])
    while (await alice.next("trade:notification"))[0]["id"] != trade_id:
        pass
    while (await root.next("metrics"))[0]["connections"] != figure:
        pass
    return trade_id.encode(), str(figure).encode()


async def victim(port: int, *, leaves: bool) -> tuple[WireSocket, tuple[str, str]]:
    """A client of Alice's, and what Mallory steals of it; it may have left, so that its session is free to be taken."""
    client = await connect(port)
    alice = WireSocket(client)
    alice.join({"token": ALICE})
    hello = await alice.next("hello")
    await alice.next("authenticated")
    pid = json.loads(next(text for text in alice.texts if text.startswith("40"))[2:])["pid"]
    await alice.call("subscribe:trades", "BTC-USDT")
    if leaves:
        client.writer.transport.abort()
    return alice, (pid, hello[-1])


async def attack(port: int, redis_url: str, steps: list[tuple[Any, ...]], *, leaves: bool) -> None:
    bus = RedisBus(redis_url, "test-two-users")
    stolen_from, stolen = await victim(port, leaves=leaves)
    mallory = Mallory(port, stolen)
    try:
        async with (
            asyncio.timeout(4 * PATIENCE_S),
            joined(port, {"token": ALICE}) as alice,
            joined(port, {"token": ROOT}) as root,
        ):
            await mallory.play(steps)
            secrets = await private_data_happens(bus, alice, root)
            await mallory.listen(0.01)
            for secret in (MALLORY, None):
                await mallory.play([("reconnect",), ("connect", secret, "stolen")])
        assert [text for text in secrets if text in mallory.seen] == []
        assert b'"sub":"alice"' not in mallory.seen.replace(b" ", b"")
    finally:
        await mallory.close()
        stolen_from.client.writer.transport.abort()
        await bus.close()


@pytest.mark.threat("T25", "T20")
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(moves, min_size=3, max_size=12), leaves=st.booleans())
def test_nobody_sees_what_is_anothers(
    steps: list[tuple[Any, ...]],
    leaves: bool,  # noqa: FBT001 - drawn
    gateway: Service,
    valkey: EmbeddedValkey,
) -> None:
    asyncio.run(attack(gateway.port, valkey.url, steps, leaves=leaves))


@pytest.mark.threat("T25")
@pytest.mark.parametrize("event", EVENTS)
def test_no_event_opens_anothers_room(gateway: Service, valkey: EmbeddedValkey, event: str) -> None:
    steps = [("emit", event, [name]) for name in NAMES]
    asyncio.run(attack(gateway.port, valkey.url, [("emit", event, []), *steps], leaves=True))


@pytest.mark.threat("T25")
@pytest.mark.parametrize("secret", [None, MALLORY, DEAD, FORGED], ids=["none", "mallory's", "dead", "forged"])
@pytest.mark.parametrize("leaves", [True, False])
def test_a_stolen_pid_gives_nothing_without_the_users_token(
    gateway: Service,
    valkey: EmbeddedValkey,
    secret: str | None,
    leaves: bool,  # noqa: FBT001 - a parameter
) -> None:
    asyncio.run(attack(gateway.port, valkey.url, [("connect", secret, "stolen")], leaves=leaves))
