"""Revocation and fetched keys at real gateways: within seconds, everywhere, and for whoever comes back."""

import asyncio
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.names.close_reasons import KEYS_AWAITED
from shared.revocations import Kind, note_revocation
from tests.support.cluster import Cluster, Service, token
from tests.support.key_server import key_server
from tests.support.token_craft import jwk, signed
from tests.support.waiting import eventually
from tests.support.wire_client import WireClient, connect
from tests.support.wire_socket import WireSocket, joined

REVOKED_WITHIN_S = 5.0


def make(user: str, **more: Any) -> str:
    return token(user, now_ms=SystemClock().now_ms(), **more)


async def come_in(gateway: Service, **auth: Any) -> tuple[str, str]:
    """Come in and drop the connection: `pid` and cursor."""
    async with await connect(gateway.port) as client:
        socket = WireSocket(client)
        socket.join(auth)
        hello = await socket.next("hello")
        opened = next(text for text in socket.texts if text.startswith("40"))
        return json.loads(opened[2:])["pid"], hello[-1]


async def answer(gateway: Service, **auth: Any) -> str:
    """The first packet that answers a CONNECT."""
    async with await connect(gateway.port) as client:
        client.text(f"40{json.dumps(auth)}")
        return await _packet(client)


async def _packet(client: WireClient) -> str:
    received = await client.receive()
    return "" if received is None else received.payload.decode(errors="replace")


@pytest.mark.threat("T20")
async def test_a_revoked_user_is_out_at_every_gateway_within_seconds_and_cannot_come_back(
    cluster: Cluster, bus: RedisBus
) -> None:
    gateways = [await cluster.start("gateway") for _ in range(2)]
    dead = make("alice")
    pid, offset = await come_in(gateways[0], token=dead)
    async with (
        joined(gateways[0].port, {"token": dead}) as here,
        joined(gateways[1].port, {"token": dead}) as there,
        joined(gateways[0].port, {"token": make("bob")}) as bob,
    ):
        await note_revocation(bus, Kind.SUB, "alice", 60)
        async with asyncio.timeout(REVOKED_WITHIN_S):
            for alice in (here, there):
                await alice.next("auth:revoked")
                await alice.client.ended()
        assert (await bob.call("subscribe:trades", "BTC-USDT"))["ok"]
    for gateway in gateways:
        for auth in ({}, {"pid": pid, "offset": offset}):
            assert '"reason":"revoked"' in (await answer(gateway, token=dead, **auth)).replace(" ", "")

    async def lets_in_anew() -> str:  # a token of the same second was issued before, as far as its `iat` can say
        return await answer(gateways[1], token=make("alice"))

    await eventually(lets_in_anew, "a token issued later is accepted", lambda text: text.startswith('40{"sid"'))


@pytest.mark.threat("T20")
async def test_a_gateway_that_was_cut_off_learns_what_was_revoked_meanwhile(cluster: Cluster, bus: RedisBus) -> None:
    gateway = await cluster.start("gateway")
    async with joined(gateway.port, {"token": make("alice")}) as alice:
        gateway.freeze()
        await note_revocation(bus, Kind.SUB, "alice", 60)
        gateway.thaw()
        async with asyncio.timeout(REVOKED_WITHIN_S):
            await alice.next("auth:revoked")


@pytest.mark.threat("T19")
async def test_a_key_that_is_new_brings_its_clients_in_after_one_fetch(cluster: Cluster) -> None:
    old, new = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = SystemClock().now_ms() // 1000
    async with key_server() as server:
        server.answer = server.keys(jwk(old, kid="old"))
        gateway = await cluster.start("gateway", JWT_SECRET="", JWT_JWKS_URL=server.url)
        await gateway.logged("keys_fetched")
        times = {"exp": now + 600, "iat": now}
        first = signed(old, "ES256", {"kid": "old"}, **times)
        assert (await answer(gateway, token=first)).startswith('40{"sid"')
        stranger = signed(new, "ES256", {"kid": "new"}, **times)
        async with await connect(gateway.port) as client:
            client.text(f"40{json.dumps({'token': stranger})}")
            assert (await client.ended())[0] == KEYS_AWAITED.code, "not refused: the stock client comes back"
        assert (await answer(gateway, token=first)).startswith('40{"sid"'), "the known key still works"
