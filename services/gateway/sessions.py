"""What clients that come back are restored from: kept in Redis, written as it changes, so that no gateway has to live.

A change is written before the client hears of it: its outbox is held until Redis has it, so whatever a client was told
survives a gateway that is killed in the next moment. Redis is not waited for longer than `HOLD_S`, and not at all while
it is known to be away. Each session has one owner, the connection that wrote it first or came back last; what a former
owner writes is refused, which tells it that its client has moved on.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from services.gateway.cursor import id_of
from services.gateway.outbox import Outbox
from services.gateway.pace import NO_RECORD
from services.gateway.subscriptions import Subscriptions
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.identity import Identity
from shared.intervals import INTERVALS
from shared.log import get_logger
from shared.messages import VERSION, DecodeError, SavedSession, decode_session, encode
from shared.names import events, redis_keys
from shared.names.close_reasons import MOVED
from shared.symbols import is_symbol
from shared.tasks import TaskGroup

log = get_logger(__name__)

TOUCH_S: Final = 30.0
"""A session's life is prolonged so often."""

HOLD_S: Final = 0.25
BATCH: Final = 500
TICK_S: Final = 1.0
PID_BYTES: Final = 18
_PID_LENGTH: Final = len(secrets.token_urlsafe(PID_BYTES))


class Session:
    """One client that can come back.

    Attributes:
        pid: the client's secret; never logged, never shown to another.
        sid: its Socket.IO id.
        owner: which connection has it.
        subscriptions: what it is subscribed to.
        identity: whom it speaks for.
        user_since: position in the user's log behind which its notifications begin.
        saved: what Redis was last asked to keep.
        pending: whether it has not said yet that it does.
        is_open: whether its connection lives.
        touches: how often its life was prolonged.
    """

    __slots__ = (
        "identity",
        "is_open",
        "owner",
        "pending",
        "pid",
        "saved",
        "sid",
        "subscriptions",
        "touches",
        "user_since",
    )

    def __init__(self, pid: str, sid: str, owner: str, subscriptions: Subscriptions) -> None:
        self.pid = pid
        self.sid = sid
        self.owner = owner
        self.subscriptions = subscriptions
        self.identity: Identity | None = None
        self.user_since = 0
        self.saved = b""
        self.pending = False
        self.is_open = True
        self.touches = 0

    @property
    def outbox(self) -> Outbox:
        """The client's."""
        return self.subscriptions.outbox

    @property
    def user(self) -> str | None:
        """`sub` of its token."""
        return None if self.identity is None else self.identity.user_id

    def record(self) -> SavedSession:
        """What it is restored from."""
        subscriptions = self.subscriptions
        pace = NO_RECORD if self.outbox.pace is None else self.outbox.pace.record()
        return SavedSession(
            VERSION,
            self.sid,
            self.user,
            id_of(self.user_since),
            {symbol: (item.as_batch, item.interval_ms) for symbol, item in subscriptions.prices().items()},
            {symbol: id_of(position) for symbol, position in subscriptions.trades().items()},
            list(subscriptions.charts()),
            events.ADMIN_ROOM in self.outbox.rooms,
            pace.level,
            list(pace.closes),
        )


