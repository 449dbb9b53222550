"""Candles of all symbols, against the exchanges' own and against a second, plain way to make them."""

import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import groupby

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.price_ingest.bursts import STEPS_BACK
from services.price_ingest.candles import CandleKey, Charts
from services.price_ingest.normalise import Kind, Tick
from shared.intervals import INTERVALS, start_of
from shared.messages import Candle, DecodeError, decode_candle, decode_chart
from tests.support.charts_run import GRACE_MS, ChartsRun, contents, run
from tests.support.recorded_market import (
    Kline,
    binance_trades,
    kline,
    phemex_entries,
    phemex_klines,
    phemex_trades,
    running_klines,
)

MINUTE = INTERVALS["1m"]
PRICES = st.sampled_from(["1", "1.0", "1.00", "0.5", "2", "10", "0.00017"])
AMOUNTS = st.sampled_from(["0.00017", "1", "1.50", "100000000000000000000000.00000000000000001"])


def values(candle: Candle) -> Kline:
    return kline(candle.open, candle.high, candle.low, candle.close, candle.volume)


def minutes(charts: ChartsRun, symbol: str, until: int) -> dict[int, Kline]:
    """The complete minutes of a symbol; one without a trade is flat at the close before it, as Phemex has it."""
    made = {
        key.start: values(candle)
        for key, candle in charts.known().items()
        if (key.symbol, key.interval) == (symbol, "1m")
    }
    first = min(made)
    close = made[first].close
    for start in range(first, until, MINUTE):
        made.setdefault(start, Kline(close, close, close, close, Decimal(0)))
        close = made[start].close
    return {start: made[start] for start in sorted(made) if first < start < until}


def assert_phemex(charts: ChartsRun) -> None:
    traded = 0
    for symbol, klines in phemex_klines().items():
        made = minutes(charts, symbol, until=max(klines))
        assert made == {start: klines[start] for start in made}
        traded += sum(candle.volume > 0 for candle in made.values())
    assert traded == 2121


@pytest.mark.parametrize("batch", [1000, 333, 50, 1])
def test_trades_in_event_order_make_the_exchanges_own_candles(batch: int):
    assert_phemex(run(phemex_trades(), batch, takes=7))


@pytest.mark.parametrize("batch", [1000, 333, 50, 7, 1])
def test_trades_newest_first_make_the_exchanges_own_candles_however_reads_cut_them(batch: int):
    assert_phemex(run(phemex_entries(), batch, takes=7))


def newest_first(ticks: Sequence[Tick]) -> list[Tick]:
    """What an upstream that reconnects writes: the last 1000 trades of each symbol."""
    by_symbol: dict[str, list[Tick]] = {}
    for tick in sorted(ticks, key=lambda tick: tick.at):
        by_symbol.setdefault(tick.symbol, []).append(tick)
    return [tick for each in by_symbol.values() for tick in each[:-1001:-1]]


def arriving_after(ticks: Sequence[Tick], again: Iterable[Tick]) -> list[Tick]:
    rank = max(tick.rank for tick in ticks)
    return [*ticks, *(msgspec.structs.replace(tick, rank=rank + n) for n, tick in enumerate(again, 1))]


@pytest.mark.parametrize("batch", [1000, 333, 50, 1])
@pytest.mark.parametrize("taken_live", [0, 25], ids=["the-same-snapshot", "a-snapshot-of-all"])
def test_a_snapshot_that_comes_again_changes_nothing(batch: int, taken_live: int):
    entries = phemex_entries()
    again = newest_first(entries) if taken_live else entries[:10_000]
    charts = run(arriving_after(entries, again), batch, takes=7)
    assert_phemex(charts)
    assert charts.duplicates == 10_000


def test_running_candles_equal_those_of_the_exchange_with_their_count():
    klines = running_klines()
    assert len(klines) == 15
    for each in klines:
        candle = run(each.ticks, 10).known()[CandleKey(each.symbol, "1m", each.start)]
        assert (*values(candle)[:5], candle.trades) == each.values


