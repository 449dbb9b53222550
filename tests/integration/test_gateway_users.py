"""Limits of one user at real gateways: the newest is put out wherever it comes in, who comes back never is."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

import pytest

from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.names import error_codes, redis_keys
from tests.support.cluster import Cluster, Service, token
from tests.support.waiting import eventually
from tests.support.wire_client import connect
from tests.support.wire_socket import Json, WireSocket, joined

LIMIT: Final = 10
USER: Final = "ann"
SETTLED_S: Final = 0.6
"""Longer than a surplus connection may live, on a machine with time: nobody is put out after it."""

TOLD_S: Final = 8.0
"""Less than what is told anyhow takes, far more than what has changed."""


@pytest.fixture
async def gateways(cluster: Cluster) -> list[Service]:
    cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    await cluster.start("gateway", "gateway", USER_LIMIT_GRACE_MS="0")
    return cluster.services[:2]


class Place(NamedTuple):
    """What a client comes back with, and its connection."""

    socket: WireSocket
    auth: Json


def login(user: str = USER) -> dict[str, Json]:
    return {"token": token(user, now_ms=SystemClock().now_ms())}


async def enter(stack: AsyncExitStack, gateway: Service, auth: Json) -> Place:
    """A client that is in, with what it needs to come back."""
    socket = WireSocket(await stack.enter_async_context(await connect(gateway.port)))
    socket.join(auth)
    accepted = await socket.next_text("40")
    hello = await socket.next("hello")
    pid = accepted.partition('"pid":"')[2].partition('"')[0]
    offset = hello[1] if len(hello) > 1 else None
    return Place(socket, {**auth, "pid": pid, "offset": offset} if pid else auth)


async def enter_many(stack: AsyncExitStack, gateway: Service, count: int, auth: Json) -> list[Place]:
    return [await enter(stack, gateway, auth) for _ in range(count)]


async def put_out(socket: WireSocket) -> Json:
    """What a client is told before it is put out for good."""
    (error,) = await socket.next("error")
    await socket.next_text("41")
    assert await socket.client.ended() is not None
    return error


async def noted(bus: RedisBus, user: str = USER) -> dict[str, int]:
    """Gateway -> connections of a user, as Redis has it."""
    records = await bus.hash_all(redis_keys.user_open(user))
    return {name.decode(): int(record.split()[1]) for name, record in records.items()}


async def noted_in_all(bus: RedisBus, count: int, user: str = USER) -> None:
    await eventually(lambda: noted(bus, user), f"{count} in Redis", lambda records: sum(records.values()) == count)


async def is_in(place: Place) -> bool:
    """Whether a client is served."""
    answer = await place.socket.call("unsubscribe:price", "A")
    return answer["ok"] is True


async def test_the_newest_connection_of_a_user_is_put_out_whatever_gateway_it_comes_to(
    gateways: list[Service], bus: RedisBus
) -> None:
    here, there = gateways
    async with AsyncExitStack() as stack:
        places = await enter_many(stack, here, 6, login()) + await enter_many(stack, there, 4, login())
        await noted_in_all(bus, LIMIT)
        for gateway in gateways:
            surplus = await enter(stack, gateway, login())
            error = await put_out(surplus.socket)
            assert error == {
                "code": error_codes.CONNECTION_LIMIT.code,
                "message": error_codes.CONNECTION_LIMIT.message,
                "limit": LIMIT,
                "actual": LIMIT + 1,
            }
        await noted_in_all(bus, LIMIT)
        assert all([await is_in(place) for place in places])
        async with joined(here.port, login("bob")), joined(there.port):
            pass
        figures = [await gateway.scrape() for gateway in gateways]
        refused = 'tickwire_user_refusals_total{limit="connections"}'
        assert [figure[refused] for figure in figures] == [1, 1]


async def test_a_place_that_became_free_is_given_away(gateways: list[Service], bus: RedisBus) -> None:
    here, there = gateways
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as leaving:
            await enter_many(stack, here, LIMIT - 1, login())
            await enter(leaving, here, login())
            await noted_in_all(bus, LIMIT)
        await noted_in_all(bus, LIMIT - 1)
        place = await enter(stack, there, login())
        await noted_in_all(bus, LIMIT)
        await asyncio.sleep(SETTLED_S)
        assert await is_in(place)


async def test_a_full_gateway_says_so_at_connect(gateways: list[Service]) -> None:
    async with AsyncExitStack() as stack:
        await enter_many(stack, gateways[0], LIMIT, login())
        surplus = WireSocket(await stack.enter_async_context(await connect(gateways[0].port)))
        surplus.join(login())
        refusal = await surplus.next_text("44")
        assert error_codes.CONNECTION_LIMIT.message in refusal
        assert f'"limit":{LIMIT}' in refusal


async def test_a_token_that_comes_later_is_refused_and_the_client_stays(gateways: list[Service]) -> None:
    async with AsyncExitStack() as stack:
        await enter_many(stack, gateways[0], LIMIT, login())
        async with joined(gateways[0].port) as late:
            answer = await late.call("authenticate", login()["token"])
            assert answer["error"]["code"] == error_codes.CONNECTION_LIMIT.code
            assert (await late.call("subscribe:price", "A"))["ok"]


async def test_who_authenticates_again_counts_once(gateways: list[Service], bus: RedisBus) -> None:
    async with AsyncExitStack() as stack:
        places = await enter_many(stack, gateways[0], LIMIT, login())
        answer = await places[0].socket.call("authenticate", login()["token"])
        assert answer["ok"]
        await noted_in_all(bus, LIMIT)
        await places[1].socket.call("authenticate", login("bob")["token"])
        await noted_in_all(bus, LIMIT - 1)
        await noted_in_all(bus, 1, "bob")


@pytest.mark.parametrize("can_recover", [True, False])
async def test_all_clients_of_a_killed_gateway_are_let_in_at_once_elsewhere(
    gateways: list[Service],
    bus: RedisBus,
    can_recover: bool,  # noqa: FBT001 - a parameter
) -> None:
    here, there = gateways
    auth = login() | ({} if can_recover else {"recover": False})
    async with AsyncExitStack() as stack:
        before = await enter_many(stack, here, LIMIT, auth)
        await noted_in_all(bus, LIMIT)
        ghosts = await noted(bus)
        here.kill()
        back = [await enter(stack, there, place.auth) for place in before]
        await eventually(lambda: noted(bus), "all have come back", lambda records: records.get(there.instance) == LIMIT)
        await asyncio.sleep(SETTLED_S)
        assert all([await is_in(place) for place in back])
        assert can_recover or (await noted(bus)).items() >= ghosts.items(), "no ghosts: the test shows nothing"


async def test_a_client_whose_old_connection_still_hangs_at_another_gateway_takes_its_own_place(
    gateways: list[Service], bus: RedisBus
) -> None:
    here, there = gateways
    async with AsyncExitStack() as stack:
        before = await enter_many(stack, here, LIMIT, login())
        await noted_in_all(bus, LIMIT)
        back = await enter(stack, there, before[0].auth)
        await eventually(
            lambda: noted(bus), "it has moved", lambda found: found == {here.instance: 9, there.instance: 1}
        )
        await asyncio.sleep(SETTLED_S)
        assert await is_in(back)
        assert await before[0].socket.client.ended(), "the old one, which is alive, does not go on beside it"
        assert await is_in(before[1])


async def test_a_client_comes_back_to_a_full_gateway_where_its_old_connection_still_hangs(
    gateways: list[Service], bus: RedisBus
) -> None:
    gateway = gateways[0]
    async with AsyncExitStack() as stack:
        before = await enter_many(stack, gateway, LIMIT, login())
        await noted_in_all(bus, LIMIT)
        back = await enter(stack, gateway, before[0].auth)
        await before[0].socket.client.ended()
        await asyncio.sleep(SETTLED_S)
        assert all([await is_in(place) for place in [back, *before[1:]]])
        assert await noted(bus) == {gateway.instance: LIMIT}


async def test_nobody_is_put_out_while_redis_is_away_and_the_surplus_is_when_it_is_back(
    gateways: list[Service], bus: RedisBus
) -> None:
    here, there = gateways
    async with AsyncExitStack() as stack:
        before = await enter_many(stack, here, LIMIT, login())
        await noted_in_all(bus, LIMIT)
        await bus._client.client_pause(2500, all=True)
        surplus = await enter(stack, there, login() | {"recover": False})
        await asyncio.sleep(SETTLED_S)
        assert await is_in(surplus)
        assert (await put_out(surplus.socket))["limit"] == LIMIT
        assert all([await is_in(place) for place in before])


def limit_error(answer: Json) -> Json:
    """The error of an answer, if it is that of the limit; a test that waits long may ask too often."""
    error = answer.get("error")
    return error if error and error["code"] == error_codes.SUBSCRIPTION_LIMIT.code else None


async def until_refused(socket: WireSocket, kind: str, *args: Json) -> Json:
    """The error of a subscription, as soon as the gateway knows what the others have; until then it is given back."""

    async def refusal() -> Json:
        answer = await socket.call(f"subscribe:{kind}", *args)
        if answer["ok"]:
            await socket.call(f"unsubscribe:{kind}", *args)
        return limit_error(answer)

    return await eventually(refusal, "it is refused", patience=TOLD_S)


async def test_subscriptions_of_a_user_are_counted_over_all_its_connections(cluster: Cluster, bus: RedisBus) -> None:
    await cluster.start("gateway", "gateway", MAX_SUBSCRIPTIONS_PER_USER="5", PRICE_BATCH_AUDIENCE="off")
    here, there = cluster.services[:2]
    async with AsyncExitStack() as stack:
        one, two = await enter_many(stack, here, 2, login())
        three = await enter(stack, there, login())
        await one.socket.call("subscribe:price", ["A", "B"])
        await two.socket.call("subscribe:trades", "A")

        async def told() -> int:
            records = await bus.hash_all(redis_keys.user_open(USER))
            return sum(int(record.split()[2]) for record in records.values())

        async def until_told(expected: int) -> None:
            await eventually(told, f"{expected} in Redis", lambda count: count == expected, patience=TOLD_S)

        await until_told(3)
        assert (await three.socket.call("subscribe:chart", "A", "1m"))["ok"]
        assert (await three.socket.call("subscribe:price", "A"))["ok"]
        await until_told(5)
        assert await until_refused(three.socket, "price", "B") == {
            "code": error_codes.SUBSCRIPTION_LIMIT.code,
            "message": error_codes.SUBSCRIPTION_LIMIT.message,
            "limit": 5,
            "scope": "user",
        }
        assert (await three.socket.call("subscribe:price", "A"))["ok"], "what it has it may ask for again"
        await two.socket.call("unsubscribe:trades", "A")
        await until_told(4)

        async def granted() -> bool:
            return (await one.socket.call("subscribe:price", "C"))["ok"] is True

        await eventually(granted, "this gateway knows what the other one gave back")
        await until_told(5)
        assert (await until_refused(two.socket, "chart", "B", "1m"))["scope"] == "user"
