"""The trade logs from Redis, read by position: nothing is lost while a log holds it.

All shards of trades and of users are read from a few minutes before the gateway started, so that clients of another
one can come back to it at once; after any fault reading goes on where it was. Feeds `LogFanout`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from services.gateway.cursor import BEGINNING, Cursor, id_of, position_of
from services.gateway.log_fanout import LogFanout
from services.gateway.log_window import LogEntry
from services.gateway.outbox import NOT_BEHIND, Outbox
from shared.bus.entries import StreamEnds, StreamEntry
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import LONGEST_BLOCK_MS, RedisBus
from shared.bus.retrying import keep_trying
from shared.clock import Clock
from shared.log import get_logger
from shared.log_readers import TELL_S, LogReaders
from shared.messages import MAX_BUS_ITEM, DecodeError, decode_trade
from shared.names import events, redis_keys
from shared.symbols import is_symbol
from shared.tasks import TaskGroup

log = get_logger(__name__)

READ_COUNT: Final = 250
"""Entries of one shard in one turn: what one client gets of them in one write stays small."""

FIRST_READ_COUNT: Final = 2_000
"""The same before there are clients."""

LOOK_BACK_MS: Final = 240_000
"""History that a gateway begins with: the window in which clients come back, and how old a cursor may be then."""

FORK_LOOK_BACK: Final = 2_000
"""Entries in which the common past of two histories is looked for."""


MAX_SUBJECT: Final = 1024
"""Characters of a user's name."""

_Identity = tuple[str, str | None, str]
"""Room, venue and id: what the trade-notifier knows a trade by."""