def plain_fold(ticks: Iterable[Tick]) -> dict[CandleKey, tuple[str | int, ...]]:
    """Candles the plain way: sort everything, then group."""
    made: dict[CandleKey, tuple[str | int, ...]] = {}
    for interval, length in INTERVALS.items():

        def key(tick: Tick, interval: str = interval, length: int = length) -> CandleKey:
            return CandleKey(tick.symbol, interval, start_of(tick.ts, length))

        in_order = sorted(ticks, key=lambda tick: (tick.symbol, tick.at, int(tick.id or 0)))
        for candle, group in groupby(in_order, key):
            trades = list(group)
            prices = [tick.price or "" for tick in trades]
            volume = sum(int(Decimal(tick.amount or "0").scaleb(20)) for tick in trades)
            high, low = max(map(Decimal, prices)), min(map(Decimal, prices))
            made[candle] = (prices[0], high, low, prices[-1], volume, len(trades))  # type: ignore[assignment]
    return made


def as_numbers(made: dict[CandleKey, tuple[str | int, ...]]) -> dict[CandleKey, tuple[object, ...]]:
    return {
        key: (first, Decimal(high), Decimal(low), last, int(Decimal(volume).scaleb(20)), trades)
        for key, (first, high, low, last, volume, trades) in made.items()
    }


def test_all_intervals_equal_a_plain_fold_of_the_recorded_trades():
    ticks = binance_trades()
    assert as_numbers(contents(run(ticks, 500).known())) == plain_fold(ticks)


def test_trades_in_any_order_with_crashes_make_the_same_candles():
    ticks = binance_trades()
    expected = contents(run(ticks, 500).known())
    random.Random(4).shuffle(ticks)
    charts = ChartsRun()
    now_ms = max(tick.ts for tick in ticks)
    for index in range(0, len(ticks), 5000):
        batch = ticks[index : index + 5000]
        charts.fold(batch, now_ms)
        charts.crash(ticks[:index])
        charts.fold(batch, now_ms)
        charts.take(now_ms)
    assert contents(charts.known()) == expected


@st.composite
def named_trades(draw: st.DrawFn) -> list[Tick]:
    times = draw(st.lists(st.integers(0, 400), min_size=1, max_size=40))
    return [
        Tick("X", Kind.TRADE, draw(PRICES), at * 500, at * 500_000_000, rank, str(rank), amount=draw(AMOUNTS))
        for rank, at in enumerate(sorted(times), 1)
    ]


@settings(max_examples=60, deadline=None)
@given(named_trades(), st.randoms(use_true_random=False), st.integers(1, 10), st.integers(1, 4))
def test_late_trades_make_the_same_candles_as_trades_in_order(
    ticks: list[Tick], chance: random.Random, batch: int, takes: int
):
    expected = contents(run(ticks, len(ticks)).known())
    shuffled = list(ticks)
    chance.shuffle(shuffled)
    assert contents(run(shuffled, batch, takes).known()) == expected


@settings(max_examples=60, deadline=None)
@given(named_trades(), st.integers(1, 10), st.integers(1, 3))
def test_trades_newest_first_make_the_same_candles_as_the_same_trades_live(ticks: list[Tick], batch: int, takes: int):
    assume(len({tick.at for tick in ticks}) > STEPS_BACK)
    live = [msgspec.structs.replace(tick, id=None) for tick in ticks]
    burst = [msgspec.structs.replace(tick, rank=rank) for rank, tick in enumerate(reversed(live), 1)]
    assert contents(run(burst, batch, takes).known()) == contents(run(live, batch, takes).known())


@st.composite
def any_ticks(draw: st.DrawFn) -> list[Tick]:
    """Trades with and without ids, also twice and newest first, prices and quotes."""
    kinds = st.sampled_from([Kind.QUOTE, Kind.PRICE, *[Kind.TRADE] * 6])
    ticks = []
    at = 100
    for rank in range(draw(st.integers(1, 40))):
        at = max(0, at + draw(st.sampled_from([-100, -1, -1, -1, 0, 0, 1, 90])))
        name = draw(st.sampled_from([None, None, None, str(rank), "7"]))
        kind = draw(kinds)
        quote = {"bid": "1", "ask": "1.01"} if kind is Kind.QUOTE else {}
        price, amount = draw(PRICES), draw(AMOUNTS) if kind is Kind.TRADE else None
        tick = Tick("X", kind, price, at * 500, at * 500_000_000, rank, name, amount=amount, **quote)  # type: ignore[arg-type]
        ticks.append(tick)
    return ticks


