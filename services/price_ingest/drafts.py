"""A candle at work, and how Redis holds it and a symbol. Pure.

Fed by and feeds `services.price_ingest.symbol_chart`. What Redis holds begins with the fields of `shared.messages`, so
readers decode `Candle` and `Chart` and leave the rest, which is what it takes to go on exactly.
"""

import msgspec

from services.price_ingest.aggregate import Aggregate, Order, number
from services.price_ingest.bursts import Run
from services.price_ingest.normalise import Kind
from shared.messages import MAX_BUS_MESSAGE, Candle, DecimalText, Whole, decoder_of


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A candle in Redis.

    Attributes:
        kind: of the ticks that it is made of.
        opened, ended: where the ticks stand that made open and close.
        start, open, high, low, close, volume, trades, closed, rev: as in `Candle`.
    """

    start: Whole
    open: DecimalText
    high: DecimalText
    low: DecimalText
    close: DecimalText
    volume: DecimalText
    trades: Whole
    closed: bool
    rev: Whole
    kind: Kind
    opened: Order
    ended: Order


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A symbol in Redis.

    Attributes:
        lag, candles: as in `Chart`; the candles that are not closed.
        rev: the highest given.
        kind: of the ticks that its candles are made of from now on.
        newest: interval -> start of the newest candle.
        run: what its next trade without an id follows.
    """

    lag: Whole
    candles: dict[str, list[Stored]]
    rev: Whole
    kind: Kind
    newest: dict[str, Whole]
    run: Run


decode_stored = decoder_of(Stored)
decode_snapshot = decoder_of(Snapshot, MAX_BUS_MESSAGE)


class Draft(Aggregate):
    """A candle.

    Attributes:
        start: ms.
        closed: its time is over.
        rev: of the last change that was taken.
        changed: since then.
    """

    __slots__ = ("changed", "closed", "rev", "start")

    def __init__(self, start: int, content: Aggregate) -> None:
        self.become(content)
        self.start = start
        self.closed = False
        self.rev = 0
        self.changed = True

    def publish(self) -> Candle:
        """As readers get it."""
        volume = format(self.volume, "f")
        return Candle(
            self.start,
            self.first[3],
            self.high[1],
            self.low[1],
            self.last[3],
            volume,
            self.trades,
            self.closed,
            self.rev,
        )

    def store(self, candle: Candle) -> Stored:
        """As Redis holds it, from what `publish` gave."""
        return Stored(
            candle.start,
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            candle.volume,
            candle.trades,
            candle.closed,
            candle.rev,
            self.kind,
            self.first[:3],
            self.last[:3],
        )


def draft_of(stored: Stored) -> Draft:
    """Go on with what Redis holds."""
    content = Aggregate(stored.kind, (*stored.opened, stored.open))
    content.last = (*stored.ended, stored.close)
    content.high, content.low = number(stored.high), number(stored.low)
    content.volume, content.trades = number(stored.volume)[0], stored.trades
    draft = Draft(stored.start, content)
    draft.closed, draft.rev, draft.changed = stored.closed, stored.rev, False
    return draft
