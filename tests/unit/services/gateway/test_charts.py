"""One chart: the higher `rev` counts, flat bars fill the gaps, and what is returned is all that a watcher needs."""

import random
from collections.abc import Iterable

import pytest

from services.gateway.charts import KEPT, MOST_BARS, Series, split
from shared.messages import Candle, Chart
from tests.support.fakes_gateway import make_candle

MINUTE = 60_000
GRACE = 500
T0 = 30_000_000 * MINUTE


def series_of(*candles: Candle, fill: bool = True, now: int = 0, lag: int = 0) -> Series:
    series = Series("BTC-USDT", "1m", fill=fill, grace_ms=GRACE)
    closed = [candle for candle in candles if candle.closed]
    series.load(chart(*(candle for candle in candles if not candle.closed), lag=lag), closed, now or T0)
    return series


def chart(*candles: Candle, lag: int = 0, interval: str = "1m") -> Chart:
    return Chart(lag, {interval: list(candles)})


def minute(number: int, rev: int, close: str = "1.50", *, closed: bool = True) -> Candle:
    return make_candle(T0 + number * MINUTE, rev, close, closed=closed)


def flat(number: int, rev: int, close: str = "1.50") -> Candle:
    return Candle(T0 + number * MINUTE, close, close, close, close, "0", 0, closed=True, rev=rev)


