"""Sessions in a real Valkey: kept before the client hears, one owner each, nobody waits for a Redis that is away."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.gateway import sessions as module
from services.gateway.outbox import Flusher, Outbox
from services.gateway.sessions import Session, Sessions
from services.gateway.subscriptions import Subscriptions
from shared.bus.redis_bus import RedisBus
from shared.identity import Identity
from shared.messages import VERSION, SavedSession, decode_session, encode
from shared.names import redis_keys
from shared.names.close_reasons import MOVED
from shared.tasks import TaskGroup
from tests.support.fakes_gateway import FakeLink
from tests.support.waiting import eventually

FRAME = b"\x81\x02ok"


class Client:
    """One connection with a session."""

    def __init__(self, running: "Running") -> None:
        self.link = FakeLink()
        self.outbox = Outbox(self.link, running.flusher, 0)
        self.subscriptions = Subscriptions(self.outbox)

    def subscribe(self, running: "Running", session: Session, symbol: str) -> None:
        """What a handler does."""
        running.sessions.hold(session)
        self.subscriptions.trades()[symbol] = 0
        self.outbox.send(FRAME)
        running.sessions.save(session)


class Running:
    def __init__(self, bus: RedisBus, instance: str = "gateway-1", lifetime_s: float = 120) -> None:
        self.bus = bus
        self.flusher = Flusher(asyncio.get_running_loop(), 100_000)
        self.resumed: list[Outbox] = []
        self.beats: list[Session] = []
        self.sessions = Sessions(bus, instance, lifetime_s, self.resumed.append, self.beats.append)

    def begin(self) -> tuple[Client, Session]:
        client = Client(self)
        return client, self.sessions.begin("sid-1", client.subscriptions)

    async def stored(self, pid: str) -> dict[bytes, bytes]:
        return await self.bus.hash_all(redis_keys.session(pid))

    async def record(self, pid: str) -> SavedSession | None:
        data = (await self.stored(pid)).get(b"d")
        return None if data is None else decode_session(data)

    async def until_saved(self, session: Session) -> SavedSession:
        found: Any = await eventually(
            lambda: self.record(session.pid), "the session in Redis", lambda record: record == session.record()
        )
        await eventually(lambda: not session.pending, "its client hears of it")
        return found  # type: ignore[no-any-return]


@pytest.fixture(name="running")
async def one_gateway(bus: RedisBus) -> AsyncIterator[Running]:
    running = Running(bus)
    async with TaskGroup() as tasks:
        tasks.spawn("sessions", running.sessions.run())
        yield running


async def test_what_a_client_is_told_is_in_redis_by_then(running: Running, bus: RedisBus) -> None:
    client, session = running.begin()
    await running.until_saved(session)
    await bus._client.client_pause(100, all=False)  # writes wait, reads do not
    client.subscribe(running, session, "A")
    while not client.link.written:
        before = await running.record(session.pid)
        await asyncio.sleep(0)
        assert before is not None
        written = bool(client.link.written)
    assert written
    record = await running.record(session.pid)
    assert record is not None
    assert list(record.trades) == ["A"]
    assert client.link.written == [FRAME]


async def test_a_client_does_not_wait_longer_than_a_moment_for_redis(running: Running, bus: RedisBus) -> None:
    client, session = running.begin()
    await running.until_saved(session)
    await bus._client.client_pause(1500, all=True)
    began = time.monotonic()
    client.subscribe(running, session, "A")
    await asyncio.sleep(0)
    assert client.link.written == []
    await eventually(lambda: client.link.written, "its answer")
    assert module.HOLD_S - 0.05 <= time.monotonic() - began < 1.4
    record = await running.until_saved(session)
    assert list(record.trades) == ["A"]


async def test_a_second_change_is_not_let_out_by_the_first_one_s_patience(running: Running, bus: RedisBus) -> None:
    client, session = running.begin()
    await running.until_saved(session)
    await bus._client.client_pause(1500, all=True)
    client.subscribe(running, session, "A")
    began = time.monotonic()
    await asyncio.sleep(module.HOLD_S / 2)
    client.subscribe(running, session, "B")
    await eventually(lambda: client.link.written, "its answers")
    assert time.monotonic() - began >= module.HOLD_S * 1.4
    assert b"".join(client.link.written) == FRAME * 2


async def test_nothing_is_held_while_redis_is_known_to_be_away() -> None:
    bus = RedisBus("redis://127.0.0.1:1", "nobody")
    running = Running(bus)
    async with TaskGroup() as tasks:
        tasks.spawn("sessions", running.sessions.run())
        client, session = running.begin()
        await eventually(lambda: running.sessions._away, "the failure")
        client.subscribe(running, session, "A")
        await asyncio.sleep(0)
        assert client.link.written == [FRAME]
        for _ in range(100):
            _, other = running.begin()
            running.sessions.end(other, for_good=False)
        assert len(running.sessions._unsaved) == 1, "who is gone is not kept for a Redis that is away"
    await bus.close()


async def test_a_socket_that_drains_while_it_is_held_goes_on_afterwards(running: Running) -> None:
    client, session = running.begin()
    await running.until_saved(session)
    client.outbox.fall_behind()
    client.subscribe(running, session, "A")
    assert not client.outbox.resume()
    await eventually(lambda: running.resumed, "it goes on")
    assert running.resumed == [client.outbox]


async def test_what_has_not_changed_is_not_written_and_not_waited_for(running: Running) -> None:
    client, session = running.begin()
    client.subscribe(running, session, "A")
    await running.until_saved(session)
    client.link.written.clear()
    client.subscribe(running, session, "A")
    assert client.link.written == [FRAME]
    assert running.sessions._unsaved == {}


async def test_who_has_come_back_elsewhere_is_ended_here(running: Running, redis_url: str) -> None:
    client, session = running.begin()
    await running.until_saved(session)
    other_bus = RedisBus(redis_url, "other")
    other = Running(other_bus, "gateway-2")
    taken = await other.sessions.take(session.pid, other.sessions.next_owner(), None)
    assert taken == session.record()
    client.subscribe(running, session, "A")
    await eventually(lambda: client.link.endings, "the former connection ends")
    assert client.link.endings == [MOVED]
    assert client.link.written == []
    record = await running.record(session.pid)
    assert record is not None
    assert record.trades == {}
    running.sessions.end(session, for_good=True)
    await eventually(lambda: not running.sessions._unsaved, "its last write")
    await bus_round_trip(running)
    assert await running.record(session.pid) == taken, "a former owner takes nothing away"
    await other_bus.close()


async def bus_round_trip(running: Running) -> None:
    """Whatever was written before has been done."""
    _, session = running.begin()
    await running.until_saved(session)


async def test_a_connection_of_the_same_gateway_ends_when_its_session_is_taken(running: Running) -> None:
    client, session = running.begin()
    await running.until_saved(session)
    client.subscriptions.trades()["A"] = 5  # not saved yet
    taken = await running.sessions.take(session.pid, running.sessions.next_owner(), None)
    assert client.link.endings == [MOVED]
    assert taken is not None
    assert list(taken.trades) == ["A"], "what is known here is newer than what Redis has"


async def test_who_stays_and_cannot_come_back_any_more_leaves_nothing_and_hears_at_once(running: Running) -> None:
    client, session = running.begin()
    await eventually(lambda: running.record(session.pid), "the session is kept")
    running.sessions.hold(session)
    client.outbox.send(FRAME)
    running.sessions.forget(session)
    running.sessions.save(session)
    assert client.link.written == [FRAME]
    await eventually(lambda: running.stored(session.pid), "the session is gone", lambda kept: not kept)
    assert len(running.sessions) == 0


async def test_who_leaves_for_good_leaves_nothing(running: Running) -> None:
    _, session = running.begin()
    await running.until_saved(session)
    assert len(running.sessions) == 1
    running.sessions.end(session, for_good=True)
    await eventually(lambda: running.stored(session.pid), "the session is gone", lambda found: not found)
    assert len(running.sessions) == 0
    assert await running.sessions.take(session.pid, "o", None) is None


async def test_who_is_cut_off_can_come_back_for_as_long_as_promised(running: Running, bus: RedisBus) -> None:
    _, session = running.begin()
    await running.until_saved(session)
    running.sessions.end(session, for_good=False)
    assert len(running.sessions) == 0
    left_ms = await bus._client.pttl(redis_keys.session(session.pid))
    assert 150_000 < left_ms <= 180_000
    assert await running.sessions.take(session.pid, "o", None) == session.record()


@pytest.mark.threat("T30")
async def test_sessions_whose_connections_ended_cost_the_gateway_nothing(running: Running) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(it, Session) for it in gc.get_objects())

    before = kept()
    for _ in range(200):
        _, session = running.begin()
        running.sessions.end(session, for_good=False)
    del session
    await eventually(kept, "let go, though they can be taken for minutes", lambda count: count <= before)


@pytest.mark.parametrize(("token_of", "found"), [("alice", True), ("bob", False), (None, False)])
async def test_a_session_is_given_to_its_own_user_alone(
    running: Running,
    token_of: str | None,
    found: bool,  # noqa: FBT001
) -> None:
    client, session = running.begin()
    session.identity = Identity("alice", None, 2**40)
    running.sessions.save(session)
    await running.until_saved(session)
    taken = await running.sessions.take(session.pid, "o", token_of)
    assert (taken is not None) == found
    assert client.link.endings == ([MOVED] if found else [])
    owner = (await running.stored(session.pid))[b"o"]
    assert (owner == b"o") == found


async def test_a_session_without_a_user_is_not_given_to_one(running: Running) -> None:
    _, session = running.begin()
    await running.until_saved(session)
    assert await running.sessions.take(session.pid, "o", "alice") is None


@pytest.mark.parametrize("pid", ["", "x", "y" * 10_000])
async def test_what_is_no_pid_is_not_asked_for(pid: str) -> None:
    never = RedisBus("redis://127.0.0.1:1", "nobody")
    assert await Running(never).sessions.take(pid, "o", None) is None


@pytest.mark.parametrize("data", [b"nonsense", encode(SavedSession(VERSION + 1, "sid"))])
async def test_a_record_of_another_version_is_no_session(running: Running, data: bytes) -> None:
    _, session = running.begin()
    await running.until_saved(session)
    running.sessions.end(session, for_good=False)
    await running.bus.hash_set(redis_keys.session(session.pid), {"d": data})
    assert await running.sessions.take(session.pid, "o", None) is None


@pytest.fixture(name="quick")
def touch_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.02)
    monkeypatch.setattr(module, "TOUCH_S", 0.2)


@pytest.mark.usefixtures("quick")
async def test_a_session_lives_as_long_as_its_connection(bus: RedisBus) -> None:
    running = Running(bus, lifetime_s=1)
    async with TaskGroup() as tasks:
        tasks.spawn("sessions", running.sessions.run())
        _, session = running.begin()
        _, gone = running.begin()
        await running.until_saved(session)
        await running.until_saved(gone)
        running.sessions.end(gone, for_good=False)
        await eventually(lambda: running.stored(gone.pid), "who is gone is forgotten", lambda found: not found)
        assert await running.record(session.pid) == session.record()
        await eventually(lambda: session.touches >= 4, "touches")
        assert running.beats.count(session) >= 2
        assert gone not in running.beats


@pytest.mark.usefixtures("quick")
async def test_what_redis_has_lost_is_written_again(bus: RedisBus) -> None:
    running = Running(bus)
    async with TaskGroup() as tasks:
        tasks.spawn("sessions", running.sessions.run())
        client, session = running.begin()
        client.subscribe(running, session, "A")
        await running.until_saved(session)
        await bus._client.flushall()
        await eventually(lambda: running.stored(session.pid), "the session")
        assert await running.record(session.pid) == session.record()
        assert client.link.endings == []


async def test_changes_go_on_after_redis_has_forgotten_the_scripts(running: Running, bus: RedisBus) -> None:
    client, session = running.begin()
    await running.until_saved(session)
    await bus._client.script_flush()
    client.subscribe(running, session, "A")
    assert list((await running.until_saved(session)).trades) == ["A"]


@pytest.mark.parametrize(
    "forged",
    [
        SavedSession(VERSION, "sid", "victim"),
        SavedSession(VERSION, "sid", "alice", trades={"A\n": "0-0"}),
        SavedSession(VERSION, "sid", "alice", prices={"{}": (True, 100)}),
        SavedSession(VERSION, "sid", "alice", charts=[("A", "7w")]),
    ],
)
async def test_a_record_that_no_gateway_writes_is_no_session(running: Running, forged: SavedSession) -> None:
    pid = "p" * 24
    await running.bus.hash_set(redis_keys.session(pid), {"o": b"x", "u": b"alice", "d": encode(forged)})
    assert await running.sessions.take(pid, "me:1", "alice") is None
    assert running.sessions.rejected == 1