@settings(max_examples=150, deadline=None)
@given(any_ticks(), st.integers(0, 40), st.integers(0, 6), st.integers(1, 4))
def test_a_crash_at_any_point_changes_nothing(ticks: list[Tick], taken: int, lost: int, batch: int):
    unharmed, harmed = ChartsRun(), ChartsRun()
    now_ms = 1_000_000
    for charts in (unharmed, harmed):
        for index in range(0, len(ticks[:taken]), batch):
            charts.fold(ticks[:taken][index : index + batch], now_ms)
            charts.take(now_ms)
    harmed.fold(ticks[taken : taken + lost], now_ms)
    harmed.crash(ticks[:taken])
    for charts in (unharmed, harmed):
        charts.fold(ticks[taken:], now_ms)
        charts.take(now_ms)
    assert harmed.known() == unharmed.known()


def trade(price: str, ts: int, rank: int = 0, symbol: str = "X") -> Tick:
    return Tick(symbol, Kind.TRADE, price, ts, ts * 10**6, rank, f"{ts}{rank}", amount="0.1")


def test_a_change_is_what_readers_and_history_decode():
    charts = Charts(1000, GRACE_MS)
    charts.fold([trade("1", 59_000), trade("2", 60_000)], 60_600, {})
    (change,) = charts.take(60_600)
    published = decode_chart(change.publication)
    assert published.lag == 600
    assert [(each.start, each.closed) for each in published.candles["1m"]] == [(0, False), (60_000, False)]
    assert [(each.start, each.closed) for each in published.candles["1s"]] == [(59_000, False), (60_000, False)]
    assert published.candles["1d"] == [Candle(0, "1", "2", "1", "2", "0.2", 2, closed=False, rev=60_600)]
    assert decode_chart(change.snapshot) == published
    (change,) = charts.take(61_100)
    assert [(interval, start) for interval, start, _ in change.closed] == [("1s", 59_000), ("1m", 0)]
    assert decode_candle(change.closed[1][2]) == Candle(0, "1", "1", "1", "1", "0.1", 1, closed=True, rev=61_100)
    assert set(decode_chart(change.publication).candles) == {"1s", "1m"}
    assert decode_chart(change.snapshot).candles["1m"] == published.candles["1m"][1:]


def test_revisions_rise_by_the_clock_and_also_without_it():
    charts = ChartsRun()
    revs = []
    for rank, now_ms in enumerate([5000, 5000, 4000, 9000]):
        charts.fold([trade("1", 1000, rank)], now_ms)
        charts.take(now_ms)
        revs.append(charts.published[CandleKey("X", "1m", 0)].rev)
        charts.crash([])
    assert revs == [5000, 5001, 5002, 9000]


def test_a_symbol_that_said_nothing_is_not_taken():
    charts = Charts(1000, GRACE_MS)
    charts.fold([trade("1", 1000), trade("1", 1000, symbol="Y")], 1000, {})
    assert [change.symbol for change in charts.take(1000)] == ["X", "Y"]
    charts.fold([trade("2", 1000, 1, "Y")], 1000, {})
    assert [change.symbol for change in charts.take(1000)] == ["Y"]
    assert charts.take(1000) == []


def test_a_forgotten_symbol_begins_anew():
    charts = Charts(1000, GRACE_MS)
    charts.fold([trade("1", 1000)], 1000, {})
    charts.forget("X")
    charts.forget("Y")
    assert len(charts) == 0
    assert charts.take(10**9) == []


def test_what_redis_holds_and_is_none_of_ours_is_refused():
    charts = Charts(1000, GRACE_MS)
    for snapshot in (b"", b"\xc1", b"\x92\x00\x80"):
        with pytest.raises(DecodeError):
            charts.restore("X", snapshot)
    charts.fold([trade("1", 1000)], 1000, {})
    with pytest.raises(DecodeError):
        charts.load(CandleKey("X", "1s", 0), b"\x91\x00")