def numbers(bars: Iterable[Candle]) -> list[int]:
    return [(bar.start - T0) // MINUTE for bar in bars]


def test_the_higher_rev_of_a_start_counts_in_whatever_order_they_come() -> None:
    series = series_of(minute(0, 1), minute(1, 5, closed=False))
    assert series.apply(chart(minute(1, 4, "9.99", closed=False))) == []
    assert series.apply(chart(minute(1, 5, "9.99", closed=False))) == []
    newer = minute(1, 6, "2.00", closed=False)
    assert series.apply(chart(newer)) == [newer]
    assert series.bars() == [minute(0, 1), newer]
    assert series.rev == 6


def test_what_is_published_before_everything_is_read_is_merged_with_it() -> None:
    series = Series("BTC-USDT", "1m", fill=True, grace_ms=GRACE)
    series.apply(chart(minute(2, 9)))
    series.load(chart(minute(2, 8, closed=False)), [minute(0, 1), minute(1, 2)], T0)
    assert series.ready
    assert series.bars() == [minute(0, 1), minute(1, 2), minute(2, 9)]


def test_candles_of_other_intervals_only_raise_the_rev() -> None:
    series = series_of(minute(0, 1))
    assert series.apply(chart(minute(0, 7), interval="5m")) == []
    assert series.rev == 7
    assert series.bars() == [minute(0, 1)]


def test_reading_again_returns_only_what_was_missed() -> None:
    series = series_of(minute(0, 1), minute(1, 2), minute(2, 3, closed=False))
    missed = [minute(2, 4), minute(3, 5, closed=False)]
    assert series.load(chart(missed[1]), [minute(0, 1), minute(1, 2), missed[0]], T0) == missed


def test_gaps_in_what_is_read_are_flat_bars() -> None:
    series = series_of(minute(0, 1, "7.00"), minute(3, 5), minute(5, 9, closed=False))
    assert series.bars() == [
        minute(0, 1, "7.00"),
        flat(1, 1, "7.00"),
        flat(2, 1, "7.00"),
        minute(3, 5),
        flat(4, 5),
        minute(5, 9, closed=False),
    ]


def test_without_filling_there_are_only_candles() -> None:
    series = series_of(minute(0, 1), minute(3, 5), fill=False)
    assert series.apply(chart(minute(9, 6))) == [minute(9, 6)]
    assert series.bars() == [minute(0, 1), minute(3, 5), minute(9, 6)]
    assert series.due_ms() is None
    assert series.fill(T0 + 99 * MINUTE) == []


def test_an_idle_chart_is_filled_up_to_the_symbol_s_time_when_it_is_read() -> None:
    series = series_of(minute(0, 1), now=T0 + 4 * MINUTE + GRACE + 7, lag=7)
    assert numbers(series.bars()) == [0, 1, 2, 3]
    series = series_of(minute(0, 1), now=T0 + 4 * MINUTE + GRACE + 6, lag=7)
    assert numbers(series.bars()) == [0, 1, 2]


def test_a_flat_bar_is_due_a_grace_after_the_end_of_its_slot_on_the_symbol_s_clock() -> None:
    series = series_of(minute(0, 1), lag=300)
    due = T0 + 2 * MINUTE + GRACE + 300
    assert series.due_ms() == due
    assert series.fill(due - 1) == []
    assert series.fill(due) == [flat(1, 1)]
    assert series.fill(due) == []
    assert series.due_ms() == due + MINUTE


def test_nothing_is_filled_behind_a_candle_that_nobody_has_closed() -> None:
    series = series_of(minute(0, 1, closed=False))
    assert series.fill(T0 + 99 * MINUTE) == []
    series.apply(chart(minute(0, 2)))
    assert series.due_ms() == T0 + 2 * MINUTE + GRACE


def test_the_first_trade_after_a_gap_brings_the_flat_bars_before_it() -> None:
    series = series_of(minute(0, 1))
    newest = minute(3, 2, closed=False)
    assert series.apply(chart(newest)) == [flat(1, 1), flat(2, 1), newest]


def test_flat_bars_that_were_made_do_not_come_again() -> None:
    series = series_of(minute(0, 1))
    series.fill(T0 + 3 * MINUTE + GRACE)
    newest = minute(4, 2, closed=False)
    assert series.apply(chart(newest)) == [flat(3, 1), newest]


def test_a_late_trade_in_a_filled_slot_revises_it_and_what_follows_from_it() -> None:
    series = series_of(minute(0, 1), minute(4, 2))
    late = minute(2, 3, "8.00")
    assert series.apply(chart(late)) == [late, flat(3, 3, "8.00")]
    assert series.bars() == [minute(0, 1), flat(1, 1), late, flat(3, 3, "8.00"), minute(4, 2)]


def test_a_late_trade_that_changes_a_close_revises_the_flat_bars_behind_it() -> None:
    series = series_of(minute(0, 1))
    series.fill(T0 + 3 * MINUTE + GRACE)
    revised = minute(0, 2, "9.00")
    assert series.apply(chart(revised)) == [revised, flat(1, 2, "9.00"), flat(2, 2, "9.00")]


def test_a_late_trade_that_leaves_the_close_revises_only_its_own_bar() -> None:
    series = series_of(minute(0, 1))
    series.fill(T0 + 3 * MINUTE + GRACE)
    assert series.apply(chart(minute(0, 2))) == [minute(0, 2)]


def test_a_clock_that_jumps_makes_no_more_bars_than_are_kept() -> None:
    series = series_of(minute(0, 1), lag=1_000_000 * MINUTE)
    series.apply(chart(lag=0))
    assert len(series.fill(T0 + 900_000 * MINUTE)) == KEPT
    assert len(series.bars()) == KEPT
    newest = minute(2_000_000, 5)
    assert len(series.apply(chart(newest))) <= KEPT + 1
    assert series.bars()[-1] == newest


def test_no_more_candles_are_kept_than_clients_can_have() -> None:
    series = series_of(*(minute(number, number + 1) for number in range(MOST_BARS)), fill=False)
    for number in range(MOST_BARS, MOST_BARS + 50):
        series.apply(chart(minute(number, number + 1)))
    assert numbers(series.bars()) == list(range(50 - 2, MOST_BARS + 50))


@pytest.mark.parametrize("fill", [True, False])
def test_bars_from_a_start_on_can_be_asked_for(fill: bool) -> None:  # noqa: FBT001 - a parameter
    series = series_of(*(minute(number, number + 1) for number in range(10)), fill=fill)
    assert numbers(series.bars(T0 + 7 * MINUTE)) == [7, 8, 9]
    assert numbers(series.bars(T0 + 7 * MINUTE + 1)) == [8, 9]
    assert numbers(series.bars(T0 + 10 * MINUTE)) == []


def test_flat_bars_from_a_start_on_can_be_asked_for() -> None:
    series = series_of(minute(0, 1), minute(9, 2))
    assert numbers(series.bars(T0 + 7 * MINUTE)) == [7, 8, 9]
    assert numbers(series.bars(T0 + 6 * MINUTE + 1)) == [7, 8, 9]


def test_a_chart_says_whether_it_reaches_back_to_a_start() -> None:
    series = series_of(minute(0, 1), minute(5_000, 2))
    assert not series.reaches(T0 - MINUTE)
    assert not series.reaches(T0)
    assert series.reaches(T0 + (5_000 - KEPT + 1) * MINUTE)
    assert series_of(minute(0, 1), minute(5_000, 2), fill=False).reaches(T0)
    assert not series_of().reaches(T0)


def test_after_redis_lost_its_data_only_what_differs_is_returned() -> None:
    series = series_of(minute(0, 1), minute(2, 2))
    series.reset()
    assert not series.ready
    assert series.bars() == []
    published = minute(4, 20, closed=False)
    assert published in series.apply(chart(published))
    rebuilt = minute(2, 12, "3.00")
    assert series.load(chart(published), [minute(0, 1), rebuilt], T0) == [rebuilt, flat(3, 12, "3.00")]


def test_a_forming_candle_alone_does_not_change_the_closed_bars() -> None:
    series = series_of(minute(0, 1), minute(1, 2, closed=False))
    version, settled = series.version, series.settled
    series.apply(chart(minute(1, 3, "5.00", closed=False)))
    assert (series.version > version, series.settled) == (True, settled)
    series.apply(chart(minute(1, 4, "5.00")))
    assert series.settled > settled


def test_an_answer_ends_with_the_oldest_candle_that_is_not_closed() -> None:
    closed, waiting, newest = minute(0, 1), minute(1, 2, closed=False), minute(2, 3, closed=False)
    assert split([closed]) == ([closed], None, ())
    assert split([closed, waiting]) == ([closed], waiting, [])
    assert split([closed, waiting, newest]) == ([closed], waiting, [newest])
    assert split([]) == ([], None, ())


class Ingest:
    """A price-ingest by the book: commits candles with rising `rev`, and closes them in order."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.rev = 0
        self.held: dict[int, Candle] = {}
        self.slot = 0
        self.now = T0

    def pass_time(self) -> None:
        """The clock goes on, at times beyond the slot of the last trade."""
        self.now = max(self.now, T0 + (self.slot + self.chance.randrange(4)) * MINUTE + GRACE)

    def commit(self) -> list[Candle]:
        self.rev += 1
        changed: dict[int, Candle] = {}
        if self.held and self.chance.random() < 0.3:  # late: a closed candle, or one of the past
            slot = self.chance.randrange(self.slot + 1)
            changed[slot] = minute(slot, self.rev, self.close(), closed=slot < self.slot or self.is_closed(slot))
        else:
            self.slot += self.chance.choice((0, 0, 1, 1, 2, 5))
            over = self.is_closed(self.slot) or self.chance.random() < 0.2
            changed[self.slot] = minute(self.slot, self.rev, self.close(), closed=over)
        for slot, candle in self.held.items():
            if (slot < self.slot or self.is_closed(slot)) and not candle.closed and slot not in changed:
                changed[slot] = minute(slot, self.rev, candle.close)
        self.held.update(changed)
        return [changed[slot] for slot in sorted(changed)]

    def is_closed(self, slot: int) -> bool:
        is_over = T0 + (slot + 1) * MINUTE + GRACE <= self.now
        return is_over or (slot in self.held and self.held[slot].closed)

    def close(self) -> str:
        return f"{self.chance.randrange(3)}.00"

    def read(self) -> tuple[Chart, list[Candle]]:
        held = [self.held[slot] for slot in sorted(self.held)]
        return chart(*(one for one in held if not one.closed)), [one for one in held if one.closed]


def as_seen(bars: Iterable[Candle]) -> list[tuple[int, str, int, bool]]:
    """Without `rev`: that of a flat bar may lag behind where nothing else of it changed."""
    return [(bar.start, bar.close, bar.trades, bar.closed) for bar in bars]


def expected(ingest: Ingest, until: int, *, fill: bool) -> list[tuple[int, str, int, bool]]:
    """What a chart has to be, the simple way."""
    rows = []
    before: Candle | None = None
    for slot in range(min(ingest.held), until):
        candle = ingest.held.get(slot)
        if candle is None and fill and before is not None:
            candle = flat(slot, before.rev, before.close)
        else:
            before = candle or before
        if candle is not None:
            rows.append(candle)
    return as_seen(rows)


@pytest.mark.parametrize("fill", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_what_was_first_there_with_what_came_is_always_what_redis_holds(seed: int, fill: bool) -> None:  # noqa: FBT001
    chance = random.Random(seed)
    ingest = Ingest(chance)
    for _ in range(chance.randrange(1, 30)):
        ingest.commit()
    series = series_of(fill=fill)
    forming, closed = ingest.read()
    series.load(forming, closed, T0)
    seen = {bar.start: bar for bar in series.bars()}

    def receive(bars: list[Candle], *, in_order: bool) -> None:
        assert [bar.start for bar in bars] == sorted({bar.start for bar in bars})
        for bar in bars:
            assert not in_order or bar.start not in seen or bar.rev > seen[bar.start].rev
            seen[bar.start] = bar

    for _ in range(60):
        published = ingest.commit()
        what = chance.random()
        if what < 0.7:
            receive(series.apply(chart(*published)), in_order=True)
        else:  # lost on the way, and found when all is read again
            if what > 0.9:
                series.reset()
            forming, closed = ingest.read()
            receive(series.load(forming, closed, ingest.now), in_order=False)
        if chance.random() < 0.2:
            ingest.pass_time()
            receive(series.apply(chart(*ingest.commit())), in_order=True)
            receive(series.fill(ingest.now), in_order=True)
        until = max(seen) // MINUTE - T0 // MINUTE + 1
        assert as_seen(seen[start] for start in sorted(seen)) == expected(ingest, until, fill=fill)
        assert as_seen(series.bars()) == as_seen(seen[start] for start in sorted(seen))
