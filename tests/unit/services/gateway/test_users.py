"""Users of several gateways in a real Valkey: what each knows of the others, who is put out, what is left behind."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from services.gateway import users as module
from services.gateway.outbox import Flusher, Outbox
from services.gateway.presence import Presence
from services.gateway.requests import RequestError
from services.gateway.subscriptions import IMMEDIATE, Subscriptions
from services.gateway.users import CONNECTIONS, EVENTS, NAMED, SUBSCRIPTIONS, UserLimits, Users
from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.names import error_codes, redis_keys
from shared.names.close_reasons import MOVED
from shared.tasks import TaskGroup
from tests.support.fakes_gateway import FakeLink
from tests.support.waiting import eventually

LIMIT = 3
LIMITS = UserLimits(connections=LIMIT, event_rate=10, subscriptions=5)
USER = "ann"
TURNS_S = 0.6
"""Six turns: whoever is to be put out is out by then, on a machine with time."""


class Guest:
    """A client: what it is told, and whether it was put out."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self.link = FakeLink()
        self.subscriptions = Subscriptions(Outbox(self.link, gateway.flusher, 0))
        self.told: list[Any] = []
        self.is_out = False
        self.presence: Presence | None = None

    def emit(self, _namespace: str, _event: str, *args: Any) -> None:
        self.told += args

    def kick(self) -> None:
        self.is_out = True
        self.leave()

    def leave(self) -> None:
        assert self.presence is not None
        self._gateway.users.leave(self.presence)

    def subscribe(self, *symbols: str) -> None:
        """What a handler does."""
        for symbol in symbols:
            self._gateway.users.check_room_for_one(self.presence)
            self.subscriptions.prices()[symbol] = IMMEDIATE
        self._gateway.users.subscriptions_changed(self.presence)


