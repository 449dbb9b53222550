"""Coming back, on a real Valkey: exactly the entries that were missed, or the truth about why that cannot be."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest

from services.gateway import recovery as module
from services.gateway.cursor import Cursor, position_of, read_cursor
from services.gateway.recovery import Claim, Gap, GapReason, Missed, Recovery, Restored
from services.gateway.sessions import Sessions
from services.gateway.trade_feed import TradeFeed
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.messages import VERSION, SavedSession, encode
from shared.names import redis_keys
from shared.tasks import TaskGroup
from tests.support.fakes_gateway import SHARDS, GatewayParts, make_trade, read_events
from tests.support.waiting import eventually

A, B = (next(f"{n}-USDT" for n in range(99) if redis_keys.shard_of(f"{n}-USDT", SHARDS) == shard) for shard in (0, 1))
"""Symbols of different logs."""


class KnownSessions:
    """`Sessions` as far as a recovery sees it.

    Attributes:
        record: the one session that there is.
        refusals: how often Redis does not answer before it does.
        asking: how many ask now, and the most that ever did.
    """

    def __init__(self) -> None:
        self.record: SavedSession | None = None
        self.refusals = 0
        self.asking = [0, 0]

    def next_owner(self) -> str:
        return "owner-2"

    async def take(self, _pid: str, _owner: str, _user: str | None) -> SavedSession | None:
        self.asking[0] += 1
        self.asking[1] = max(self.asking)
        await asyncio.sleep(0)
        self.asking[0] -= 1
        if self.refusals:
            self.refusals -= 1
            raise BusUnavailableError("busy")
        return self.record


@dataclass
class Coming:
    """A client that comes back."""

    claim: Claim
    is_open: bool = True
    outcomes: list[Restored | Gap] = field(default_factory=list)
    joined: int = 0

    def join(self, _missed: Missed) -> None:
        self.joined += 1

    def got(self) -> list[tuple[str, ...]]:
        """(id, cursor) of what goes with the reply, then of what was written behind it."""
        link = self.claim.outbox.link
        (outcome,) = self.outcomes
        frames = outcome.frames if isinstance(outcome, Restored) else b""
        written = frames + b"".join(link.written)  # type: ignore[attr-defined]  # it is a FakeLink
        return [(payload["id"], cursor) for _, payload, cursor in read_events(written)]

    def ids(self) -> list[int]:
        return [int(number) for number, *_ in self.got()]


class Running:
    def __init__(self, bus: RedisBus, tasks: TaskGroup, window_bytes: int = 10_000_000) -> None:
        self.bus = bus
        self.parts = GatewayParts(window_bytes=window_bytes)
        self.feed = TradeFeed(bus, "gateway-1", SystemClock(), self.parts.log_fanout, SHARDS)
        self.sessions = KnownSessions()
        self.recovery = Recovery(
            bus, cast("Sessions", self.sessions), self.feed, self.parts.log_fanout, self.parts.flusher, tasks.spawn
        )
        self.tasks = tasks

    async def trades(self, symbol: str, *numbers: int) -> list[str]:
        """Append to the symbol's log; returns the ids of all that is in it."""
        stream = redis_keys.trade_log(redis_keys.shard_of(symbol, SHARDS))
        await self.bus.append(stream, [{"s": symbol, "d": encode(make_trade(n, symbol))} for n in numbers], 100_000)
        return [entry.id for entry in await self.bus.read_back(stream, "+", 100_000)]

    def cursor(self, *ids: str) -> str:
        """Where a client is that was at these entries of the two logs of trades."""
        return str(Cursor([*map(position_of, ids), 0, 0]))

    async def start(self) -> None:
        await self.feed.start()
        self.tasks.spawn("feed", self.feed.run())

    def begin(self, offset: str | None, **joined: str) -> Coming:
        outbox, _ = self.parts.outbox()
        outbox.recovers = True
        if self.sessions.record is None and joined:
            self.sessions.record = SavedSession(
                VERSION, "sid", trades={{"a": A, "b": B}[k]: v for k, v in joined.items()}
            )
        coming = Coming(Claim(outbox, lambda: coming.is_open, "pid", offset, None))
        self.recovery.begin(coming.claim, coming.outcomes.append, coming.join)
        return coming

    async def outcome(self, offset: str | None, **joined: str) -> Coming:
        coming = self.begin(offset, **joined)
        await eventually(lambda: coming.outcomes, "an outcome")
        return coming


@pytest.fixture(name="tasks")
async def task_group() -> AsyncIterator[TaskGroup]:
    async with TaskGroup() as tasks:
        yield tasks


@pytest.fixture(name="running")
async def one_gateway(bus: RedisBus, tasks: TaskGroup) -> Running:
    return Running(bus, tasks)


def restored(coming: Coming) -> Restored:
    (outcome,) = coming.outcomes
    assert isinstance(outcome, Restored), outcome
    return outcome


