"""Trades for clients whose token has a `delay_s`: read from the logs once they are old enough.

A reader is one position in one log for one delay, whoever wants trades from there; nothing is kept in memory. It reads
the entries whose id, the log's own clock, is at least `delay_s` ago, so a fault of Redis or of the network costs
nothing: reading goes on where it was. Feeds rooms of its own, which no live trade ever enters.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from services.gateway.cursor import id_of, position_of
from services.gateway.hub import Hub, Room
from services.gateway.log_fanout import LogFanout
from services.gateway.log_window import LogEntry
from services.gateway.outbox import Outbox
from services.gateway.subscriptions import Subscriptions
from services.gateway.trade_feed import TradeFeed
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.clock import Clock
from shared.log import get_logger
from shared.names import events
from shared.names.close_reasons import FELL_BEHIND
from shared.names.events import ServerEvent

log = get_logger(__name__)

TURN_S: Final = 0.25
LOOK_S: Final = 2.0
"""Between looks whether a log was trimmed too early."""

READ_COUNT: Final = 250
_NUMBER_BITS: Final = 64


class _Reader:
    """One delay's position in one log.

    Attributes:
        delay_s, number: which.
        position: all up to here has been delivered.
        symbols: those that somebody wants, and some that nobody wants any more.
    """

    __slots__ = ("delay_s", "number", "position", "symbols")

    def __init__(self, delay_s: int, number: int, position: int) -> None:
        self.delay_s = delay_s
        self.number = number
        self.position = position
        self.symbols: set[str] = set()


class DelayedTrades:
    """All delays of a gateway.

    Args:
        bus: has the logs.
        clock: what ids of entries are compared with.
        hub: has the rooms.
        fanout: writes frames, and has the newest entries.
        feed: knows the logs.
        delivered: events handed to clients by name; added to.

    Attributes:
        gaps: how often a log had lost entries that were not old enough yet.
    """

    def __init__(
        self,
        bus: RedisBus,
        clock: Clock,
        hub: Hub,
        fanout: LogFanout,
        feed: TradeFeed,
        delivered: dict[ServerEvent, int],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._hub = hub
        self._fanout = fanout
        self._feed = feed
        self._delivered = delivered
        self._readers: dict[tuple[int, int], _Reader] = {}
        self._wanted = asyncio.Event()
        self.gaps = 0

    def join(self, subscriptions: Subscriptions, symbol: str, behind: int = 0) -> None:
        """Subscribe trades, those behind a position that the client has reached already."""
        delay_s, number = subscriptions.delay_s, self._feed.trades_log(symbol)
        reader = self._readers.get((delay_s, number))
        if reader is None:
            reader = self._readers[delay_s, number] = _Reader(delay_s, number, self._passed(self._due(delay_s), number))
        reader.symbols.add(symbol)
        subscriptions.trades()[symbol] = max(behind, reader.position)
        self._hub.join(events.delayed_trades_room(delay_s, symbol), subscriptions.outbox)
        self._wanted.set()

    def leave(self, subscriptions: Subscriptions, symbol: str) -> int:
        """Unsubscribe trades: where the client is."""
        delay_s = subscriptions.delay_s
        self._hub.leave(events.delayed_trades_room(delay_s, symbol), subscriptions.outbox)
        reader = self._readers.get((delay_s, self._feed.trades_log(symbol)))
        return max(subscriptions.trades().pop(symbol, 0), 0 if reader is None else reader.position)

    async def run(self) -> None:
        """Work while somebody wants delayed trades, until cancelled."""
        await keep_trying("delayed-trades", self._follow)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        look_at = 0.0
        while True:
            await self._wanted.wait()
            self._forget_unwanted()
            if loop.time() >= look_at:
                await self._look_for_gaps()
                look_at = loop.time() + LOOK_S
            more = [await self._read(reader) for reader in list(self._readers.values())]
            if not any(more):
                await asyncio.sleep(TURN_S)

    def _forget_unwanted(self) -> None:
        for key, reader in list(self._readers.items()):
            reader.symbols = {symbol for symbol in reader.symbols if self._room_of(reader, symbol) is not None}
            if not reader.symbols:
                del self._readers[key]
        if not self._readers:
            self._wanted.clear()

    async def _read(self, reader: _Reader) -> bool:
        """Deliver what is old enough, a page of it; whether there may be more."""
        name, due = self._feed.logs[reader.number], self._due(reader.delay_s)
        if due <= reader.position:  # the clock went back
            return False
        passed = self._passed(due, reader.number)  # now: what comes meanwhile has not been looked for
        page = await self._bus.read_between(name, id_of(reader.position), id_of(due), READ_COUNT)
        for item in page:
            reader.position = position_of(item.id)
            entry = self._feed.read_entry(reader.number, item)
            if entry is not None:
                self._deliver(reader, entry)
        if len(page) == READ_COUNT:
            return True
        reader.position = max(reader.position, passed)
        return False

    def _deliver(self, reader: _Reader, entry: LogEntry) -> None:
        """Send an entry to who wants it; with who is behind it waits, within the bound of what is unsent."""
        room = self._room_of(reader, entry.subject)
        if room is None:
            return
        for parser, members in enumerate(room.members):
            frame = self._fanout.write(entry, parser, None) if members else b""
            if not frame:
                continue
            for member in members:
                if _is_before(member, entry):
                    member.send(frame)
                    self._delivered[ServerEvent.TRADE_NEW] += 1

    async def _look_for_gaps(self) -> None:
        names = {self._feed.logs[reader.number] for reader in self._readers.values()}
        all_ends = await self._bus.stream_ends(sorted(names)) if names else {}
        for reader in self._readers.values():
            ends = all_ends.get(self._feed.logs[reader.number])
            if ends is None or not ends.trimmed:
                continue
            kept_from = position_of(ends.last) + 1 if ends.first is None else position_of(ends.first)
            if self._has_lost(reader, kept_from):
                self._tell_gap(reader, kept_from)
            reader.position = max(reader.position, kept_from - 1)

    def _has_lost(self, reader: _Reader, kept_from: int) -> bool:
        """Whether there was an entry between what was delivered and what is left, or nobody here can say."""
        if kept_from <= reader.position + 1:
            return False
        window = self._fanout.window
        newest = next((it for it in window.of_log(reader.number) if it.position < kept_from), None)
        if newest is not None and newest.position > reader.position:
            return True
        return window.floors[reader.number] > reader.position

    def _tell_gap(self, reader: _Reader, kept_from: int) -> None:
        """Let those who miss something go: they come back, and know from `recovered: false` that they begin anew."""
        self.gaps += 1
        name = self._feed.logs[reader.number]
        log.error("delayed_trades_lost", log=name, position=id_of(reader.position), first=id_of(kept_from))
        for member in self._members(reader):
            member.link.end(FELL_BEHIND)

    def _members(self, reader: _Reader) -> Iterable[Outbox]:
        rooms = [room for symbol in reader.symbols if (room := self._room_of(reader, symbol)) is not None]
        return {member for room in rooms for members in room.members for member in members}

    def _room_of(self, reader: _Reader, symbol: str) -> Room | None:
        return self._hub.find(events.delayed_trades_room(reader.delay_s, symbol))

    def _passed(self, due: int, number: int) -> int:
        """Up to here nothing is to come: what is old enough, but never beyond an entry that there is."""
        return min(due, self._feed.positions[number])

    def _due(self, delay_s: int) -> int:
        """Up to here entries are old enough: those whose millisecond was over so long ago."""
        return ((self._clock.now_ms() - delay_s * 1000) << _NUMBER_BITS) - 1


def _is_before(member: Outbox, entry: LogEntry) -> bool:
    """Whether a member has not reached an entry yet: it may have had it while it was live."""
    subscriptions = member.member
    return isinstance(subscriptions, Subscriptions) and (
        subscriptions.trades().get(entry.subject, entry.position) < entry.position
    )