class Gateway:
    """One gateway's users; `stop` is what SIGKILL leaves of them."""

    def __init__(self, name: str, bus: RedisBus, limits: UserLimits, tasks: TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.flusher = Flusher(loop, 1000)
        self.users = Users(loop, bus, name, limits)
        self._tasks = tasks
        self.start()

    def start(self) -> None:
        self._task = self._tasks.spawn(self.name, self.users.run())

    def stop(self) -> None:
        self._task.cancel()

    def arrive(self, user: str = USER, *, granted: int | None = None, pid: str | None = None) -> Guest:
        guest = Guest(self)
        guest.presence = self.users.arrive(None, user, granted, guest, guest.subscriptions, pid)
        return guest

    def arrive_many(self, count: int, **facts: Any) -> list[Guest]:
        return [self.arrive(**facts) for _ in range(count)]


Open = Callable[..., Gateway]


@pytest.fixture(name="own_valkey")
def server_that_may_die() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture(name="open_gateway")
async def gateways(bus: RedisBus) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(TaskGroup())
        yield lambda name, limits=LIMITS, on=bus: Gateway(name, on, limits, tasks)


async def records(bus: RedisBus, user: str = USER) -> dict[str, int]:
    found = await bus.hash_all(redis_keys.user_open(user))
    return {name.decode(): int(record.split()[1]) for name, record in found.items()}


async def until_noted(bus: RedisBus, user: str = USER, **expected: int) -> None:
    await eventually(lambda: records(bus, user), "the records", lambda found: found == expected)


async def settled(*guests: Guest) -> list[bool]:
    """Who is out when everybody has been judged who can be."""
    await asyncio.sleep(TURNS_S)
    return [guest.is_out for guest in guests]


async def test_the_newest_is_put_out_and_told_the_limit(open_gateway: Open, bus: RedisBus) -> None:
    a, b = open_gateway("a"), open_gateway("b")
    first = a.arrive_many(2)
    await until_noted(bus, a=2)
    second = b.arrive_many(2)
    await eventually(lambda: second[1].is_out, "the fourth is put out")
    (error,) = second[1].told
    assert error == {
        "code": error_codes.CONNECTION_LIMIT.code,
        "message": error_codes.CONNECTION_LIMIT.message,
        "limit": LIMIT,
        "actual": LIMIT + 1,
    }
    await until_noted(bus, a=2, b=1)
    assert await settled(*first, second[0]) == [False] * 3
    assert (a.users.refused[CONNECTIONS], b.users.refused[CONNECTIONS]) == (0, 1)


@pytest.mark.parametrize("granted", [1, 5])
async def test_what_the_token_grants_counts_instead_of_the_setting(
    open_gateway: Open, bus: RedisBus, granted: int
) -> None:
    a, b = open_gateway("a"), open_gateway("b")
    a.arrive_many(granted - 1, granted=granted)
    if granted > 1:
        await until_noted(bus, a=granted - 1)
    last, surplus = b.arrive(granted=granted), b.arrive(granted=granted)
    await eventually(lambda: surplus.is_out, "one more than granted is put out")
    assert await settled(last) == [False]
    assert surplus.told[0]["limit"] == granted


async def test_no_limit_puts_nobody_out_and_names_nobody(open_gateway: Open, bus: RedisBus) -> None:
    a, b = open_gateway("a", UserLimits(0, 0, 0)), open_gateway("b", UserLimits(0, 0, 0))
    many = a.arrive_many(NAMED + 20)
    await until_noted(bus, a=NAMED + 20)
    assert await settled(*many, b.arrive()) == [False] * (NAMED + 21)
    record = (await bus.hash_all(redis_keys.user_open(USER)))[b"a"]
    assert len(record.split()) == 3 + NAMED, "a record does not grow with its user"
    assert len(record) < 2500
    await until_noted(bus, a=NAMED + 20, b=1)


async def test_ghosts_of_a_dead_gateway_put_nobody_out_and_expire(
    open_gateway: Open, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIFE_MS", 2500)
    monkeypatch.setattr(module, "RENEW_S", 0.5)
    a, b = open_gateway("a"), open_gateway("b")
    a.arrive_many(LIMIT)
    await until_noted(bus, a=LIMIT)
    a.stop()
    back = b.arrive_many(LIMIT)
    await until_noted(bus, a=LIMIT, b=LIMIT)
    assert await settled(*back) == [False] * LIMIT
    await until_noted(bus, b=LIMIT)
    await eventually(
        lambda: all(guest.presence is not None and guest.presence.is_confirmed for guest in back), "all are confirmed"
    )


async def test_a_gateway_that_was_only_frozen_gets_its_due_when_it_lives_again(
    open_gateway: Open, bus: RedisBus
) -> None:
    a, b = open_gateway("a"), open_gateway("b")
    old = a.arrive_many(LIMIT)
    await until_noted(bus, a=LIMIT)
    a.stop()
    surplus = b.arrive()
    assert await settled(surplus) == [False]
    a.start()
    await eventually(lambda: surplus.is_out, "the newest is put out")
    assert not any(guest.is_out for guest in old)


async def test_who_comes_back_takes_its_own_place_and_its_former_connection_ends(
    open_gateway: Open, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.5)
    a, b = open_gateway("a"), open_gateway("b")
    old = [a.arrive(pid=f"pid-{number}") for number in range(LIMIT)]
    await until_noted(bus, a=LIMIT)
    back = b.arrive(pid="pid-0")
    await until_noted(bus, a=LIMIT - 1, b=1)
    await eventually(lambda: old[0].link.endings, "its former connection ends", lambda endings: endings == [MOVED])
    old[0].leave()
    assert await settled(back, *old) == [False] * (LIMIT + 1)
    assert [guest.link.endings for guest in old[1:]] == [[]] * (LIMIT - 1)
    await until_noted(bus, a=LIMIT - 1, b=1)


async def test_a_full_gateway_says_so_before_anybody_is_let_in(open_gateway: Open) -> None:
    a = open_gateway("a")
    a.users.admit(None, USER, None, None)
    old = [a.arrive(pid=f"pid-{number}") for number in range(LIMIT)]
    with pytest.raises(RequestError) as refusal:
        a.users.admit(None, USER, None, "pid-of-nobody")
    assert refusal.value.payload["actual"] == LIMIT + 1
    assert a.users.refused[CONNECTIONS] == 1
    a.users.admit(None, USER, None, "pid-1")
    a.users.admit(old[0].presence, USER, None, None)
    a.users.admit(None, USER, LIMIT + 1, None)
    a.users.admit(None, "bob", None, None)


async def test_a_gateway_alone_keeps_its_own_limit_while_redis_is_away(
    open_gateway: Open, own_valkey: EmbeddedValkey
) -> None:
    own = RedisBus(own_valkey.url, "test")
    a = open_gateway("a", on=own)
    old = a.arrive_many(LIMIT)
    await until_noted(own, a=LIMIT)
    own_valkey.kill()
    surplus = a.arrive()
    assert await settled(*old, surplus) == [False] * LIMIT + [True]
    for number in range(50):
        a.arrive(f"user-{number}").leave()
    await eventually(lambda: len(a.users), "those who have left are not kept", lambda count: count == 1)
    own_valkey.start()
    await until_noted(own, a=LIMIT)
    assert not any(guest.is_out for guest in old)
    await own.close()


async def test_redis_without_its_data_is_told_again_and_nobody_is_put_out(
    open_gateway: Open, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.5)
    a, b = open_gateway("a"), open_gateway("b")
    guests = a.arrive_many(2)
    await until_noted(bus, a=2)
    guests += b.arrive_many(1)
    await until_noted(bus, a=2, b=1)
    await bus._client.flushall()
    await until_noted(bus, a=2, b=1)
    assert await settled(*guests) == [False] * LIMIT


async def test_a_user_leaves_nothing_behind(open_gateway: Open, bus: RedisBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.5)
    a = open_gateway("a")
    guest = a.arrive()
    await until_noted(bus, a=1)
    guest.leave()
    guest.leave()
    await until_noted(bus)
    await eventually(lambda: len(a.users), "it is forgotten", lambda count: count == 0)
    assert await bus._client.keys("svc:{users-open:*") == []


async def test_a_gateway_without_users_says_nothing(open_gateway: Open, bus: RedisBus) -> None:
    open_gateway("a")
    await asyncio.sleep(TURNS_S)
    assert await bus._client.keys("*") == []


async def test_what_is_stored_expires_and_tells_neither_user_nor_pid(open_gateway: Open, bus: RedisBus) -> None:
    strange = "ann}\r\n\ud800 {*} \0"
    a = open_gateway("a")
    a.arrive(strange, pid="secret-pid")
    await until_noted(bus, strange, a=1)
    keys = await eventually(lambda: bus._client.keys("*"), "record and beat", lambda keys: len(keys) == 2)
    for key in keys:
        assert 0 < await bus._client.pttl(key) <= module.LIFE_MS
        assert b"ann" not in key
    record = (await bus.hash_all(redis_keys.user_open(strange)))[b"a"]
    assert b"secret" not in record


async def test_one_connection_counts_once_however_often_it_authenticates(open_gateway: Open, bus: RedisBus) -> None:
    a = open_gateway("a")
    guest = a.arrive()

    def become(user: str) -> None:
        guest.presence = a.users.arrive(guest.presence, user, None, guest, guest.subscriptions, None)

    become(USER)
    become(USER)
    await until_noted(bus, a=1)
    become("bob")
    await until_noted(bus)
    await until_noted(bus, "bob", a=1)


async def test_a_gateway_grants_its_share_of_the_events_and_forgets_no_burst_on_the_way(
    open_gateway: Open, bus: RedisBus
) -> None:
    a, b = open_gateway("a"), open_gateway("b")
    b.arrive()
    await until_noted(bus, b=1)
    guest = a.arrive()
    await until_noted(bus, a=1, b=1)
    assert guest.presence is not None
    user = guest.presence.user
    await eventually(lambda: user.others, "it knows of the other")
    assert [a.users.take(guest.presence, 0.0) for _ in range(20)] == [0.0] * 20
    guest.leave()
    guest = a.arrive()
    assert a.users.take(guest.presence, 0.0) == pytest.approx(0.2)
    assert a.users.refused[EVENTS] == 1
    assert a.users.take(None, 0.0) == 0.0


async def test_subscriptions_count_over_all_connections_and_gateways(open_gateway: Open, bus: RedisBus) -> None:
    a, b = open_gateway("a"), open_gateway("b")
    one, two = a.arrive_many(2)
    one.subscribe("A", "B")
    two.subscribe("A")
    await until_noted(bus, a=2)
    three = b.arrive()

    def knows() -> bool:
        assert three.presence is not None
        return three.presence.user.subscriptions_elsewhere(0, b.users._beaten) == 3

    await eventually(knows, "the other gateway's are known")
    three.subscribe("A", "B")
    with pytest.raises(RequestError) as refusal:
        three.subscribe("C")
    assert refusal.value.error is error_codes.SUBSCRIPTION_LIMIT
    assert refusal.value.payload["scope"] == "user"
    assert b.users.refused[SUBSCRIPTIONS] == 1
    b.users.check_room_for_one(None)
    a.stop()
    await eventually(lambda: _may_subscribe(three), "what a dead gateway had does not count")


def _may_subscribe(guest: Guest) -> bool:
    try:
        guest.subscribe("C")
    except RequestError:
        return False
    return True


async def test_who_comes_back_from_a_dead_connection_is_asked_to_try_again_before_it_is_refused(
    open_gateway: Open,
) -> None:
    gateway = open_gateway("a", LIMITS._replace(grace_s=0.3))
    gateway.arrive_many(LIMIT)

    def verdict() -> int:
        with pytest.raises(RequestError) as refused:
            gateway.users.admit(None, USER, None, None)
        return refused.value.error.code

    assert verdict() == error_codes.CONNECTIONS_HELD.code
    await eventually(verdict, "the former ones live", lambda code: code == error_codes.CONNECTION_LIMIT.code)
