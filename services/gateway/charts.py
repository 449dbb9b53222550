"""What is known of one watched chart: its newest candles by start, and the flat ones where nobody traded.

Pure; fed by `chart_feed.py` with what Redis publishes and holds, in any order and as often as it likes: of two candles
with one start the higher `rev` counts. Each call returns the bars that a watcher has to be sent.

Candles without a trade do not exist in Redis. With `fill` this makes them: open, high, low and close are the close of
the candle before, whose `rev` they have. A slot is filled when its time is over on the symbol's own clock, or when a
later trade shows that it is. A trade that comes late for such a slot, or changes the close before it, has a higher
`rev`, and so have the flat bars that follow from it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Final

from shared.intervals import INTERVALS, start_of
from shared.messages import Candle, Chart, decode_candle, encode

MOST_BARS: Final = 1_000
"""Closed bars that a client can have."""

KEPT: Final = MOST_BARS + 2
"""Slots: beside the closed ones that which forms, and one that waits for late trades."""


class Series:
    """The candles of one symbol and interval.

    Candles are kept encoded, in 160 bytes instead of 500: a gateway has thousands of charts, and looks at most candles
    only when somebody asks for all of them.

    Args:
        symbol: as the upstream writes it.
        interval: one of `INTERVALS`.
        fill: make flat bars.
        grace_ms: so long after its end a slot is over.

    Attributes:
        length: of a candle, ms.
        ready: whether everything that Redis holds is in here; until then what is published is kept.
        rev: the highest of the symbol.
        lag: ms by which the symbol's clock is behind ours.
        version: rises with each change.
        settled: rises with each change of a closed bar.
    """

    __slots__ = (
        "_encoded",
        "_fill",
        "_former",
        "_grace_ms",
        "_next",
        "_starts",
        "interval",
        "lag",
        "length",
        "ready",
        "rev",
        "settled",
        "symbol",
        "version",
    )

    def __init__(self, symbol: str, interval: str, *, fill: bool, grace_ms: int) -> None:
        self.symbol = symbol
        self.interval = interval
        self.length = INTERVALS[interval]
        self._fill = fill
        self._grace_ms = grace_ms
        self.ready = False
        self.rev = 0
        self.lag = 0
        self.version = 0
        self.settled = 0
        self._starts: list[int] = []
        self._encoded: list[bytes] = []
        self._next = 0  # the first slot that has neither a candle nor a flat bar yet
        self._former: Series | None = None

    def apply(self, chart: Chart) -> list[Candle]:
        """Take what was published of the symbol; returns what is new, in order."""
        self.lag = chart.lag
        return self._merge(chart.candles.get(self.interval, ()), chart)

    def load(self, chart: Chart | None, closed: Sequence[Candle], now_ms: int) -> list[Candle]:
        """Take all that Redis holds: the symbol's unclosed candles, if any, and the closed ones; returns as `apply`."""
        forming: Sequence[Candle] = ()
        if chart is not None:
            self.lag = chart.lag
            forming = chart.candles.get(self.interval, ())
        changed = self._merge([*closed, *forming], chart)
        self.ready = True
        changed += self.fill(now_ms)
        former, self._former = self._former, None
        if former is None:
            return changed
        known = {bar.start: bar for bar in former.bars()}
        return [bar for bar in changed if known.get(bar.start) != bar]

    def reset(self) -> None:
        """Redis lost its data: `load` comes next, and returns what differs from what was known."""
        self._former = self._former or copy(self)
        self._starts = []
        self._encoded = []
        self._next = 0
        self.ready = False
        self._count_change(settled=True)

    def bars(self, since: int = 0) -> list[Candle]:
        """Every bar from a start on, flat ones included, as far as they are kept; oldest first."""
        if not self._fill:
            return [decode_candle(encoded) for encoded in self._encoded[bisect_left(self._starts, since) :]]
        lowest = max(since, self._next - KEPT * self.length)
        first = max(0, bisect_right(self._starts, lowest) - 1)
        bars: list[Candle] = []
        for at in range(first, len(self._starts)):
            candle = self._read(at)
            if candle.start >= lowest:
                bars.append(candle)
            bars += self._flats(candle, lowest, self._stop(at))
        return bars

    def reaches(self, start: int) -> bool:
        """Whether nothing is missing from `start` on."""
        if not self._starts or start < self._starts[0]:
            return False
        return not self._fill or start >= self._next - KEPT * self.length

    def fill(self, now_ms: int) -> list[Candle]:
        """Make a flat bar for each slot whose time is over; returns them.

        Not while a candle forms: its own end has to be told first, by those who know of its trades.
        """
        if self.due_ms() is None:
            return []
        stop = start_of(now_ms - self.lag - self._grace_ms, self.length)
        if stop <= self._next:
            return []
        lowest = max(self._next, stop - KEPT * self.length)
        self._next = stop
        self._count_change(settled=True)
        return self._flats(self._read(-1), lowest, stop)

    def due_ms(self) -> int | None:
        """When `fill` has to be called next, on our clock; None while nothing is to be filled."""
        if not self._fill or not self.ready or not self._starts or not self._read(-1).closed:
            return None
        return self._next + self.length + self._grace_ms + self.lag

    def _merge(self, candles: Sequence[Candle], chart: Chart | None) -> list[Candle]:
        changed: dict[int, Candle] = {}
        ends = [candle.start + self.length for candle in candles]
        lowest = max([self._next, *ends]) - KEPT * self.length
        for candle in candles:
            self._take(candle, lowest, changed)
        revs = [candle.rev for candle in candles]
        if chart is not None:  # of the other intervals too
            revs += [candle.rev for others in chart.candles.values() for candle in others]
        self.rev = max([self.rev, *revs])
        self._trim()
        self._count_change(settled=any(bar.closed for bar in changed.values()))
        return [changed[start] for start in sorted(changed)]

    def _take(self, candle: Candle, lowest: int, changed: dict[int, Candle]) -> None:
        at = bisect_left(self._starts, candle.start)
        known = self._read(at) if at < len(self._starts) and self._starts[at] == candle.start else None
        if known is not None and candle.rev <= known.rev:
            return
        if known is None:
            self._starts.insert(at, candle.start)
            self._encoded.insert(at, b"")
        self._encoded[at] = encode(candle)
        flats: Iterable[Candle] = ()
        if candle.start >= self._next:
            if at and candle.start > self._next:
                flats = self._flats(self._read(at - 1), max(lowest, self._next), candle.start)
            self._next = candle.start + self.length
        elif known is None or known.close != candle.close:
            flats = self._flats(candle, lowest, self._stop(at))
        changed.update((flat.start, flat) for flat in flats)
        changed[candle.start] = candle

    def _trim(self) -> None:
        surplus = len(self._starts) - KEPT
        if surplus > 0:
            del self._starts[:surplus], self._encoded[:surplus]

    def _read(self, at: int) -> Candle:
        return decode_candle(self._encoded[at])

    def _stop(self, at: int) -> int:
        """Where the flat bars after a candle end."""
        return self._starts[at + 1] if at + 1 < len(self._starts) else self._next

    def _flats(self, before: Candle, lowest: int, stop: int) -> list[Candle]:
        """The bars between a candle and `stop` that begin at `lowest` or later."""
        if not self._fill:
            return []
        first = before.start + self.length
        if lowest > first:
            first += -(-(lowest - first) // self.length) * self.length
        close = before.close
        return [
            Candle(start, close, close, close, close, "0", 0, closed=True, rev=before.rev)
            for start in range(first, stop, self.length)
        ]

    def _count_change(self, *, settled: bool) -> None:
        self.version += 1
        self.settled += settled


def split(bars: Sequence[Candle]) -> tuple[Sequence[Candle], Candle | None, Sequence[Candle]]:
    """Bars as an ack has them: all that come before the first unclosed one, that one, and what began after it.

    The last is empty but for the grace in which a candle waits for late trades; it is sent behind the ack.
    """
    for at, bar in enumerate(bars):
        if not bar.closed:
            return bars[:at], bar, bars[at + 1 :]
    return bars, None, ()
