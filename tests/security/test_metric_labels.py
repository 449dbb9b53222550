"""There are as many series as the code has names for; the ops port tells numbers, no secret, and not to clients."""

import asyncio
import random
import string
from contextlib import suppress

import pytest

from shared.bus.errors import GroupMissingError
from shared.bus.redis_bus import RedisBus
from shared.bus.redis_client import command
from shared.clock import SystemClock
from shared.names import redis_keys
from tests.support.cluster import Cluster, Service, token
from tests.support.waiting import eventually
from tests.support.wire_client import PATH, ask, connect, upgrade_head
from tests.support.wire_socket import joined

CHANCE = random.Random(33)


def word(length: int = 12) -> str:
    return "".join(CHANCE.choices(string.ascii_letters + string.digits + ":/._-", k=length))


async def series(service: Service) -> set[str]:
    return set(await service.scrape())


async def strange_clients(gateway: Service, rounds: int) -> None:
    """Events, symbols, codes, agents, paths, methods, origins that nobody has ever heard of."""
    for number in range(rounds):
        headers = {"User-Agent": word(), "Origin": f"http://{word()}", "Referer": word(), f"X-{number}": word()}
        for method, target in ((word(6).upper(), PATH), ("GET", f"/{word()}"), ("GET", f"{PATH}&{word()}={word()}")):
            await ask(gateway.port, upgrade_head(target, {**headers, "Upgrade": None, "Connection": "close"}, method))
        async with joined(gateway.port) as client:
            client.emit(word(), word())
            for event in ("subscribe:price", "subscribe:trades"):
                await client.call(event, [word(), word()])
            await client.call("subscribe:chart", word(), word(2))
            await client.call("authenticate", word())
        async with await connect(gateway.port) as wire:
            wire.text(f"4{number}/{word()},")
            wire.send(8, (3000 + number).to_bytes(2, "big") + word().encode())
            await wire.ended()


@pytest.mark.threat("T33")
async def test_what_clients_choose_becomes_no_series(cluster: Cluster):
    gateway = await cluster.start("gateway", MAX_ACCEPTS_PER_SECOND="0")
    await strange_clients(gateway, 1)
    before = await series(gateway)
    await strange_clients(gateway, 20)
    found = await series(gateway)
    # A reason of ours may come up for the first time; what a client has said may not.
    assert len(found - before) < 8, found - before
    after = await series(gateway)
    await strange_clients(gateway, 40)
    assert await series(gateway) == after


@pytest.mark.threat("T33")
async def test_what_upstreams_choose_becomes_no_series(cluster: Cluster, bus: RedisBus):
    await cluster.start("price-ingest", "trade-notifier", "metrics")

    async def feed(rounds: int) -> None:
        for number in range(rounds):
            trade = {"symbol": word(), "venue": word(), "price": "1", "amount": "1", "id": word(), "user_id": word()}
            await bus.append(redis_keys.FEED_TRADES, [trade, {word(): word()}, {**trade, "side": word()}], 100_000)
            await bus.append(f"{redis_keys.FEED_PRICES}:{number % 50}", [trade], 1000)
            await bus.append(f"trades-{word()}", [trade], 1000)
            await command(bus._client, "HSET", redis_keys.SERVICE_REPORTS, word(), word())

    async def done() -> bool:
        try:
            return (await bus.group_info(redis_keys.FEED_TRADES, redis_keys.TRADE_GROUP, 0)).lag == 0
        except GroupMissingError:
            return False  # the notifier has not come to this stream yet

    async def all_seen() -> bool:
        found = " ".join(await series(cluster.services[0]))
        return all(label in found for label in ('what="charts"', 'seconds{feed="prices"}', 'seconds{feed="trades"}'))

    await feed(10)
    await eventually(done, "read up")
    await eventually(all_seen, "each kind of stream was read once")
    before = [await series(service) for service in cluster.services]
    await feed(300)
    await eventually(done, "read up")
    for service, known in zip(cluster.services, before, strict=True):
        assert await series(service) - known == set(), service.name


@pytest.mark.threat("T21", "T23")
async def test_the_ops_port_tells_no_secret_and_is_not_the_client_s_port(cluster: Cluster, redis_url: str):
    password = "a-canary-for-redis"
    login = RedisBus(redis_url, "test")
    await command(login._client, "ACL", "SETUSER", "canary", "on", f">{password}", "~*", "&*", "+@all")
    cluster.settings["REDIS_URL"] = redis_url.replace("redis://", f"redis://canary:{password}@")
    gateway = await cluster.start("gateway")
    await cluster.start("metrics", "price-ingest", "trade-notifier")
    secret = token("alice", now_ms=SystemClock().now_ms())
    async with joined(gateway.port, {"token": secret}):
        await command(login._client, "ACL", "DELUSER", "canary")  # and now Redis is refused to all
        try:
            for service in cluster.services:
                for path in ("/metrics", "/readyz", "/livez"):
                    _, text = await service.ask(path)
                    assert password not in text
                    assert secret.split(".")[2] not in text
                for path in ("/", "/admin", "/metrics/x", "/.env", "/debug/pprof", "/livez/../metrics/.."):
                    assert (await service.ask(path))[0] == 404, path
                port = (await service.logged("ready"))["ops_port"]
                for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
                    head = f"{method} /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    assert (await ask(port, head.encode())).status in {400, 404, 405}, method
                huge = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n"
                assert (await ask(port, huge)).status == 400
                assert password not in service.log.read_text()
            for path in ("/metrics", "/livez", "/readyz", "/", "/admin"):
                head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                assert (await ask(gateway.port, head.encode())).status == 404, path
        finally:
            with suppress(asyncio.CancelledError):
                await login.close()
