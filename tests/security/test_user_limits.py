"""One user with many connections, at many gateways, gets no more than one user's share of the cluster."""

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import chain
from typing import Final

import pytest

from services.gateway.presence import BURST_S
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.names import error_codes, redis_keys
from tests.support.cluster import Cluster, Service, token
from tests.support.waiting import eventually
from tests.support.wire_client import connect
from tests.support.wire_socket import Json, WireSocket, joined

USER: Final = "mallory"
GATEWAYS: Final = 2
CONNECTIONS: Final = 4
FLOOD: Final = 40
EVENTS_EACH: Final = 45
"""Within what one connection may send at once."""

JUDGED_S: Final = 5.0
"""Ten times what it takes to judge a newcomer."""

RATE: Final = 10
SUBSCRIPTIONS: Final = 30


def login(user: str = USER) -> dict[str, Json]:
    return {"token": token(user, now_ms=SystemClock().now_ms())}


async def start(cluster: Cluster, **settings: str) -> list[Service]:
    await cluster.start(
        *["gateway"] * GATEWAYS,
        MAX_CONNECTIONS_PER_USER=str(CONNECTIONS),
        USER_LIMIT_GRACE_MS="0",
        PRICE_BATCH_AUDIENCE="off",
        **settings,
    )
    return cluster.services


async def figures(bus: RedisBus) -> list[list[int]]:
    """Of each gateway with the user: connections and subscriptions, as Redis has them."""
    records = await bus.hash_all(redis_keys.user_open(USER))
    return [[int(word) for word in record.split()[1:3]] for record in records.values()]


async def connections(bus: RedisBus) -> int:
    return sum(here for here, _ in await figures(bus))


async def subscriptions(bus: RedisBus) -> int:
    return sum(here for _, here in await figures(bus))


async def fate(socket: WireSocket) -> str:
    """How a client fares that asks to come in: `refused` at once, `put out` a moment later, or `in`."""
    socket.join(login() | {"recover": False})
    while not any(text.startswith(("40", "44")) for text in socket.texts):
        await socket.take()
    if any(text.startswith("44") for text in socket.texts):
        assert f'"code":{error_codes.CONNECTION_LIMIT.code}' in socket.texts[-1]
        return "refused"
    try:
        (error,) = await socket.next("error", patience=JUDGED_S)
    except TimeoutError:
        return "in"
    assert error["code"] == error_codes.CONNECTION_LIMIT.code
    assert error["limit"] == CONNECTIONS
    await socket.next_text("41")
    await socket.client.ended()
    return "put out"


@pytest.mark.threat("T31")
async def test_a_user_s_surplus_is_refused_or_put_out_for_good_at_every_gateway(
    cluster: Cluster, bus: RedisBus
) -> None:
    gateways = await start(cluster)
    async with AsyncExitStack() as stack:
        sockets = [
            WireSocket(await stack.enter_async_context(await connect(gateways[number % GATEWAYS].port)))
            for number in range(FLOOD)
        ]
        fates = await asyncio.gather(*(fate(socket) for socket in sockets))
        assert 1 <= fates.count("in") <= CONNECTIONS
        assert "put out" in fates, "no gateway by itself saw that they were too many"
        assert "refused" in fates
        await until_connected(bus, fates.count("in"))
        async with joined(gateways[0].port, login("bob")) as bystander:
            assert (await bystander.call("subscribe:price", "A"))["ok"]
    await until_connected(bus, 0)
    for gateway in gateways:
        assert (await gateway.scrape())['tickwire_user_refusals_total{limit="connections"}'] > 0
    async with joined(gateways[0].port, login()) as again:
        assert (await again.call("subscribe:price", "A"))["ok"]


async def until_connected(bus: RedisBus, count: int) -> None:
    await eventually(lambda: connections(bus), f"{count} connections in Redis", lambda found: found == count)


async def until_subscribed(bus: RedisBus, count: int) -> None:
    await eventually(lambda: subscriptions(bus), f"{count} subscriptions in Redis", lambda found: found == count)


async def spread(stack: AsyncExitStack, gateways: list[Service], bus: RedisBus) -> list[WireSocket]:
    """A user's connections, as many as it may have, when each gateway knows of the other's."""
    sockets = []
    for number in range(CONNECTIONS):
        gateway = gateways[number % GATEWAYS]
        sockets.append(await stack.enter_async_context(joined(gateway.port, login())))
        await until_connected(bus, number + 1)
    return sockets


@pytest.mark.threat("T12")
async def test_events_of_a_user_are_limited_over_all_its_connections(cluster: Cluster, bus: RedisBus) -> None:
    gateways = await start(cluster, RATE_LIMIT_USER=str(RATE))

    async def flood(socket: WireSocket) -> list[Json]:
        return [await socket.call("unsubscribe:price", "A") for _ in range(EVENTS_EACH)]

    async with AsyncExitStack() as stack:
        sockets = await spread(stack, gateways, bus)
        began = time.monotonic()
        answers = list(chain.from_iterable(await asyncio.gather(*(flood(socket) for socket in sockets))))
        seconds = time.monotonic() - began
        served = sum(answer["ok"] for answer in answers)
        refused = next(answer["error"] for answer in answers if not answer["ok"])
        most = (RATE * BURST_S + RATE * seconds) * 1.2 + 2  # shares of a half and a third: a little over the whole
        assert served <= most < CONNECTIONS * EVENTS_EACH
        assert refused["code"] == error_codes.RATE_LIMITED.code
        assert refused["scope"] == "user"
        assert 0 < refused["retry_after_ms"] <= 1001
        await asyncio.sleep(refused["retry_after_ms"] / 1000)

        async def is_served() -> bool:
            return bool((await sockets[0].call("unsubscribe:price", "A"))["ok"])

        await eventually(is_served, "it is served again")


@pytest.mark.threat("T26")
async def test_subscriptions_of_a_user_are_limited_over_all_its_connections(cluster: Cluster, bus: RedisBus) -> None:
    gateways = await start(cluster, MAX_SUBSCRIPTIONS_PER_USER=str(SUBSCRIPTIONS))
    symbols = [f"S{number}" for number in range(SUBSCRIPTIONS)]
    third = SUBSCRIPTIONS // 3
    async with AsyncExitStack() as stack:
        sockets = await spread(stack, gateways, bus)
        for socket, count in zip(sockets, (third, 2 * third), strict=False):
            answer = await socket.call("subscribe:price", symbols[:third])
            assert all(item["ok"] for item in answer["results"])
            await until_subscribed(bus, count)
        here = sockets[2]
        answer = await here.call("subscribe:trades", symbols[:third])
        assert all(item["ok"] for item in answer["results"])
        await until_subscribed(bus, SUBSCRIPTIONS)

        async def refusal() -> Json:
            answer = await here.call("subscribe:price", "A")
            if answer["ok"]:  # its gateway has not heard yet how much the other has
                await here.call("unsubscribe:price", "A")
            error = answer.get("error")
            return error if error and error["code"] == error_codes.SUBSCRIPTION_LIMIT.code else None

        error = await eventually(refusal, "it is refused", patience=JUDGED_S)
        assert (error["limit"], error["scope"]) == (SUBSCRIPTIONS, "user")
        await here.call("unsubscribe:trades", symbols[0])
        assert (await here.call("subscribe:price", "A"))["ok"], "who leaves something may have another"