async def test_it_gets_exactly_what_it_missed_of_several_logs(running: Running) -> None:
    of_a, of_b = await running.trades(A, 1, 2, 3, 4), await running.trades(B, 11, 12, 13)
    await running.start()
    coming = await running.outcome(running.cursor(of_a[1], of_b[0]), a="0-0", b="0-0")
    assert sorted(coming.ids()) == [3, 4, 12, 13]
    outcome = restored(coming)
    assert outcome.cursor == coming.got()[-1][1]
    assert running.recovery.outcomes["recovered"] == 1


async def test_what_it_was_not_in_yet_it_did_not_miss(running: Running) -> None:
    of_a, of_b = await running.trades(A, 1, 2, 3, 4), await running.trades(B, 11, 12)
    await running.start()
    coming = await running.outcome(running.cursor(of_a[0], of_b[0]), a=of_a[2])
    assert coming.ids() == [4]


async def test_who_missed_nothing_gets_nothing(running: Running) -> None:
    of_a = await running.trades(A, 1, 2)
    await running.start()
    coming = await running.outcome(running.cursor(of_a[-1], "0-0"), a=of_a[0])
    assert coming.ids() == []
    assert restored(coming).since_ms == int(of_a[-1].partition("-")[0])


async def test_what_memory_has_forgotten_is_read_from_redis(
    bus: RedisBus, tasks: TaskGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_COUNT", 7)
    running = Running(bus, tasks, window_bytes=5_000)
    of_a = await running.trades(A, *range(100))
    of_b = await running.trades(B, *range(100, 150))
    await running.start()
    assert len(running.parts.log_fanout.window) < 20
    coming = await running.outcome(running.cursor(of_a[9], of_b[4]), a="0-0", b=of_b[19])
    await eventually(lambda: coming.joined, "nothing is missing")
    found = coming.ids()
    assert [number for number in found if number < 100] == list(range(10, 100))
    assert [number for number in found if number >= 100] == list(range(120, 150))


async def test_a_cursor_never_goes_back_whatever_this_gateway_read_first(running: Running) -> None:
    of_a = await running.trades(A, *range(50))
    of_b = await running.trades(B, *range(100, 110))
    await running.start()  # it reads all of one log, then the other; its client's gateway had read them side by side
    at = running.cursor(of_a[9], of_b[-1])
    coming = await running.outcome(at, a="0-0", b="0-0")
    assert coming.ids() == list(range(10, 50))
    before = read_cursor(at, 2 * SHARDS) or []
    for _, text in coming.got():
        positions = read_cursor(text, 2 * SHARDS) or []
        assert all(new >= old for new, old in zip(positions, before, strict=True)), "it would be given that again"
        before = positions


async def test_what_does_not_fit_before_the_reply_follows_until_nothing_is_missing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 1_000)
    of_a = await running.trades(A, *range(50))
    of_b = await running.trades(B, *range(100, 110))
    await running.start()
    coming = await running.outcome(running.cursor(of_a[0], of_b[-1]), a="0-0", b="0-0")
    outcome = restored(coming)
    assert 0 < len(outcome.frames) < 1_500
    await eventually(lambda: coming.joined, "nothing is missing")
    assert coming.ids() == list(range(1, 50)), "nothing of the other log, of which it has all"
    assert coming.joined == 1


async def test_a_client_that_is_ahead_of_this_gateway_waits_for_it(running: Running) -> None:
    await running.trades(A, 1, 2)
    await running.feed.start()  # and it does not go on yet
    of_a = await running.trades(A, 3, 4)
    coming = running.begin(running.cursor(of_a[2], "0-0"), a="0-0")
    await asyncio.sleep(10 * module.LOOK_S)
    assert coming.outcomes == []
    running.tasks.spawn("feed", running.feed.run())
    await eventually(lambda: coming.outcomes, "an outcome")
    assert coming.ids() in ([], [4])
    delivered = [*coming.ids(), 4][:1]
    assert delivered == [4]