class TradeFeed:
    """One gateway's position in the logs.

    Args:
        bus: where the logs are.
        instance: of the gateway; who trims the logs waits for it.
        clock: for how far to look back.
        fanout: is fed.
        shards: logs of trades; there are as many of users.

    Attributes:
        logs: their names; a log's number is its place here.
        forks: how often a log had lost entries that had been read.
        observe_age: gets the seconds that the oldest entry of each read was on its way to the clients of now.
    """

    def __init__(self, bus: RedisBus, instance: str, clock: Clock, fanout: LogFanout, shards: int) -> None:
        self._bus = bus
        self._readers = LogReaders(bus, instance)
        self._clock = clock
        self._fanout = fanout
        self._shards = shards
        self.logs = [redis_keys.trade_log(n) for n in range(shards)] + [redis_keys.user_log(n) for n in range(shards)]
        self._number = {name: number for number, name in enumerate(self.logs)}
        self._forgotten: list[set[_Identity]] = [set() for _ in self.logs]
        self._cursor = Cursor([BEGINNING] * len(self.logs))
        self.forks = 0
        self.observe_age: Callable[[float], None] = lambda _seconds: None

    @property
    def cursor(self) -> str:
        """Where a client is that has got everything up to now."""
        return str(self._cursor)

    @property
    def positions(self) -> Sequence[int]:
        """The same, by log."""
        return self._cursor.positions

    def reached(self, number: int, room: str, log_position: int) -> int:
        """Where a live member of a room is in its log, which it owes from an index on; see `Outbox.log_position`."""
        if log_position == NOT_BEHIND:
            return self._cursor.positions[number]
        owed = next(self._fanout.window.since(log_position, [room]), None)
        return self._cursor.positions[number] if owed is None else owed.position - 1

    def join(self, room: str, member: Outbox) -> None:
        """Have a client get the entries of a room from here on."""
        self._fanout.join(room, member)

    def trades_log(self, symbol: str) -> int:
        """The number of the log that holds a symbol's trades."""
        return redis_keys.shard_of(symbol, self._shards)

    def user_log(self, user_id: str) -> int:
        """The number of the log that holds a user's notifications."""
        return self._shards + redis_keys.shard_of(user_id, self._shards)

    async def start(self) -> None:
        """Read the last minutes of all logs: from here on nothing is missed.

        Raises:
            BusUnavailableError: Redis is away.
        """
        earliest = (self._clock.now_ms() - LOOK_BACK_MS) << 64
        all_ends = await self._bus.stream_ends(self.logs)
        for number, name in enumerate(self.logs):
            self._cursor.move(number, _begin_at(all_ends[name], earliest))
        self._fanout.window.begin(self._cursor.positions)
        for group in self._bus.slot_groups(self.logs):
            while await self._read(group, FIRST_READ_COUNT, block_ms=0):
                pass

    async def run(self) -> None:
        """Work until cancelled."""
        async with TaskGroup() as tasks:
            for group in self._bus.slot_groups(self.logs):
                tasks.spawn(f"trade-feed-{group[0]}", self._follow(group))
            await keep_trying("trade-feed-tell", self._tell_regularly)

    async def leave(self) -> None:
        """Read no more: nobody is to wait for it."""
        try:
            await self._readers.leave(self.logs)
        except BusUnavailableError as error:
            log.info("log_readers_left_to_expire", error=error)

    async def _tell_regularly(self) -> None:
        while True:
            await self._readers.tell(dict(zip(self.logs, map(id_of, self._cursor.positions), strict=True)))
            await asyncio.sleep(TELL_S)

    async def _follow(self, group: Sequence[str]) -> None:
        async def read_on() -> None:
            await self._notice_forks(group)
            while True:
                await self._read(group, READ_COUNT, block_ms=LONGEST_BLOCK_MS)

        await keep_trying("trade-feed", read_on)

    async def _read(self, group: Sequence[str], count: int, *, block_ms: int) -> int:
        """Take what comes next of some logs; returns how many entries that were."""
        positions = {name: id_of(self._cursor.positions[self._number[name]]) for name in group}
        taken = 0
        replies = await self._bus.read(positions, count, block_ms)
        for name, entries in replies.items():
            number = self._number[name]
            for entry in entries:
                self._take(number, entry)
            taken += len(entries)
        if block_ms and taken:  # not what is read before there are clients
            oldest = min(position_of(entries[0].id) >> 64 for entries in replies.values())
            self.observe_age(max(0, self._clock.now_ms() - oldest) / 1000)
        return taken

    def read_entry(self, number: int, item: StreamEntry) -> LogEntry | None:
        """An entry of a log, without a cursor; None for one that cannot be read, which is counted."""
        try:
            data = item.fields[b"d"]
            subject = item.fields[b"s" if number < self._shards else b"u"].decode()
            _check_entry(number < self._shards, subject, data)
        except (KeyError, ValueError) as error:  # a subject that is no text is a ValueError too
            self._fanout.reject(item.id, error)
            return None
        room = events.trades_room(subject) if number < self._shards else events.user_room(subject)
        return LogEntry(number, position_of(item.id), room, subject, data)

    def _take(self, number: int, item: StreamEntry) -> None:
        entry = self.read_entry(number, item)
        self._cursor.move(number, position_of(item.id))
        if entry is None:
            return
        forgotten = self._forgotten[number]
        if forgotten and (known := _identity(entry)) in forgotten:
            forgotten.discard(known)  # appended again by who could not know that it had been there
            return
        entry.cursor = str(self._cursor)
        self._fanout.deliver(entry)

    # Histories that differ

    async def _notice_forks(self, group: Sequence[str]) -> None:
        """Find logs that have lost entries which we had read: a replica that did not have them was promoted.

        A log is replicated in its order, so where our last entry still stands nothing before it is missing (and an id
        alone does not tell: new entries of another history may have higher ones). Where it does not, reading goes on
        behind the last entry that both histories have.
        """
        all_ends = await self._bus.stream_ends(group)
        for name in group:
            number = self._number[name]
            position = self._cursor.positions[number]
            if not self._is_real(number, position):
                continue
            last = position_of(all_ends[name].last)
            if last >= position:
                newest = await self._bus.read_back(name, id_of(position), 1)
                if not newest or position_of(newest[-1].id) == position:
                    continue  # the same history, or one whose past has been trimmed
            await self._join_history(name, number)

    def _is_real(self, number: int, position: int) -> bool:
        """Whether the position is that of an entry, not of a moment."""
        newest = next(self._fanout.window.of_log(number), None)
        return newest is not None and newest.position == position

    async def _join_history(self, name: str, number: int) -> None:
        """Go on behind the last common entry; what was lost and comes again has been delivered."""
        position = self._cursor.positions[number]
        found = {position_of(entry.id) for entry in await self._bus.read_back(name, id_of(position), FORK_LOOK_BACK)}
        lost: set[_Identity] = set()
        for entry in self._fanout.window.of_log(number):
            if entry.position in found:
                common = entry.position
                break
            lost.add(_identity(entry))
        else:  # none of what we know is left; only what is older than all that has been delivered
            floor = self._fanout.window.floors[number]
            common = max((at for at in found if at <= floor), default=BEGINNING)
        self.forks += 1
        log.error("log_lost_history", log=name, position=id_of(position), last_common=id_of(common), entries=len(lost))
        self._forgotten[number] = lost
        self._cursor.move(number, common)
        self._fanout.window.begin(self._cursor.positions)


def _check_entry(is_public: bool, subject: str, data: bytes) -> None:  # noqa: FBT001 - which kind of log
    """Refuse what would not be delivered as what it says, before it is kept.

    Raises:
        ValueError: with what is wrong.
    """
    if len(data) > MAX_BUS_ITEM:
        raise ValueError(f"{len(data)} bytes, more than {MAX_BUS_ITEM}")
    if not (is_symbol(subject) if is_public else 0 < len(subject) <= MAX_SUBJECT):
        raise ValueError("no subject")


def _identity(entry: LogEntry) -> _Identity:
    """What makes an entry the same when it is appended again; an upstream that repeats it may give it another time."""
    try:
        trade = decode_trade(entry.data)
    except DecodeError:
        return entry.room, None, entry.data.hex()
    return entry.room, trade.venue, trade.id


def _begin_at(ends: StreamEnds, earliest: int) -> int:
    """Where to begin in a log: at a moment, at the end of a log that ended before, or before what was trimmed away."""
    last = position_of(ends.last)
    if last <= earliest:
        return last
    if ends.first is None:
        return last
    return max(earliest, position_of(ends.first) - 1) if ends.trimmed else earliest
