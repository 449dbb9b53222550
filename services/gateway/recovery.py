"""Clients that come back: found again in Redis, and given exactly the log entries that they missed.

Called by `arrivals.py` with what a client brings: `pid` and the newest cursor that it has seen (protocol reference 5).
What it missed comes from memory, and from the logs in Redis where it is no more in memory; each entry carries the
client's own cursor, since this gateway may have read the logs in another order than its former one. When nothing is
missing any more, the client joins its rooms in the same step of the event loop: so there is no gap and no overlap. If
that cannot be had, the outcome is a `Gap`, and the client begins anew, knowing it.

A stock client keeps what comes before the CONNECT reply, also when the connection breaks before that, and would then
have it twice. So that is at most about `CHUNK_BYTES`, in one write with the reply; what is more follows behind it, as
fast as the socket takes it, and rooms are joined at the end of that.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from msgspec import structs

from services.gateway.cursor import Cursor, id_of, ms_of, position_of, read_cursor
from services.gateway.log_fanout import LogFanout
from services.gateway.log_window import LogEntry
from services.gateway.outbox import Flusher, Outbox
from services.gateway.requests import Lost
from services.gateway.sessions import Sessions
from services.gateway.trade_feed import TradeFeed
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.identity import Identity
from shared.log import get_logger
from shared.messages import SavedSession
from shared.names import events
from shared.names.close_reasons import FELL_BEHIND
from shared.names.events import ClientEvent
from shared.rights import Rights

log = get_logger(__name__)

CHUNK_BYTES: Final = 262_144
"""Written at a time: about a thousand trades."""

READ_COUNT: Final = 1_000
MAX_SCANNED: Final = 200_000
"""Entries read from Redis for one client; who would need more begins anew."""

MAX_READING: Final = 4
"""Clients for which Redis is read at a time."""

MAX_TAKING: Final = 16
"""Clients whose sessions are asked for at a time: each takes a connection to Redis, and a crowd would time out."""

PATIENCE_S: Final = 3.0
"""How long a client waits for this gateway to have read what another one had, or for Redis to give its session."""

LOOK_S: Final = 0.005
MAX_CURSOR: Final = 4_096


class GapReason(StrEnum):
    """Why a client that came back begins anew. What `hello` says, and a metric label."""

    NO_CURSOR = "no_cursor"
    EXPIRED = "expired"
    TRIMMED = "trimmed"
    HISTORY_LOST = "history_lost"
    TOO_MUCH = "too_much"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Gap:
    """What cannot be given back: everything since a time in ms, 0 where that is not known."""

    reason: GapReason
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Restored:
    """A client that can go on where it was.

    Attributes:
        saved: what it was subscribed to.
        owner: its connection, as `Sessions.take` was told.
        since_ms: when it was last heard to be here.
        frames: entries that it missed, the first of them.
        cursor: where it is when it has got those.
        missed: what is still to come.
        lost: what its token does not grant any more.
    """

    saved: SavedSession
    owner: str
    since_ms: int
    frames: bytes
    cursor: str
    missed: "Missed"
    lost: Sequence[Lost] = ()


class _GapError(Exception):
    def __init__(self, reason: GapReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Claim:
    """What a client brings.

    Attributes:
        outbox: of its new connection.
        is_open: whether that connection still lives.
        pid: its secret.
        offset: the newest cursor that it has seen, if it has one.
        identity: whom its token proves to be there, if anybody.
    """

    outbox: Outbox
    is_open: Callable[[], bool]
    pid: str
    offset: str | None
    identity: Identity | None

    @property
    def user(self) -> str | None:
        """`sub` of its token."""
        return None if self.identity is None else self.identity.user_id

    def split(self, saved: SavedSession) -> tuple[SavedSession, list[Lost]]:
        """What it is still granted of what it was subscribed to, and the rest."""
        allows = (Rights() if self.identity is None else self.identity.rights).allows
        lost = [
            *(Lost(ClientEvent.SUBSCRIBE_PRICE, symbol) for symbol in saved.prices if not allows(symbol)),
            *(Lost(ClientEvent.SUBSCRIBE_TRADES, symbol) for symbol in saved.trades if not allows(symbol)),
            *(Lost(ClientEvent.SUBSCRIBE_CHART, symbol) for symbol, _ in saved.charts if not allows(symbol)),
        ]
        if not lost:
            return saved, lost
        kept = structs.replace(
            saved,
            prices={symbol: item for symbol, item in saved.prices.items() if allows(symbol)},
            trades={symbol: item for symbol, item in saved.trades.items() if allows(symbol)},
            charts=[chart for chart in saved.charts if allows(chart[0])],
        )
        return kept, lost


@dataclass(slots=True)
class Missed:
    """How far one client is that has not got everything yet.

    Attributes:
        cursor: what it has got, by log.
        behind: room -> position behind which its entries begin.
        logs: room -> its log.
        scanned: entries that were read from Redis for it.
        abandoned: whether it has left meanwhile.
    """

    cursor: Cursor
    behind: dict[str, int] = field(default_factory=dict)
    logs: dict[str, int] = field(default_factory=dict)
    scanned: int = 0
    abandoned: bool = False

    def want(self, room: str, number: int, joined: int) -> None:
        """It is in a room from a position on; harmless when it is in it already."""
        if room not in self.behind:
            self.behind[room] = max(joined, self.cursor.positions[number])
            self.logs[room] = number

    def leave(self, room: str) -> None:
        """It left a room meanwhile."""
        self.behind.pop(room, None)
        self.logs.pop(room, None)

    def take(self, entry: LogEntry) -> bool:
        """It is at an entry; whether it gets that, which then carries its cursor."""
        cursor = self.cursor
        cursor.move(entry.log, max(entry.position, cursor.positions[entry.log]))
        if self.behind.get(entry.room, entry.position) >= entry.position:
            return False
        self.behind[entry.room] = entry.position
        return True

    def reach(self, number: int, position: int) -> None:
        """It has got everything of a log up to here."""
        for room, of in self.logs.items():
            if of == number:
                self.behind[room] = max(position, self.behind[room])

    def lacking(self, floors: list[int]) -> dict[int, int]:
        """Logs of which it lacks what is no more in memory -> position behind which that begins."""
        lowest: dict[int, int] = {}
        for room, number in self.logs.items():
            if self.behind[room] < floors[number]:
                lowest[number] = min(self.behind[room], lowest.get(number, self.behind[room]))
        return lowest


class Recovery:
    """Serves every client of a gateway that comes back.

    Args:
        bus: has the logs.
        sessions: knows the clients.
        feed: says how far this gateway has read.
        fanout: has the newest entries, and writes frames.
        flusher: counts bytes.
        spawn: runs a coroutine as long as the gateway lives.

    Attributes:
        outcomes: how often each was come to; `recovered` beside the reasons of gaps.
    """

    def __init__(
        self,
        bus: RedisBus,
        sessions: Sessions,
        feed: TradeFeed,
        fanout: LogFanout,
        flusher: Flusher,
        spawn: Callable[[str, Coroutine[None, None, None]], object],
    ) -> None:
        self._bus = bus
        self._sessions = sessions
        self._feed = feed
        self._fanout = fanout
        self._window = fanout.window
        self._flusher = flusher
        self._spawn = spawn
        self._reading = asyncio.Semaphore(MAX_READING)
        self._taking = asyncio.Semaphore(MAX_TAKING)
        self._drained: dict[Outbox, asyncio.Event] = {}
        self.outcomes: dict[str, int] = dict.fromkeys(["recovered", *GapReason], 0)

    def begin(
        self,
        claim: Claim,
        enter: Callable[[Restored | Gap], None],
        join: Callable[[Missed], None],
    ) -> None:
        """Recover a client, or find that it cannot be done.

        Unless it goes before, `enter` is called to let it in, and after a `Restored` at last `join`, when it is to join
        the rooms of its log.
        """
        self._spawn("recover", self._recover(claim, enter, join))

    def drained(self, outbox: Outbox) -> None:
        """A client takes more."""
        waiting = self._drained.get(outbox)
        if waiting is not None:
            waiting.set()

    async def _recover(
        self, claim: Claim, enter: Callable[[Restored | Gap], None], join: Callable[[Missed], None]
    ) -> None:
        outcome = await self._attempt(claim)
        if not claim.is_open():
            return
        self.outcomes["recovered" if isinstance(outcome, Restored) else outcome.reason] += 1
        enter(outcome)
        if isinstance(outcome, Restored):
            await self._follow(claim, outcome.missed, join)

    async def _follow(self, claim: Claim, missed: Missed, join: Callable[[Missed], None]) -> None:
        """Send the rest, and have the rooms joined when there is none."""
        try:
            while frames := await self._next_chunk(claim, missed):
                if not claim.is_open() or missed.abandoned:
                    return
                await self._write(claim, frames)
        except (BusUnavailableError, _GapError) as error:  # it comes back, and is told then what it cannot have
            log.warning("recovery_broke_off", error=error)
            claim.outbox.link.end(FELL_BEHIND)
            return
        if claim.is_open() and not missed.abandoned:
            join(missed)

    async def _attempt(self, claim: Claim) -> Restored | Gap:
        offset = claim.offset
        if offset is None or len(offset) > MAX_CURSOR:
            return Gap(GapReason.NO_CURSOR)
        positions = read_cursor(offset, len(self._feed.logs))
        if positions is None:
            return Gap(GapReason.NO_CURSOR)
        since_ms = max(map(ms_of, positions))
        try:
            owner = self._sessions.next_owner()
            saved = await self._take(claim, owner)
            if saved is None:
                return Gap(GapReason.EXPIRED, since_ms)
            saved, lost = claim.split(saved)
            missed = self._missed(saved, Cursor(positions))
            await self._reach(missed)
            frames = await self._next_chunk(claim, missed)
        except _GapError as gap:
            return Gap(gap.reason, since_ms)
        except BusUnavailableError as error:
            log.warning("recovery_failed", error=error)
            return Gap(GapReason.UNAVAILABLE, since_ms)
        return Restored(saved, owner, since_ms, frames, str(missed.cursor), missed, lost)

    async def _take(self, claim: Claim, owner: str) -> SavedSession | None:
        """Become the owner of its session. To ask again is harmless, since the same owner asks.

        Raises:
            BusUnavailableError: Redis did not answer in time: the client cannot be recovered any more.
        """
        loop = asyncio.get_running_loop()
        async with self._taking:
            deadline = loop.time() + PATIENCE_S
            while True:
                try:
                    return await self._sessions.take(claim.pid, owner, claim.user)
                except BusUnavailableError:
                    if loop.time() > deadline or not claim.is_open():
                        raise
                await asyncio.sleep(LOOK_S)

    def _missed(self, saved: SavedSession, cursor: Cursor) -> Missed:
        missed = Missed(cursor)
        for symbol, joined in saved.trades.items():
            missed.want(events.trades_room(symbol), self._feed.trades_log(symbol), position_of(joined))
        if saved.user is not None:
            number = self._feed.user_log(saved.user)
            missed.want(events.user_room(saved.user), number, position_of(saved.user_since))
        return missed

    async def _reach(self, missed: Missed) -> None:
        """Wait until this gateway has read what the former one had: else it would send that once more."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        wanted = [(number, missed.cursor.positions[number]) for number in set(missed.logs.values())]
        while any(self._feed.positions[number] < position for number, position in wanted):
            if loop.time() > deadline:
                raise _GapError(GapReason.HISTORY_LOST)
            await asyncio.sleep(LOOK_S)  # the feed is another task, and it is milliseconds away

    async def _next_chunk(self, claim: Claim, missed: Missed) -> bytes:
        """The next frames; none when nothing is missing in this moment, before anything else is awaited."""
        if missed.lacking(self._window.floors):
            async with self._reading:
                await self._check_kept(missed.lacking(self._window.floors))
                while lacking := missed.lacking(self._window.floors):
                    frames = await self._read_page(claim, missed, *next(iter(lacking.items())))
                    if frames:
                        return frames
        chunk: list[bytes] = []
        size = 0
        for entry in self._window.after(missed.behind):
            if size >= CHUNK_BYTES:
                break
            if missed.take(entry):
                chunk.append(self._fanout.write(entry, claim.outbox.parser, str(missed.cursor)))
                size += len(chunk[-1])
        return b"".join(chunk)

    async def _check_kept(self, lacking: Mapping[int, int]) -> None:
        names = {self._feed.logs[number]: position for number, position in lacking.items()}
        for name, ends in (await self._bus.stream_ends(list(names))).items():
            if ends.trimmed and (ends.first is None or names[name] < position_of(ends.first)):
                raise _GapError(GapReason.TRIMMED)

    async def _read_page(self, claim: Claim, missed: Missed, number: int, position: int) -> bytes:
        name = self._feed.logs[number]
        page = (await self._bus.read({name: id_of(position)}, READ_COUNT, 0)).get(name, [])
        missed.scanned += len(page)
        if missed.scanned > MAX_SCANNED:
            raise _GapError(GapReason.TOO_MUCH)
        chunk: list[bytes] = []
        for item in page:
            entry = self._feed.read_entry(number, item)
            if entry is not None and missed.take(entry):
                chunk.append(self._fanout.write(entry, claim.outbox.parser, str(missed.cursor)))
        missed.reach(number, position_of(page[-1].id) if page else self._window.floors[number])
        return b"".join(chunk)

    async def _write(self, claim: Claim, frames: bytes) -> None:
        """Write frames and wait until the socket takes more."""
        outbox = claim.outbox
        if not claim.is_open():
            return
        outbox.send(frames)
        self._flusher.sent_bytes += outbox.flush()
        while outbox.behind and claim.is_open():
            drained = self._drained[outbox] = asyncio.Event()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await drained.wait()
            except TimeoutError:
                pass  # it may have gone meanwhile: nobody tells us that
            finally:
                del self._drained[outbox]
