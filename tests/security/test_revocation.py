"""Revoked users and tokens: refused within a second by everybody who follows the list, whatever Redis goes through."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared import revocations as module
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.identity import Identity
from shared.names import redis_keys
from shared.revocations import Kind, Revocation, Revocations, note_revocation, read_revocations
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from tests.support.fault_proxy import FaultProxy
from tests.support.manual_clock import ManualClock
from tests.support.waiting import eventually

EFFECTIVE_S = 5.0
HOUR = 3600

Fields = dict[Any, Any]  # the client's own type has eight members


def identity(user: str = "ann", *, issued: float | None = None, token: str | None = None) -> Identity:
    return Identity(user, None, 2**40, None if issued is None else int(issued), token)


class Followed:
    """Revocations as a gateway has them, and what it was told."""

    def __init__(self, bus: RedisBus, clock: ManualClock | SystemClock) -> None:
        self.telemetry = Telemetry()
        self.all = Revocations(bus, clock, self.telemetry)
        self.told: list[Revocation] = []

    def metric(self, name: str) -> float:
        text = self.telemetry.exposition("")[0].decode()
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


@asynccontextmanager
async def following(bus: RedisBus, clock: ManualClock | SystemClock | None = None) -> AsyncIterator[Followed]:
    made = Followed(bus, clock or SystemClock())
    await made.all.start()
    async with TaskGroup() as tasks:
        tasks.spawn("follow", made.all.run(made.told.extend))
        yield made


@pytest.mark.threat("T20")
async def test_a_revoked_user_is_refused_everywhere_within_seconds(bus: RedisBus):
    now = SystemClock().now_ms() / 1000
    async with following(bus) as here, following(bus) as there:
        assert not here.all.refuses(identity(issued=now - 60))
        began = asyncio.get_running_loop().time()
        await note_revocation(bus, Kind.SUB, "ann", HOUR)
        await eventually(lambda: here.told and there.told, "both are told")
        assert asyncio.get_running_loop().time() - began < EFFECTIVE_S
        for gateway in (here, there):
            assert [(word.kind, word.value) for word in gateway.told] == [(Kind.SUB, "ann")]
            assert gateway.all.refuses(identity(issued=now - 60))
            assert gateway.all.refuses(identity()), "a token that does not say when it was issued"
            assert not gateway.all.refuses(identity("bob", issued=now - 60))
            assert gateway.metric("tickwire_revocations") == 1


@pytest.mark.threat("T20")
async def test_a_revoked_user_may_log_in_anew(bus: RedisBus):
    async with following(bus) as gateway:
        await note_revocation(bus, Kind.SUB, "ann", HOUR)
        (word,) = await eventually(lambda: gateway.told, "it is told")
        assert gateway.all.refuses(identity(issued=word.at_ms // 1000))
        assert not gateway.all.refuses(identity(issued=word.at_ms // 1000 + 1))


@pytest.mark.threat("T20", "T17")
async def test_a_revoked_token_is_refused_and_its_users_others_are_not(bus: RedisBus):
    async with following(bus) as gateway:
        await note_revocation(bus, Kind.JTI, "t1", HOUR)
        await eventually(lambda: gateway.told, "it is told")
        assert gateway.all.refuses(identity(issued=2**31, token="t1"))
        assert gateway.all.refuses(identity("bob", token="t1"))
        assert not gateway.all.refuses(identity(token="t2"))
        assert not gateway.all.refuses(identity("t1"))


@pytest.mark.threat("T20")
async def test_a_gateway_that_starts_knows_what_was_revoked_before(bus: RedisBus):
    await note_revocation(bus, Kind.SUB, "ann", HOUR)
    gateway = Followed(bus, SystemClock())
    await gateway.all.start()
    assert gateway.all.refuses(identity())
    assert gateway.told == []


async def test_a_revocation_ends_after_its_time(bus: RedisBus):
    clock = ManualClock(SystemClock().now_ms() / 1000)
    await note_revocation(bus, Kind.SUB, "ann", HOUR)
    async with following(bus, clock) as gateway:
        assert gateway.all.refuses(identity())
        clock.seconds += HOUR + 60
        assert not gateway.all.refuses(identity())


async def test_a_revocation_can_be_taken_back_and_made_again(bus: RedisBus):
    async with following(bus) as gateway:
        for _ in range(2):
            await note_revocation(bus, Kind.SUB, "ann", HOUR)
            await eventually(lambda: gateway.all.refuses(identity()), "revoked")
            await note_revocation(bus, Kind.SUB, "ann", 0)
            await eventually(lambda: not gateway.all.refuses(identity()), "taken back")
        assert len(gateway.told) == 2
        await gateway.all._read_all()
        assert not gateway.all.refuses(identity()), "reading it all again brings nothing back"
        assert len(gateway.told) == 2


@pytest.fixture
def killable() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server


@pytest.mark.threat("T20")
async def test_what_was_revoked_while_redis_was_out_of_reach_holds_soon_after(killable: EmbeddedValkey):
    bus, other = RedisBus(killable.url, "test"), RedisBus(killable.url, "other")
    async with following(bus) as gateway:
        await note_revocation(bus, Kind.SUB, "before", HOUR)
        await eventually(lambda: gateway.all.refuses(identity("before")), "revoked")
        killable.kill()
        await asyncio.to_thread(killable.start)
        await eventually(other.ping, "it answers", lambda _: True)
        await note_revocation(other, Kind.SUB, "after", HOUR)
        await eventually(lambda: gateway.all.refuses(identity("after")), "revoked")
        assert gateway.all.refuses(identity("before")), "what Redis lost stays in force where it is known"
    await bus.close()
    await other.close()


@pytest.mark.threat("T20")
async def test_a_gateway_that_was_cut_off_knows_soon_after_it_is_back_what_was_revoked_meanwhile(
    bus: RedisBus, redis_url: str
):
    with FaultProxy(redis_url) as proxy:
        far = RedisBus(proxy.url, "far")
        async with following(far) as gateway:
            proxy.blackhole()
            await note_revocation(bus, Kind.SUB, "ann", HOUR)
            assert not gateway.all.refuses(identity())
            proxy.heal()
            await eventually(lambda: gateway.told, "it is told")
            assert gateway.all.refuses(identity())
        await far.close()


@pytest.mark.threat("T20")
async def test_a_list_that_a_failover_made_shorter_is_read_again(bus: RedisBus, monkeypatch: pytest.MonkeyPatch):
    """A reader ahead of its stream would wait for ever: entries with lower ids never come to it."""
    monkeypatch.setattr(module, "REREAD_S", 0.2)
    ahead = f"{SystemClock().now_ms() + 1_000_000}-0"
    fields: Fields = {"kind": "sub", "value": "lost", "for": "60"}
    await bus._client.xadd(redis_keys.REVOCATIONS, fields, id=ahead)
    async with following(bus) as gateway:
        await bus._client.delete(redis_keys.REVOCATIONS)
        await note_revocation(bus, Kind.SUB, "ann", HOUR)
        await eventually(lambda: gateway.all.refuses(identity()), "it is found")
        assert gateway.all.refuses(identity("lost"))


@pytest.mark.threat("T1", "T20")
async def test_entries_that_are_none_are_counted_and_passed_over(bus: RedisBus):
    bad: list[Fields] = [
        {"x": "y"},
        {"kind": "sub", "value": "ann"},
        {"kind": "role", "value": "ann", "for": "60"},
        {"kind": "sub", "value": "", "for": "60"},
        {"kind": "sub", "value": "a" * 2000, "for": "60"},
        {"kind": "sub", "value": b"\xff", "for": "60"},
        {"kind": b"\xff", "value": "ann", "for": "60"},
        {"kind": "sub", "value": "ann", "for": "-1"},
        {"kind": "sub", "value": "ann", "for": "1e3"},
        {"kind": "sub", "value": "ann", "for": "9" * 5000},
        {"kind": "sub", "value": "ann", "for": "999999"},
        {"kind": "sub", "value": "ann", "for": "\u0663"},
    ]
    async with following(bus) as gateway:
        for fields in bad:
            await bus._client.xadd(redis_keys.REVOCATIONS, fields)
        await note_revocation(bus, Kind.SUB, "bob", HOUR)
        await eventually(lambda: gateway.all.refuses(identity("bob")), "the good one")
        assert not gateway.all.refuses(identity())
        assert gateway.metric("tickwire_revocations_rejected_total") >= len(bad)


@pytest.mark.threat("T20")
async def test_no_flood_of_revocations_grows_without_bound_and_the_oldest_give_way(
    bus: RedisBus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(module, "MAX_REVOCATIONS", 100)
    async with following(bus) as gateway:
        await note_revocation(bus, Kind.SUB, "first", HOUR)
        await eventually(lambda: gateway.told, "it follows the list")
        for first in range(0, 1000, 250):
            fields = [{"kind": "sub", "value": f"u{number}", "for": "3600"} for number in range(first, first + 250)]
            await bus.append(redis_keys.REVOCATIONS, fields, 10_000)
        await eventually(lambda: gateway.all.refuses(identity("u999")), "the last one")
        for _ in range(2):
            assert gateway.metric("tickwire_revocations") == 100
            assert not gateway.all.refuses(identity("u0"))
            assert all(gateway.all.refuses(identity(f"u{number}")) for number in range(900, 1000))
            await gateway.all._read_all()
        assert gateway.metric("tickwire_revocations_dropped_total") >= 901
    said = capsys.readouterr().out
    assert said.count("revocations_dropped") == 1
    assert len(said.splitlines()) < 20, "a line for each of them"
    listed = await read_revocations(bus)
    assert (len(listed.words), listed.dropped) == (100, 901)


async def test_a_full_list_refuses_instead_of_losing_one(bus: RedisBus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_REVOCATIONS", 3)
    noted = [await note_revocation(bus, Kind.JTI, f"t{number}", HOUR) for number in range(5)]
    assert [entry is None for entry in noted] == [False, False, False, True, True]


async def test_the_list_forgets_what_is_older_than_any_revocation(bus: RedisBus):
    old = f"{SystemClock().now_ms() - (module.LONGEST_S + 60) * 1000}-0"
    await bus._client.xadd(redis_keys.REVOCATIONS, {"kind": "sub", "value": "old", "for": "60"}, id=old)
    await note_revocation(bus, Kind.SUB, "ann", HOUR)
    assert list((await read_revocations(bus)).words) == [(Kind.SUB, "ann")]


async def test_asking_costs_the_same_however_many_are_revoked(bus: RedisBus):
    gateway = Followed(bus, SystemClock())
    for number in range(50_000):
        word = Revocation(Kind.SUB, f"u{number}", "1-0", 2**60)
        gateway.all._words[word.kind, word.value] = word
    began = time.perf_counter()
    for _ in range(10_000):
        gateway.all.refuses(identity("nobody", token="none"))
    assert time.perf_counter() - began < 2
