"""The candles of one symbol: their clock, what they are made of, what is kept of them."""

from itertools import count
from typing import Literal

import pytest

from services.price_ingest.candles import CandleKey
from services.price_ingest.normalise import Kind, Tick
from services.price_ingest.symbol_chart import CLOSED_KEPT, FURTHEST_AHEAD_MS, MAX_OPEN
from shared.intervals import INTERVALS
from shared.messages import Candle, decode_chart
from tests.support.charts_run import GRACE_MS, ChartsRun, contents

YEARS = 10**11
DAY = INTERVALS["1d"]
RANKS = count(1)


def trade(price: str, ts: int, trade_id: str | None = None, amount: str = "1") -> Tick:
    rank = next(RANKS)
    return Tick("X", Kind.TRADE, price, ts, ts * 10**6, rank, trade_id or f"id-{rank}", amount=amount)


def price(text: str, ts: int) -> Tick:
    return Tick("X", Kind.PRICE, text, ts, ts * 10**6, next(RANKS))


def quote(bid: str | None, ask: str | None, ts: int) -> Tick:
    return Tick("X", Kind.QUOTE, None, ts, ts * 10**6, next(RANKS), bid=bid, ask=ask)


def candle(charts: ChartsRun, start: int, interval: str = "1s") -> Candle | None:
    return charts.known().get(CandleKey("X", interval, start))


def is_closed(charts: ChartsRun, start: int, interval: str = "1s") -> bool:
    found = candle(charts, start, interval)
    assert found is not None
    return found.closed


def fed(*ticks: Tick, now_ms: int | None = None, charts: ChartsRun | None = None) -> ChartsRun:
    charts = charts or ChartsRun()
    now = ticks[-1].ts if now_ms is None else now_ms
    charts.fold(ticks, now)
    charts.take(now)
    return charts


def test_a_candle_closes_a_grace_after_its_end_though_nobody_trades():
    charts = fed(trade("1", 1200), now_ms=1300)
    charts.take(2000 + GRACE_MS + 99)
    assert not is_closed(charts, 1000)
    charts.take(2000 + GRACE_MS + 100)
    assert is_closed(charts, 1000)
    assert not is_closed(charts, 0, "1m")


def test_the_shortest_delay_sets_the_clock():
    charts = fed(trade("1", 1000), trade("1", 1900), now_ms=YEARS + 1900)
    assert decode_chart(charts.snapshots["X"]).lag == YEARS
    fed(trade("1", 1500), now_ms=YEARS + 9000, charts=charts)
    assert decode_chart(charts.snapshots["X"]).lag == YEARS


