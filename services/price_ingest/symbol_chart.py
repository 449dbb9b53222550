"""The candles of one symbol: seven intervals, a clock of its own, and what survives a crash. Pure.

Fed and asked by `services.price_ingest.candles`. Ticks go into one `Aggregate` per second, which is merged into the
seven candles before anyone looks at them: merging knows no order, so a late tick needs no way of its own.

Time here is the symbol's: our clock minus `lag`. A live feed closes its candles by the wall clock, also while nobody
trades; a replay of years ago by its own event time, at any speed; an upstream whose clock is ahead of ours by its own.
A tick further ahead than that makes candles too, which stay open until their time comes.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from services.price_ingest.aggregate import Aggregate, Point, mid
from services.price_ingest.bursts import Correction, Run
from services.price_ingest.drafts import Draft, Snapshot, Stored, draft_of
from services.price_ingest.normalise import Kind, Tick
from shared.intervals import INTERVALS, start_of
from shared.messages import Candle, Chart, encode

NAMES: Final = tuple(INTERVALS)
LENGTHS: Final = tuple(INTERVALS.values())
SECOND: Final = 1000

FURTHEST_AHEAD_MS: Final = 5000
"""How far a symbol's clock may be ahead of ours. A tick further ahead does not set it: one that is wrong must not close
the symbol's candles early from then on."""

MAX_OPEN: Final = 64
"""Open candles of one interval; beyond, the oldest close early. Only event times in the future make so many."""

CLOSED_KEPT: Final = 2
"""Closed candles of one interval that stay in memory, for trades that are a little late."""

LONGEST_ID: Final = 18
"""Digits of a trade id that orders trades: what a signed 64-bit integer holds for sure."""

NEVER: Final = 2**62

TRADE: Final = Kind.TRADE
QUOTE: Final = Kind.QUOTE
"""Looked up once: an enum's member costs much, compared with the rest of `fold`."""


class Taken(NamedTuple):
    """What `take` gives, see `services.price_ingest.candles.ChartChange`."""

    snapshot: bytes
    closed: list[tuple[str, int, bytes]]
    publication: bytes


