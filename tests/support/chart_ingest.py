"""Candles in Redis as price-ingest writes them, a random market of them, and what a client makes of a chart.

`ChartIngest` writes history and snapshot in one step, then publishes once a shard.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from shared.bus.redis_bus import RedisBus
from shared.intervals import INTERVALS
from shared.messages import VERSION, Candle, Chart, ChartBatch, encode
from shared.names import redis_keys

FIRST_REV: Final = 1_000

FUTURE_MS: Final = 4_102_444_800_000
"""2100: whoever fills gaps by the clock fills none here, so that the end of a chart stands still."""


class ChartIngest:
    """Writes candles.

    Attributes:
        epoch: names the history; change it after `forget`.
        lag: ms, of every symbol.
        held: what Redis holds, by symbol, interval and start.
    """

    def __init__(self, bus: RedisBus, shards: int, *, cap: int = 1_000) -> None:
        self._bus = bus
        self._shards = shards
        self._cap = cap
        self._staged: dict[str, dict[str, dict[int, Candle]]] = {}
        self._revs: dict[str, int] = {}
        self.epoch = "e1"
        self.lag = 0
        self.held: dict[str, dict[str, dict[int, Candle]]] = {}

    def put(self, symbol: str, interval: str, start: int, close: str, *, closed: bool = False) -> Candle:
        """Stage a candle for the next commit."""
        rev = self._revs.get(symbol, FIRST_REV) + 1
        held = self.held.setdefault(symbol, {}).setdefault(interval, {})
        before = held.get(start)
        trades = 1 if before is None else before.trades + 1
        candle = Candle(start, "1.00", "99.00", "0.50", close, f"{trades}.00", trades, closed, rev)
        held[start] = self._staged.setdefault(symbol, {}).setdefault(interval, {})[start] = candle
        return candle

    def close(self, symbol: str, interval: str, start: int) -> Candle:
        """Stage the end of a candle."""
        held = self.held[symbol][interval]
        rev = self._revs.get(symbol, FIRST_REV) + 1
        candle = msgspec.structs.replace(held[start], closed=True, rev=rev)
        held[start] = self._staged.setdefault(symbol, {}).setdefault(interval, {})[start] = candle
        return candle

    async def commit(self, *, publish: bool = True) -> None:
        """Write what is staged, and publish it unless that is to be lost on the way."""
        staged, self._staged = self._staged, {}
        shards: dict[int, dict[str, msgspec.Raw]] = {}
        async with self._bus._client.pipeline(transaction=True) as pipe:
            pipe.set(redis_keys.PRICE_EPOCH, self.epoch)
            for symbol, intervals in staged.items():
                shard = redis_keys.shard_of(symbol, self._shards)
                changed = Chart(self.lag, {name: _in_order(candles) for name, candles in intervals.items()})
                shards.setdefault(shard, {})[symbol] = msgspec.Raw(encode(changed))
                self._revs[symbol] = max(candle.rev for candles in changed.candles.values() for candle in candles)
                self._write(pipe, shard, symbol, intervals)
            await pipe.execute()
        if publish:
            await self._bus.publish(
                (redis_keys.chart_channel(shard), encode(ChartBatch(VERSION, self.epoch, 0, charts)))
                for shard, charts in shards.items()
            )

    async def forget(self) -> None:
        """Redis loses everything."""
        await self._bus._client.flushall()
        self.held.clear()

    def _write(self, pipe: Any, shard: int, symbol: str, intervals: dict[str, dict[int, Candle]]) -> None:
        unclosed = {
            name: [candle for candle in _in_order(candles) if not candle.closed]
            for name, candles in self.held[symbol].items()
        }
        pipe.hset(redis_keys.chart_snapshot(shard), symbol, encode(Chart(self.lag, unclosed)))
        for name, candles in intervals.items():
            key = redis_keys.candle_history(symbol, name)
            for candle in candles.values():
                pipe.zremrangebyscore(key, candle.start, candle.start)
                if candle.closed:
                    more = ["what price-ingest needs to revise it"]
                    pipe.zadd(key, {encode([*msgspec.structs.astuple(candle), more]): candle.start})
            pipe.zremrangebyrank(key, 0, -self._cap - 1)


def _in_order(candles: dict[int, Candle]) -> list[Candle]:
    return [candles[start] for start in sorted(candles)]


class RandomCharts:
    """A busy market: candles form, close and are revised, with gaps between them, and never older than the clock.

    Attributes:
        ingest: what writes them.
    """

    def __init__(self, ingest: ChartIngest, symbols: Sequence[str], seed: int) -> None:
        self.ingest = ingest
        self._symbols = symbols
        self._chance = random.Random(seed)
        self._slots: dict[tuple[str, str], int] = {}

    @property
    def charts(self) -> list[tuple[str, str]]:
        """All symbols and intervals."""
        return [(symbol, interval) for symbol in self._symbols for interval in INTERVALS]

    async def step(self) -> None:
        """One commit: some charts of some symbols change."""
        for symbol in self._chance.sample(self._symbols, k=min(3, len(self._symbols))):
            for interval in self._chance.sample(list(INTERVALS), k=3):
                self._change(symbol, interval)
        await self.ingest.commit()

    def _change(self, symbol: str, interval: str) -> None:
        chance, length = self._chance, INTERVALS[interval]
        held = self.ingest.held.get(symbol, {}).get(interval, {})
        slot = self._slots.get((symbol, interval), -1)
        close = f"{chance.randrange(100, 200)}.50"
        if held and chance.random() < 0.15:  # a late trade, where there was a candle or none
            start = FUTURE_MS + chance.randrange(slot + 1) * length
            is_closed = start not in held or held[start].closed
            self.ingest.put(symbol, interval, start, close, closed=is_closed and start != FUTURE_MS + slot * length)
            return
        following = slot + chance.choice((0, 0, 0, 1, 1, 3)) if held else 0
        if following > slot:
            for start, candle in held.items():
                if not candle.closed and (start < slot * length + FUTURE_MS or chance.random() < 0.5):
                    self.ingest.close(symbol, interval, start)
        self._slots[symbol, interval] = following
        self.ingest.put(symbol, interval, FUTURE_MS + following * length, close)


Bar = dict[str, Any]


class FoldedCharts:
    """What a client makes of answers and updates: the last of each start, and whether they were as promised.

    Attributes:
        bars: (symbol, interval) -> start -> bar.
        wrong: updates that came before an answer, or were older than what was there.
    """

    def __init__(self) -> None:
        self.bars: dict[tuple[str, str], dict[int, Bar]] = {}
        self.wrong: list[Bar] = []

    def answer(self, answer: Bar) -> None:
        """Take the ack of a `subscribe:chart`."""
        bars = [*answer["bars"], *([answer["forming"]] if answer["forming"] else [])]
        assert all(bar["closed"] for bar in answer["bars"]), answer
        assert answer["forming"] is None or not answer["forming"]["closed"], answer
        starts = [bar["start"] for bar in bars]
        assert starts == sorted(set(starts)), answer
        assert all(bar["rev"] <= answer["rev"] for bar in bars), answer
        self.bars[answer["symbol"], answer["interval"]] = {bar["start"]: bar for bar in bars}

    def update(self, update: Bar) -> None:
        """Take a `chart:update`."""
        bars = self.bars.get((update["symbol"], update["interval"]))
        if bars is None:
            self.wrong.append(update)
            return
        known = bars.get(update["start"])
        if known is not None and known["rev"] >= update["rev"]:
            self.wrong.append(update)
        bars[update["start"]] = {key: value for key, value in update.items() if key not in ("symbol", "interval")}

    def differences(self, ingest: ChartIngest, charts: Iterable[tuple[str, str]], *, fill: bool = True) -> list[Any]:
        """Charts that are not what Redis holds, with the first bar that is another."""
        found: list[Any] = []
        for symbol, interval in charts:
            expected = _expected(ingest.held.get(symbol, {}).get(interval, {}), INTERVALS[interval], fill=fill)
            bars = self.bars.get((symbol, interval), {})
            seen = {start: _row(bar) for start, bar in bars.items()}
            if seen != expected:
                starts = [start for start in sorted({*seen, *expected}) if seen.get(start) != expected.get(start)]
                found.append((symbol, interval, starts[0], seen.get(starts[0]), expected.get(starts[0])))
        return found


def _row(bar: Bar) -> tuple[Any, ...]:
    """A bar as it is compared: a flat one may have an older `rev` where nothing else of it changed."""
    prices = (float(bar[name]) for name in ("open", "high", "low", "close", "volume"))
    return (*prices, bar["trades"], bar["closed"], bar["rev"] if bar["trades"] else None)


def _expected(held: dict[int, Candle], length: int, *, fill: bool) -> dict[int, tuple[Any, ...]]:
    rows: dict[int, tuple[Any, ...]] = {}
    before: Candle | None = None
    for candle in _in_order(held):
        if fill and before is not None:
            close = float(before.close)
            for start in range(before.start + length, candle.start, length):
                rows[start] = (close, close, close, close, 0.0, 0, True, None)
        rows[candle.start] = _row(msgspec.structs.asdict(candle))
        before = candle
    return rows
