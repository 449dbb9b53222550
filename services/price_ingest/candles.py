"""Candles of all symbols, in seven intervals, made of ticks and revised by late ones. Pure.

Fed by `services.price_ingest.seen`; what `take` gives, the caller commits together with its read positions and then
publishes. One round:

    sifted = seen.filter(ticks)
    while keys := charts.missing(sifted.fresh):       # late ticks: ask history for the closed candles they revise
        for key in keys: charts.load(key, ...)
    charts.fold(sifted.fresh, now_ms, sifted.echoes)  # with no await since `missing` gave nothing
    changes = charts.take(now_ms)                     # now, or some rounds later

The rules are in the modules below this one: `symbol_chart` (one symbol and its clock), `drafts` (one candle),
`aggregate` (the arithmetic), `bursts` (trades without an id).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from services.price_ingest.drafts import decode_snapshot, decode_stored
from services.price_ingest.normalise import Tick
from services.price_ingest.seen import Echo
from services.price_ingest.symbol_chart import SECOND, SymbolChart


class CandleKey(NamedTuple):
    """One closed candle in history."""

    symbol: str
    interval: str
    start: int


class ChartChange(NamedTuple):
    """What the chart of one symbol has come to since it was taken last.

    Attributes:
        symbol: whose.
        snapshot: for `Charts.restore`; readers decode it as `shared.messages.Chart` of the candles not closed.
        closed: interval, start and encoded `Candle` of those to put into history: newly closed, or closed and revised.
        publication: encoded `Chart` of the candles that changed, which may be none.
    """

    symbol: str
    snapshot: bytes
    closed: list[tuple[str, int, bytes]]
    publication: bytes


class Charts:
    """All symbols. It does not bound their number: the caller passes ticks of those symbols only that it takes.

    Args:
        history: candles of one interval that history keeps; an older tick is left out of that interval.
        grace_ms: between the end of a candle and its closing.
    """

    def __init__(self, history: int, grace_ms: int) -> None:
        self._history = history
        self._grace_ms = grace_ms
        self._charts: dict[str, SymbolChart] = {}

    def __len__(self) -> int:
        return len(self._charts)

    def missing(self, ticks: Sequence[Tick]) -> list[CandleKey]:
        """Closed candles that these ticks may revise and that are not in memory: `load` each, then ask again.

        The answer holds until the next `take`, which forgets closed candles.
        """
        late: dict[str, set[int]] = {}
        for tick in ticks:
            chart = self._charts.get(tick.symbol)
            if chart is not None and tick.ts < chart.known_from:
                late.setdefault(tick.symbol, chart.undecided_seconds()).add(tick.ts // SECOND)
        return [
            CandleKey(symbol, *key) for symbol, seconds in late.items() for key in self._charts[symbol].missing(seconds)
        ]

    def load(self, key: CandleKey, encoded: bytes | None) -> None:
        """What history holds under a key that `missing` gave; None for nothing.

        Raises:
            DecodeError: (of `shared.messages`) that is no candle. Load None instead: the candle begins anew.
        """
        stored = None if encoded is None else decode_stored(encoded)
        self._charts[key.symbol].load(key.interval, key.start, stored)

    def fold(self, ticks: Iterable[Tick], now_ms: int, echoes: Mapping[Echo, int]) -> int:
        """Take ticks in, in order of arrival.

        Args:
            ticks: nothing is `missing` for them.
            now_ms: when they arrive.
            echoes: see `services.price_ingest.seen.Sifted`.

        Returns:
            How many trades without an id turned out to be repeats: these or earlier ones; they count for nothing.
        """
        charts = self._charts
        repeats = 0
        for tick in ticks:
            chart = charts.get(tick.symbol)
            if chart is None:
                chart = charts[tick.symbol] = SymbolChart(self._history, self._grace_ms)
            echo = echoes.get(Echo(tick.symbol, tick.rank)) if echoes else None
            repeats += chart.fold(tick, now_ms, echo)
        return repeats

    def take(self, now_ms: int) -> list[ChartChange]:
        """Close the candles that are over, and give each symbol's changes since the last call.

        Every changed candle of a symbol gets the same `rev`, higher than any before and at least `now_ms`.
        """
        return [
            ChartChange(symbol, *chart.take(now_ms)) for symbol, chart in self._charts.items() if chart.is_due(now_ms)
        ]

    def restore(self, symbol: str, snapshot: bytes) -> None:
        """Go on from a snapshot.

        Raises:
            DecodeError: (of `shared.messages`) that is none.
        """
        chart = SymbolChart(self._history, self._grace_ms)
        chart.restore(decode_snapshot(snapshot))
        self._charts[symbol] = chart

    def forget(self, symbol: str) -> None:
        """Drop a symbol with whatever was not taken."""
        self._charts.pop(symbol, None)