class SymbolChart:
    """One symbol.

    Args:
        history: candles of one interval before the forming one that ticks still make and revise.
        grace_ms: between the end of a candle and its closing.

    Attributes:
        known_from: ms; of ticks from there on nothing is missing.
    """

    def __init__(self, history: int, grace_ms: int) -> None:
        self._history = history
        self._grace_ms = grace_ms
        self._kind = Kind.QUOTE
        self._lag = NEVER
        self._time = -NEVER
        self._rev = 0
        self._run = Run()
        self._parts: dict[int, Aggregate] = {}
        self._drafts: list[dict[int, Draft]] = [{} for _ in LENGTHS]
        self._absent: set[tuple[str, int]] = set()
        self._newest = [-1] * len(LENGTHS)
        self._oldest = [-1] * len(LENGTHS)
        self._closes_at = NEVER
        self._touched = False
        self.known_from = NEVER

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot; call it first."""
        self._lag, self._rev, self._kind, self._run = snapshot.lag, snapshot.rev, snapshot.kind, snapshot.run
        for index, name in enumerate(NAMES):
            self._newest[index] = snapshot.newest.get(name, -1)
            self._drafts[index] = {stored.start: draft_of(stored) for stored in snapshot.candles.get(name, [])}
        self._closes_at = self._next_closing()

    def missing(self, seconds: Iterable[int]) -> list[tuple[str, int]]:
        """Interval and start of the candles of these seconds that only history may hold."""
        keys = []
        for name, length, drafts, oldest, newest in zip(
            NAMES, LENGTHS, self._drafts, self._oldest, self._newest, strict=True
        ):
            starts = {start_of(second * SECOND, length) for second in seconds}
            keys += [(name, start) for start in sorted(starts - drafts.keys()) if oldest <= start <= newest]
        return [key for key in keys if key not in self._absent]

    def undecided_seconds(self) -> set[int]:
        """What the next trade without an id may change beside its own second."""
        return {member.ts // SECOND for member in self._run.undecided}

    def load(self, interval: str, start: int, stored: Stored | None) -> None:
        """What history holds of a missing candle; kept until the symbol is taken next."""
        if stored is None:
            self._absent.add((interval, start))
        else:
            self._drafts[NAMES.index(interval)].setdefault(start, draft_of(stored))

    def fold(self, tick: Tick, now_ms: int, echo: int | None) -> int:
        """Take one tick in; returns how many trades turn out to be repeats, see `Charts.fold`."""
        self._touched = True
        lag = now_ms - tick.ts
        if lag < self._lag:
            self._hear(lag)
        kind = tick.kind
        if kind is not self._kind:
            if kind < self._kind:
                return 0
            self._flush(now_ms)
            self._kind = kind
        if kind is TRADE and tick.id is None:
            return self._fold_unnamed(tick, now_ms, echo)
        price = tick.price if kind is not QUOTE else _mid(tick)
        if price is not None:
            self._add(tick, (tick.at, _order(tick.id, tick.rank), 0, price))
        return 0

    def _hear(self, lag: int) -> None:
        if lag >= -FURTHEST_AHEAD_MS:
            self._lag = lag
        elif self._lag == NEVER:
            self._lag = 0

    def _fold_unnamed(self, tick: Tick, now_ms: int, echo: int | None) -> int:
        point = self._run.place(tick, echo)
        if point is None:
            return 1
        self._add(tick, point)
        correction = self._run.recognise()
        if correction is None:
            return 0
        self._flush(now_ms)
        self._correct(correction)
        return len(correction.repeats)

    def _add(self, tick: Tick, point: Point) -> None:
        second = tick.ts // SECOND
        part = self._parts.get(second)
        if part is None:
            part = self._parts[second] = Aggregate(tick.kind, point)
        else:
            part.add_price(point)
        if self._kind is TRADE:
            part.add_amount(tick.amount or "0")

    def _flush(self, now_ms: int) -> None:
        """Merge what was added into the candles."""
        self._set_time(now_ms - self._lag)
        for index, length in enumerate(LENGTHS):
            drafts, oldest = self._drafts[index], self._oldest[index]
            for second, part in self._parts.items():
                start = start_of(second * SECOND, length)
                if start < oldest:
                    continue
                draft = drafts.get(start)
                if draft is None:
                    drafts[start] = Draft(start, part)
                    self._newest[index] = max(self._newest[index], start)
                    self._closes_at = min(self._closes_at, start + length + self._grace_ms)
                elif draft.merge(part):
                    draft.changed = True
            if len(drafts) > MAX_OPEN:
                self._closes_at = -NEVER
        if self._newest[0] // SECOND in self._parts:
            self.known_from = self._newest[0]  # its seven candles were at hand, and the newest stay
        self._parts.clear()

    def _set_time(self, time: int) -> None:
        if time // SECOND != self._time // SECOND:
            self._oldest = [start_of(time, length) - self._history * length for length in LENGTHS]
        self._time = time

    def _correct(self, correction: Correction) -> None:
        for move in correction.moves:
            for draft in self._changing(move.ts):
                draft.reorder(move.before, move.after)
        for repeat in correction.repeats:
            for draft in self._changing(repeat.ts):
                draft.take_back(repeat.amount)

    def _changing(self, ts: int) -> Iterator[Draft]:
        for length, drafts, oldest in zip(LENGTHS, self._drafts, self._oldest, strict=True):
            start = start_of(ts, length)
            draft = drafts.get(start)
            if draft is not None and start >= oldest:
                draft.changed = True
                yield draft

    def is_due(self, now_ms: int) -> bool:
        """Whether there is anything to take."""
        return self._touched or now_ms - self._lag >= self._closes_at

    def take(self, now_ms: int) -> Taken:
        """Close what is over, and give what changed since the last call."""
        self._flush(now_ms)
        if self._time >= self._closes_at:
            self._close(self._time - self._grace_ms)
        self._rev = max(self._rev + 1, now_ms)
        changed: dict[str, list[Candle]] = {}
        closed: list[tuple[str, int, bytes]] = []
        still_open: dict[str, list[Stored]] = {}
        for name, drafts in zip(NAMES, self._drafts, strict=True):
            for start in sorted(drafts):
                draft = drafts[start]
                if draft.changed:
                    draft.rev = self._rev
                elif draft.closed:
                    continue
                candle = draft.publish()
                stored = draft.store(candle)
                if not draft.closed:
                    still_open.setdefault(name, []).append(stored)
                if draft.changed:
                    changed.setdefault(name, []).append(candle)
                    if draft.closed:
                        closed.append((name, start, encode(stored)))
                    draft.changed = False
            if len(drafts) > CLOSED_KEPT:
                _forget_closed(drafts)
        self._absent.clear()
        self._touched = False
        newest = dict(zip(NAMES, self._newest, strict=True))
        snapshot = Snapshot(self._lag, still_open, self._rev, self._kind, newest, self._run)
        return Taken(encode(snapshot), closed, encode(Chart(self._lag, changed)))

    def _close(self, until: int) -> None:
        """Candles that end until then are over."""
        for length, drafts in zip(LENGTHS, self._drafts, strict=True):
            still_open = sorted(start for start, draft in drafts.items() if not draft.closed)
            for left, start in zip(range(len(still_open), 0, -1), still_open, strict=True):
                if start + length <= until or left > MAX_OPEN:
                    drafts[start].closed = drafts[start].changed = True
        self._closes_at = self._next_closing()

    def _next_closing(self) -> int:
        ends = [
            start + length
            for length, drafts in zip(LENGTHS, self._drafts, strict=True)
            for start, draft in drafts.items()
            if not draft.closed
        ]
        return min(ends, default=NEVER) + self._grace_ms


def _forget_closed(drafts: dict[int, Draft]) -> None:
    closed = sorted(start for start, draft in drafts.items() if draft.closed)
    for start in closed[:-CLOSED_KEPT]:
        del drafts[start]


def _order(trade_id: str | None, rank: int) -> int:
    """What orders ticks of one time: the trade id if it is a number, else the arrival."""
    return int(trade_id) if trade_id is not None and len(trade_id) <= LONGEST_ID and trade_id.isdecimal() else rank


def _mid(tick: Tick) -> str | None:
    return mid(tick.bid, tick.ask) if tick.bid is not None and tick.ask is not None else None