async def test_a_cursor_that_no_log_reaches_is_lost_history(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    of_a = await running.trades(A, 1)
    await running.start()
    ahead = f"{int(of_a[0].partition('-')[0]) + 1000}-0"
    coming = await running.outcome(running.cursor(ahead, "0-0"), a="0-0")
    assert coming.outcomes == [Gap(GapReason.HISTORY_LOST, int(ahead.partition("-")[0]))]


async def test_what_the_log_no_longer_holds_is_said(running: Running, bus: RedisBus) -> None:
    of_a = await running.trades(A, 1, 2, 3, 4)
    await bus._client.xtrim(redis_keys.trade_log(0), maxlen=2, approximate=False)
    await running.start()
    coming = await running.outcome(running.cursor(of_a[0], "0-0"), a="0-0")
    assert coming.outcomes == [Gap(GapReason.TRIMMED, int(of_a[0].partition("-")[0]))]
    assert coming.claim.outbox.link.written == []  # type: ignore[attr-defined]  # it is a FakeLink
    assert running.recovery.outcomes[GapReason.TRIMMED] == 1


async def test_who_has_no_session_begins_anew(running: Running) -> None:
    await running.start()
    coming = await running.outcome(running.cursor("5-0", "0-0"))
    assert coming.outcomes == [Gap(GapReason.EXPIRED, 5)]


@pytest.mark.parametrize("offset", [None, "", "junk", "A" * 5000, str(Cursor([0])), str(Cursor([0] * 6))])
async def test_who_brings_no_cursor_of_this_cluster_begins_anew(running: Running, offset: str | None) -> None:
    coming = await running.outcome(offset, a="0-0")
    assert coming.outcomes == [Gap(GapReason.NO_CURSOR)]


async def test_a_redis_that_is_out_of_breath_for_a_moment_costs_nobody_its_place(running: Running) -> None:
    of_a = await running.trades(A, 1, 2, 3)
    await running.start()
    running.sessions.refusals = 3
    coming = await running.outcome(running.cursor(of_a[0], "0-0"), a="0-0")
    assert coming.ids() == [2, 3]


async def test_a_redis_that_does_not_answer_is_not_waited_for_without_end(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    await running.start()
    running.sessions.refusals = 1_000_000
    coming = await running.outcome(running.cursor("5-0", "0-0"), a="0-0")
    assert coming.outcomes == [Gap(GapReason.UNAVAILABLE, 5)]


async def test_a_crowd_asks_for_its_sessions_a_few_at_a_time(running: Running) -> None:
    of_a = await running.trades(A, 1, 2)
    await running.start()
    crowd = [running.begin(running.cursor(of_a[0], "0-0"), a="0-0") for _ in range(100)]
    await eventually(lambda: all(coming.outcomes for coming in crowd), "all have come back")
    assert [coming.ids() for coming in crowd] == [[2]] * 100
    assert running.sessions.asking == [0, module.MAX_TAKING]


async def test_without_redis_it_begins_anew_where_redis_is_needed(tasks: TaskGroup) -> None:
    bus = RedisBus("redis://127.0.0.1:1", "nobody")
    running = Running(bus, tasks)
    running.parts.log_fanout.window.begin([9, 9, 9, 9])
    for number in range(2 * SHARDS):
        running.feed._cursor.move(number, 9)
    coming = await running.outcome(running.cursor("0-1", "0-1"), a="0-0")
    assert coming.outcomes == [Gap(GapReason.UNAVAILABLE, 0)]
    await bus.close()


async def test_a_slow_socket_gets_a_long_replay_piece_by_piece(
    bus: RedisBus, tasks: TaskGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_COUNT", 10)
    running = Running(bus, tasks, window_bytes=2_000)
    of_a = await running.trades(A, *range(60))
    await running.start()
    coming = running.begin(running.cursor(of_a[0], "0-0"), a="0-0")
    outbox = coming.claim.outbox
    outbox.link.full_after = 1  # type: ignore[attr-defined]  # it is a FakeLink
    await eventually(lambda: outbox.behind, "the socket is full")
    written = len(outbox.link.written)  # type: ignore[attr-defined]
    await asyncio.sleep(0.05)
    assert (len(outbox.link.written), coming.joined) == (written, 0)  # type: ignore[attr-defined]
    outbox.link.writable, outbox.link.full_after = True, 10_000  # type: ignore[attr-defined, misc]
    assert outbox.resume()
    running.recovery.drained(outbox)
    await eventually(lambda: coming.joined, "nothing is missing")
    assert coming.ids() == list(range(1, 60))


async def test_who_is_gone_midway_is_let_go(bus: RedisBus, tasks: TaskGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_COUNT", 10)
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    running = Running(bus, tasks, window_bytes=2_000)
    of_a = await running.trades(A, *range(60))
    await running.start()
    coming = running.begin(running.cursor(of_a[0], "0-0"), a="0-0")
    outbox = coming.claim.outbox
    outbox.link.full_after = 1  # type: ignore[attr-defined]  # it is a FakeLink
    await eventually(lambda: outbox.behind, "the socket is full")
    coming.is_open = False
    outbox.drop()
    await eventually(lambda: not running.recovery._drained, "nobody waits for it")
    other = await running.outcome(running.cursor(of_a[58], "0-0"))
    assert other.ids() == [59]
    assert (coming.joined, other.joined) == (0, 1)


async def test_who_would_need_too_much_at_once_comes_again_for_the_rest(
    bus: RedisBus, tasks: TaskGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_COUNT", 10)
    monkeypatch.setattr(module, "MAX_SCANNED", 30)
    running = Running(bus, tasks, window_bytes=2_000)
    of_a = await running.trades(A, *range(100))
    await running.start()
    coming = await running.outcome(running.cursor(of_a[0], "0-0"), a="0-0")
    link = coming.claim.outbox.link
    await eventually(lambda: link.endings, "it is let go")  # type: ignore[attr-defined]
    assert coming.joined == 0
    found = coming.ids()
    assert found == list(range(1, 1 + len(found)))
    running.sessions.record = None
    again = await running.outcome(coming.got()[-1][1], a="0-0")
    assert again.ids()[0] == len(found) + 1