class Sessions:
    """The sessions of a gateway's clients.

    Args:
        bus: keeps them.
        instance: this gateway.
        lifetime_s: how long a client may be away.
        resume: called with an outbox that may write again.
        beat: called every second touch of a session, about once a minute.

    Attributes:
        rejected: what stood in Redis and was no session.
    """

    def __init__(
        self,
        bus: RedisBus,
        instance: str,
        lifetime_s: float,
        resume: Callable[[Outbox], None],
        beat: Callable[[Session], None],
    ) -> None:
        self._bus = bus
        self._instance = instance
        self._lifetime_ms = int((lifetime_s + 2 * TOUCH_S) * 1000)  # one touch may fail
        self._resume = resume
        self._beat = beat
        self._open: dict[str, Session] = {}
        self._touch_due: deque[tuple[float, str, str]] = (
            deque()
        )  # when, pid, owner: sessions that end are let go at once
        self._unsaved: dict[Session, bytes] = {}
        self._changed = asyncio.Event()
        self._away = False
        self._connections = 0
        self.rejected = 0

    def __len__(self) -> int:
        return len(self._open)

    def is_here(self, pid: str) -> bool:
        """Whether this client is connected to this gateway."""
        return pid in self._open

    def begin(self, sid: str, subscriptions: Subscriptions) -> Session:
        """A new client has come."""
        session = Session(secrets.token_urlsafe(PID_BYTES), sid, self.next_owner(), subscriptions)
        self._admit(session)
        self.save(session)
        return session

    def resume(self, pid: str, sid: str, owner: str, subscriptions: Subscriptions) -> Session:
        """One that was taken has been restored."""
        session = Session(pid, sid, owner, subscriptions)
        self._admit(session)
        return session

    def next_owner(self) -> str:
        """Names one more connection of this gateway."""
        self._connections += 1
        return f"{self._instance}:{self._connections}"

    def hold(self, session: Session) -> None:
        """Its client is about to be told of a change: let it hear nothing before `save` has been done."""
        if not self._away:
            session.outbox.hold()

    def save(self, session: Session) -> None:
        """Write a session, if it has changed."""
        record = encode(session.record())
        if record == session.saved or not session.is_open:
            if not session.pending:
                self._release(session)
            return
        session.saved = record
        session.pending = True
        self._unsaved[session] = record
        self._changed.set()
        asyncio.get_running_loop().call_later(HOLD_S, self._release_late, session, record)

    def end(self, session: Session, *, for_good: bool) -> None:
        """The connection has ended; the session lives on for a while, unless the client left for good."""
        session.is_open = False
        if self._open.get(session.pid) is session:
            del self._open[session.pid]
        if for_good:
            self._unsaved[session] = b""
            self._changed.set()
        elif self._away:
            self._unsaved.pop(session, None)  # nobody would bound how many wait

    def forget(self, session: Session) -> None:
        """A client that stays cannot come back to where it is any more; what it was to hear later it hears now."""
        self.end(session, for_good=True)
        if session.outbox.release():
            self._resume(session.outbox)

    async def take(self, pid: str, owner: str, user: str | None) -> SavedSession | None:
        """Become the owner of a session; None where there is none, or not this user's.

        A connection that still has it here ends.

        Raises:
            BusUnavailableError: Redis is away.
        """
        if len(pid) != _PID_LENGTH:
            return None
        former = self._open.get(pid)
        data = await self._bus.run_script(
            "take_session", [redis_keys.session(pid)], [owner, self._lifetime_ms, user or ""]
        )
        if data is None:
            return None
        if former is not None and former.is_open:
            record = former.record()  # newer than what Redis has, if that is slow
            former.outbox.link.end(MOVED)
            return record
        return self._read(data, user)

    async def run(self) -> None:
        """Write what changes and keep what lives, until cancelled."""
        async with TaskGroup() as tasks:
            tasks.spawn("session-touch", keep_trying("session-touch", self._touch_regularly))
            await keep_trying("session-save", self._save_changes, on_lost=self._give_up_holding)

    def _read(self, data: bytes, user: str | None) -> SavedSession | None:
        try:
            record = decode_session(data)
        except DecodeError as error:
            self._reject(str(error))
            return None
        if record.version != VERSION:
            return None
        if record.user != user or not _is_sound(record):  # Redis compared the user beside the record, not in it
            self._reject("not what a gateway writes")
            return None
        return record

    def _reject(self, reason: str) -> None:
        self.rejected += 1
        log.warning("session_rejected", reason=reason, rejected=self.rejected)

    def _admit(self, session: Session) -> None:
        self._open[session.pid] = session
        self._touch_due.append((asyncio.get_running_loop().time() + TOUCH_S, session.pid, session.owner))

    async def _save_changes(self) -> None:
        while True:
            await self._changed.wait()
            await self._save_batch()

    async def _save_batch(self) -> None:
        batch = [(session, self._unsaved.pop(session)) for session in list(islice(self._unsaved, BATCH))]
        if not self._unsaved:
            self._changed.clear()
        calls: list[tuple[list[str], list[str | bytes | int]]] = [
            ([redis_keys.session(it.pid)], [it.owner, self._lifetime_ms, it.user or "", record]) for it, record in batch
        ]
        try:
            replies = await self._bus.run_scripts("save_session", calls)
        except BusUnavailableError:
            self._keep_unsaved(batch)
            raise
        self._away = False
        for (session, _), stored in zip(batch, replies, strict=True):
            if not stored and session.is_open:
                session.outbox.link.end(MOVED)
            elif session not in self._unsaved:
                session.pending = False
                self._release(session)

    def _keep_unsaved(self, batch: list[tuple[Session, bytes]]) -> None:
        for session, record in batch:
            if session.is_open:
                self._unsaved.setdefault(session, record)
        self._changed.set()

    def _give_up_holding(self) -> None:
        """Redis is away: its clients must not wait for it."""
        self._away = True
        for session in list(self._unsaved):
            self._release(session)

    def _release(self, session: Session) -> None:
        if session.is_open and session.outbox.release():
            self._resume(session.outbox)

    def _release_late(self, session: Session, record: bytes) -> None:
        if session.saved is record:  # else another change holds it by now
            self._release(session)

    async def _touch_regularly(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            now = loop.time()
            touched: list[Session] = []
            while self._touch_due and self._touch_due[0][0] <= now:
                _, pid, owner = self._touch_due.popleft()
                session = self._open.get(pid)
                if session is not None and session.owner == owner:
                    touched.append(session)
                    self._touch_due.append((now + TOUCH_S, pid, owner))
            for session in touched:
                session.touches += 1
                if session.touches % 2 == 0:
                    self._beat(session)
            if touched:
                keys = [redis_keys.session(session.pid) for session in touched]
                for session, kept in zip(touched, await self._bus.expire(keys, self._lifetime_ms), strict=True):
                    if not kept:  # Redis has lost its data
                        session.saved = b""
                        self.save(session)


def _is_sound(record: SavedSession) -> bool:
    """Whether every name in it is one that a client could have subscribed to."""
    symbols = [*record.prices, *record.trades, *(symbol for symbol, _ in record.charts)]
    return all(map(is_symbol, symbols)) and all(interval in INTERVALS for _, interval in record.charts)