@pytest.mark.parametrize("speed", [1, 1000])
def test_a_replay_of_years_ago_closes_by_its_own_time_at_any_speed(speed: int):
    charts = ChartsRun()
    for ts in range(0, 100_000, 1000):
        fed(trade("1", ts), now_ms=YEARS + ts // speed, charts=charts)
        assert [is_closed(charts, start) for start in range(0, ts + 1000, 1000)][:-2] == [True] * (ts // 1000 - 1)
        assert not is_closed(charts, ts)


def test_an_upstream_whose_clock_is_ahead_closes_by_its_own():
    charts = fed(trade("1", 11_270), now_ms=10_000)
    charts.take(11_000)
    assert not is_closed(charts, 11_000)
    charts.take(12_000 - 1270 + GRACE_MS)
    assert is_closed(charts, 11_000)


@pytest.mark.parametrize("wrong_first", [True, False])
def test_one_wrong_tick_from_the_future_closes_nothing_early(*, wrong_first: bool):
    now = 10 * DAY
    ticks = [trade("1", now), trade("2", now + DAY)]
    charts = fed(*(reversed(ticks) if wrong_first else ticks), now_ms=now)
    charts.take(now + 1000 + GRACE_MS - 1)
    assert not is_closed(charts, now)
    charts.take(now + 1000 + GRACE_MS)
    assert is_closed(charts, now)
    charts.take(now + DAY + 1000 + GRACE_MS - 1)
    assert not is_closed(charts, now + DAY)
    charts.take(now + DAY + 1000 + GRACE_MS)
    assert is_closed(charts, now + DAY)


def test_a_clock_of_ours_that_is_far_too_slow_closes_by_itself():
    charts = fed(trade("1", 60_000), trade("1", 61_000 + FURTHEST_AHEAD_MS), now_ms=1000)
    charts.take(61_000 + GRACE_MS)
    assert is_closed(charts, 60_000)
    assert not is_closed(charts, 66_000)


def test_times_in_the_future_hold_no_more_candles_open_than_a_bound():
    charts = fed(*(trade("1", ts * 1000) for ts in range(3 * MAX_OPEN)), now_ms=0)
    still_open = decode_chart(charts.snapshots["X"]).candles["1s"]
    assert [each.start for each in still_open] == [ts * 1000 for ts in range(2 * MAX_OPEN, 3 * MAX_OPEN)]
    assert len(charts.known()) >= 3 * MAX_OPEN


def test_a_late_trade_revises_a_closed_candle_which_stays_closed():
    charts = fed(trade("2", 1500), trade("3", 9000))
    before = candle(charts, 1000)
    fed(trade("1", 1400), now_ms=9000, charts=charts)
    after = candle(charts, 1000)
    assert before is not None
    assert after == Candle(1000, "1", "2", "1", "2", "2", 2, closed=True, rev=before.rev + 1)
    assert [interval for interval, _, _ in charts.changes["X"].closed] == ["1s"]
    assert charts.published[CandleKey("X", "1m", 0)].open == "1"


def test_a_late_trade_where_no_candle_was_makes_a_closed_one():
    charts = fed(trade("2", 61_000), trade("3", 69_000), trade("3", 129_000))
    fed(trade("1", 65_000), trade("1", 31_000), now_ms=129_000, charts=charts)
    made = {(interval, start) for interval, start, _ in charts.changes["X"].closed}
    assert made == {("1s", 65_000), ("1s", 31_000), ("1m", 0), ("1m", 60_000)}
    assert is_closed(charts, 31_000)


def test_closed_candles_come_from_history_once_and_are_forgotten_again():
    charts = ChartsRun()
    for second in range(100):
        fed(trade("1", second * 1000), charts=charts)
    late = trade("2", 5000)
    missing = charts.charts.missing([late])
    assert missing == [CandleKey("X", "1s", 5000)]
    charts.charts.load(missing[0], charts.stored[missing[0]])
    assert charts.charts.missing([late]) == []
    fed(trade("1", 99_000), charts=charts)
    assert charts.charts.missing([late]) == missing
    charts.charts.load(missing[0], None)
    assert charts.charts.missing([late]) == []


def test_live_ticks_ask_for_nothing():
    charts = ChartsRun()
    for ts in range(0, 200_000, 700):
        tick = trade("1", ts)
        assert charts.charts.missing([tick, trade("1", max(0, ts - 300))]) == []
        fed(tick, charts=charts)


def test_after_a_restart_the_newest_candles_are_asked_for_until_there_is_a_newer_one():
    charts = fed(trade("1", 500), trade("1", 59_500))
    charts.take(70_000)
    charts.crash([])
    assert charts.charts.missing([trade("1", 59_900)]) == [CandleKey("X", "1s", 59_000), CandleKey("X", "1m", 0)]
    fed(trade("2", 59_900), now_ms=70_000, charts=charts)
    assert candle(charts, 0, "1m") == Candle(0, "1", "2", "1", "2", "3", 3, closed=True, rev=70_001)


def test_the_memory_of_a_symbol_is_bounded():
    charts = ChartsRun()
    for second in range(0, 4000, 7):
        fed(trade("1", second * 1000), charts=charts)
    held = charts.charts._charts["X"]._drafts
    assert max(map(len, held)) <= CLOSED_KEPT + 2


def test_a_tick_older_than_history_is_left_out_of_that_interval_only():
    charts = fed(trade("1", 100 * 1000), charts=ChartsRun(history=10))
    late = [trade("2", 89_999), trade("2", 90_000)]
    assert charts.charts.missing(late) == [CandleKey("X", "1s", 90_000)]
    fed(*late, now_ms=100_000, charts=charts)
    assert candle(charts, 89_000) is None
    assert candle(charts, 90_000) is not None
    found = candle(charts, 60_000, "1m")
    assert found is not None
    assert found.trades == 3


@pytest.mark.parametrize("kind", ["price", "quote"])
def test_prices_and_quotes_make_candles_without_volume(kind: Literal["price", "quote"]):
    ticks = [price("1.5", 1000), price("1.25", 1500)]
    if kind == "quote":
        ticks = [quote("1", "2", 1000), quote(None, "9", 1100), quote("9", None, 1200), quote("1.0", "1.5", 1500)]
    charts = fed(*ticks)
    assert candle(charts, 1000) == Candle(1000, "1.5", "1.5", "1.25", "1.25", "0", 0, closed=False, rev=1500)


def test_a_higher_kind_begins_the_candles_that_it_touches_anew_and_a_lower_one_counts_no_more():
    charts = fed(quote("1", "3", 500), quote("5", "5", 1000))
    fed(price("9", 1100), quote("7", "7", 1200), charts=charts)
    fed(trade("4", 1300), price("8", 1400), quote("7", "7", 1450), charts=charts)
    made = {key: content for key, content in contents(charts.known()).items() if key.interval in {"1s", "1d"}}
    assert made == {
        CandleKey("X", "1s", 0): ("2", "2", "2", "2", "0", 0),
        CandleKey("X", "1s", 1000): ("4", "4", "4", "4", "1", 1),
        CandleKey("X", "1d", 0): ("4", "4", "4", "4", "1", 1),
    }


def test_the_kind_survives_a_restart():
    charts = fed(trade("4", 1300))
    charts.crash([])
    fed(price("8", 1400), quote("1", "1", 2500), charts=charts)
    assert contents(charts.known())[CandleKey("X", "1d", 0)] == ("4", "4", "4", "4", "1", 1)


def test_trades_of_one_time_stand_by_their_number_else_by_arrival():
    ids = ["10", "9", "11"]
    charts = fed(*(trade(name, 1000, name) for name in ids))
    assert contents(charts.known())[CandleKey("X", "1s", 1000)][:4] == ("9", "11", "9", "11")
    charts = fed(*(trade(amount, 1000, f"{amount}x", amount) for amount in ids))
    assert contents(charts.known())[CandleKey("X", "1s", 1000)][:4] == ("10", "11", "9", "11")
    charts = fed(trade("1", 1000, "9" * 19), trade("2", 1000, "1" * 19))
    assert contents(charts.known())[CandleKey("X", "1s", 1000)][:4] == ("1", "2", "1", "2")
