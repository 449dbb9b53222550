"""`Charts` as price-ingest runs it: ticks in batches, a history, and what a reader of the publications knows."""

from collections.abc import Mapping, Sequence
from itertools import count

from services.price_ingest.candles import CandleKey, ChartChange, Charts
from services.price_ingest.normalise import Tick
from services.price_ingest.seen import Seen
from shared.messages import Candle, decode_candle, decode_chart

GRACE_MS = 500
ALL_TIME = 10**9
"""Candles of history: more than any recording has."""


class ChartsRun:
    """One price-ingest.

    Args:
        history: as in `Charts`.

    Attributes:
        stored: what Redis holds of closed candles.
        published: the newest publication of each candle.
        changes: of the last `take`, by symbol.
        duplicates: ticks that counted for nothing.
    """

    def __init__(self, history: int = ALL_TIME) -> None:
        self.history = history
        self.charts = Charts(history, GRACE_MS)
        self.seen = Seen(1_000_000)
        self.stored: dict[CandleKey, bytes] = {}
        self.snapshots: dict[str, bytes] = {}
        self.published: dict[CandleKey, Candle] = {}
        self.changes: dict[str, ChartChange] = {}
        self.duplicates = 0

    def fold(self, ticks: Sequence[Tick], now_ms: int) -> None:
        sifted = self.seen.filter(ticks)
        for _ in count():
            keys = self.charts.missing(sifted.fresh)
            if not keys:
                break
            for key in keys:
                self.charts.load(key, self.stored.get(key))
        self.duplicates += sifted.duplicates + self.charts.fold(sifted.fresh, now_ms, sifted.echoes)

    def take(self, now_ms: int) -> None:
        """As the pipeline: commit, then publish."""
        self.changes = {change.symbol: change for change in self.charts.take(now_ms)}
        for symbol, change in self.changes.items():
            self.snapshots[symbol] = change.snapshot
            self.stored.update({CandleKey(symbol, name, start): encoded for name, start, encoded in change.closed})
            for name, candles in decode_chart(change.publication).candles.items():
                for candle in candles:
                    key = CandleKey(symbol, name, candle.start)
                    before = self.published.get(key)
                    assert before is None or (candle.rev > before.rev and candle.closed >= before.closed)
                    self.published[key] = candle

    def crash(self, folded: Sequence[Tick]) -> None:
        """Lose what was not taken; go on from Redis.

        Args:
            folded: the tail of the streams up to the last take.
        """
        self.charts = Charts(self.history, GRACE_MS)
        for symbol, snapshot in self.snapshots.items():
            self.charts.restore(symbol, snapshot)
        self.seen = Seen(1_000_000)
        self.seen.filter(folded)

    def known(self) -> dict[CandleKey, Candle]:
        """The candles as Redis holds them: closed ones and those that are not."""
        known = {key: decode_candle(encoded) for key, encoded in self.stored.items()}
        for symbol, snapshot in self.snapshots.items():
            for name, candles in decode_chart(snapshot).candles.items():
                known.update({CandleKey(symbol, name, candle.start): candle for candle in candles})
        return known


def contents(candles: Mapping[CandleKey, Candle]) -> dict[CandleKey, tuple[str | int, ...]]:
    """What is in candles, whenever it came: all but `closed` and `rev`."""
    return {
        key: (each.open, each.high, each.low, each.close, each.volume, each.trades) for key, each in candles.items()
    }


def run(ticks: Sequence[Tick], batch: int, takes: int = 1, history: int = ALL_TIME) -> ChartsRun:
    """Fold ticks in batches as fast as a replay can, and take after every so many batches and at the end."""
    charts = ChartsRun(history)
    now_ms = max((tick.ts for tick in ticks), default=0)
    for number, index in enumerate(range(0, len(ticks), batch), 1):
        charts.fold(ticks[index : index + batch], now_ms)
        if number % takes == 0:
            charts.take(now_ms)
    charts.take(now_ms)
    return charts
