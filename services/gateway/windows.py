"""Prices at a slower pace: `price:batch`, and updates for clients that asked for a lower rate.

A window collects which symbols changed and on which `seq` the first change built; at its end every member gets the
newest price of its own symbols that changed. Windows are few (a ladder of intervals, batch or update), whatever clients
ask for, so each update costs the same however many clients there are. Members take turns within a window (`phases.py`),
so that ten thousand are not all served at its end.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from services.gateway.batches import BatchWriter, Row
from services.gateway.encoding import Encoded
from services.gateway.fanout import Fanout, owe
from services.gateway.hub import Room
from services.gateway.market import UNKNOWN, Change, Market
from services.gateway.outbox import Flusher, Outbox
from services.gateway.phases import Crowd, CrowdPhase, Group, GroupPhase, Phase, Symbols, Window
from shared.clock import Clock
from shared.names.events import ServerEvent

LADDER: Final = (1, 2, 5, 10, 20, 50, 100)
"""Intervals, in multiples of the batch window."""


class Windows:
    """All windows and their one timer.

    Args:
        batch_ms: the batch window, of which all others are multiples.
        writers: of batches, by the index of their parser.
        phases: turns in a batch window.

    Attributes:
        everyone: gets every change of the market as one shared batch; `crowd` has those that get it less often.
    """

    def __init__(
        self,
        batch_ms: int,
        market: Market,
        fanout: Fanout,
        writers: Sequence[BatchWriter],
        flusher: Flusher,
        clock: Clock,
        *,
        phases: int = 1,
    ) -> None:
        self.batch_ms = batch_ms
        self.everyone = Crowd(phases)
        self._crowds = {1: self.everyone}
        self._phases = phases
        self._market = market
        self._fanout = fanout
        self._writers = writers
        self._flusher = flusher
        self._clock = clock
        self._windows: dict[tuple[int, bool], Window] = {}
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None

    def granted(self, max_hz: float) -> int:
        """The shortest interval offered that keeps to `max_hz`, in ms; the longest when none does."""
        for ticks in LADDER:
            if ticks * self.batch_ms * max_hz >= 1000:  # noqa: PLR2004 - ms in a second
                return ticks * self.batch_ms
        return LADDER[-1] * self.batch_ms

    def window(self, interval_ms: int, *, as_batch: bool) -> Window:
        """The window of a granted interval."""
        key = interval_ms // self.batch_ms, as_batch
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window(key[0], self._phases, as_batch=as_batch)
        return window

    def crowd(self, interval_ms: int) -> Crowd:
        """Who gets the whole market at most so often; 0 for each batch window."""
        ticks = max(1, interval_ms // self.batch_ms)
        crowd = self._crowds.get(ticks)
        if crowd is None:
            crowd = self._crowds[ticks] = Crowd(self._phases, ticks)
        return crowd

    def note(self, symbol: str, base: int) -> None:
        """A price changed."""
        for crowd in self._crowds.values():
            crowd.note(symbol, base)
        for window in self._windows.values():
            window.note(symbol, base)

    def start(self) -> None:
        """Begin to tick."""
        loop = asyncio.get_running_loop()
        self._schedule(loop, loop.time() + self._turn_s)

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()

    def tick(self) -> None:
        """The next phase's turn."""
        self._turn += 1
        for crowd in self._crowds.values():
            share = crowd.due(self._turn)
            if share is None:
                continue
            if share.changed:
                self._batch_to_everyone(share)
            if share.owing:
                self._market_to_owing(share)
        for window in self._windows.values():
            phase = window.due(self._turn)
            if phase is None or not phase.changed:
                continue
            phase.settle()
            newest = self._newest(phase)
            if not window.as_batch:
                self._updates_to_members(phase, newest)
                continue
            for parser, groups in enumerate(phase.groups):
                if groups and newest:
                    self._batches_to_groups(parser, groups.values(), newest)

    @property
    def _turn_s(self) -> float:
        return self.batch_ms / 1000 / self._phases

    def _schedule(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        def fire() -> None:
            self.tick()
            # From the scheduled time, so that the pace does not drift; from now, when the loop stood still.
            self._schedule(loop, max(at, loop.time() - self._turn_s) + self._turn_s)

        self._timer = loop.call_at(at, fire)

    def _newest(self, phase: Phase) -> dict[str, Change]:
        find = self._market.find
        changed = phase.take_changed()
        return {symbol: Change(symbol, price, base) for symbol, base in changed.items() if (price := find(symbol))}

    def _batch_to_everyone(self, crowd: CrowdPhase) -> None:
        newest = self._newest(crowd)
        if not newest:
            return
        touched: list[Outbox] = []
        for writer, members in zip(self._writers, crowd.members, strict=True):
            if not members:
                continue
            rows = writer.rows(newest.values())
            frame = writer.frame(list(rows.values()), writer.number(self._clock.now_ms()))
            for member in members:
                if member.behind:
                    member.owes_market = True
                    crowd.owing.add(member)
                if member.owes_market:
                    continue
                if not member.queue:
                    touched.append(member)
                member.queue.append(frame)
            self._fanout.delivered[ServerEvent.PRICE_BATCH] += len(members)
        self._flusher.touch_all(touched)

    def _market_to_owing(self, crowd: CrowdPhase) -> None:
        """Instead of batches that would not build on what a member got: everything anew."""
        event: Encoded | None = None
        for member in list(crowd.owing):
            if member.owes_market and member.behind:
                continue
            crowd.owing.discard(member)
            if member.owes_market:
                member.owes_market = False
                event = event or self._fanout.market_event(self._market.items(), self._clock.now_ms())
                member.send(event.frame(member.parser))

    def _batches_to_groups(self, parser: int, groups: Iterable[Group], newest: dict[str, Change]) -> None:
        """The hot path of batches: a hundred thousand members a second pass here."""
        writer = self._writers[parser]
        row_of = writer.rows(newest.values()).get
        restates = any(change.base == UNKNOWN for change in newest.values())
        ts = writer.number(self._clock.now_ms())
        touched: list[Outbox] = []
        count = 0
        for group in groups:
            rows = list(filter(None, map(row_of, group.symbols)))
            if not rows:
                continue
            shared: bytes | None = None
            for member in group.members:
                if member.behind:
                    _owe_batch(member, group.symbols, newest, restates=restates)
                    continue
                if member.owed_batches:
                    own = _own_rows(writer, member.owed_batches, group.symbols, newest)
                    if not own:
                        continue
                    frame = writer.frame(own, ts)
                else:
                    frame = shared = shared or writer.frame(rows, ts)
                count += 1
                queue = member.queue
                if not queue:
                    touched.append(member)
                queue.append(frame)
        self._flusher.touch_all(touched)
        self._fanout.delivered[ServerEvent.PRICE_BATCH] += count

    def _updates_to_members(self, phase: GroupPhase, newest: dict[str, Change]) -> None:
        rooms: dict[tuple[str, int], Room] = {}
        for group in chain.from_iterable(groups.values() for groups in phase.groups):
            symbols = list(filter(newest.__contains__, group.symbols))
            for member in group.members:
                own = None if member.behind else member.owed_prices
                for symbol in symbols:
                    base = _base(own, symbol, newest[symbol])
                    if base == newest[symbol].price.seq:
                        continue
                    room = rooms.setdefault((symbol, base), Room(symbol))
                    room.members[member.parser].add(member)
        for (symbol, base), room in rooms.items():
            self._fanout.price_to(room, symbol, newest[symbol].price, base)


def _own_rows(writer: BatchWriter, own: dict[str, int], symbols: Symbols, newest: dict[str, Change]) -> list[Row]:
    """For a member whose prices build on others than the window's; without those that it has already."""
    changes = [newest[symbol] for symbol in symbols if symbol in newest]
    bases = [_base(own, change.symbol, change) for change in changes]
    news = [change._replace(base=base) for change, base in zip(changes, bases, strict=True) if base != change.price.seq]
    return [writer.row(*change) for change in news]


def _owe_batch(member: Outbox, symbols: Symbols, newest: dict[str, Change], *, restates: bool) -> None:
    if member.owed_batches is None:
        member.owed_batches = {}
    if not restates and all(map(member.owed_batches.__contains__, symbols)):
        return  # what is owed builds on the first that was missed: ten thousand who stall pass here all the time
    for symbol in symbols:
        if symbol in newest:
            owe(member.owed_batches, symbol, newest[symbol].base)


def _base(own: dict[str, int] | None, symbol: str, change: Change) -> int:
    """What a member's next price builds on: its own, once, where that is not the window's.

    None of which only the state is new: such a price is restated.
    """
    base = own.pop(symbol, change.base) if own else change.base
    return UNKNOWN if change.base == UNKNOWN and base == change.price.seq else base
