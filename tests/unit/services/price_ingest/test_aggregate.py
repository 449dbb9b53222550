"""Open, high, low, close, volume and count of some ticks."""

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.price_ingest.aggregate import Aggregate, mid, number
from services.price_ingest.normalise import Kind

POINTS = st.tuples(st.integers(0, 3), st.integers(0, 3), st.just(0), st.sampled_from(["1", "1.0", "1.00", "2", "-3"]))
TRADES = st.lists(st.tuples(POINTS, st.sampled_from(["0.1", "0.00017", "9" * 40, "0." + "0" * 77 + "1"])), min_size=1)


def aggregate(*trades, kind: Kind = Kind.TRADE) -> Aggregate:
    (point, amount), *rest = trades
    made = Aggregate(kind, point)
    made.add_amount(amount)
    for point, amount in rest:
        made.add_price(point)
        made.add_amount(amount)
    return made


def content(made: Aggregate) -> tuple[object, ...]:
    return made.kind, made.first, made.last, made.high, made.low, str(made.volume), made.trades


@given(TRADES, st.integers(0, 10), st.randoms(use_true_random=False))
def test_merging_parts_in_any_order_is_folding_all_in_any_other(trades, cut: int, chance: random.Random):
    whole = aggregate(*trades)
    chance.shuffle(trades)
    parts = [aggregate(*part) for part in (trades[cut:], trades[:cut]) if part]
    merged = parts[0]
    for part in parts[1:]:
        assert merged.merge(part)
    assert content(merged) == content(whole)


def test_volume_is_exact_at_both_ends_of_what_an_upstream_may_write():
    tiny = "0." + "0" * 77 + "1"
    made = aggregate(((0, 0, 0, "1"), "9" * 39), ((0, 1, 0, "1"), tiny))
    assert format(made.volume, "f") == "9" * 39 + tiny[1:]


def test_open_and_close_are_by_time_and_then_by_order():
    made = aggregate(((5, 2, 0, "2"), "1"), ((5, 10, 0, "3"), "1"), ((4, 99, 0, "1"), "1"), ((5, 9, 0, "4"), "1"))
    assert (made.first[3], made.last[3], made.high[1], made.low[1]) == ("1", "3", "4", "1")


def test_high_and_low_are_compared_as_numbers():
    made = aggregate(((1, 1, 0, "9"), "1"), ((1, 2, 0, "10"), "1"), ((1, 3, 0, "-1"), "1"), ((1, 4, 0, "-2"), "1"))
    assert (made.high, made.low) == (number("10"), number("-2"))


def test_a_higher_kind_replaces_a_lower_one_and_not_the_other_way():
    made = Aggregate(Kind.QUOTE, (1, 1, 0, "100"))
    trade = aggregate(((2, 1, 0, "1"), "0.5"))
    assert made.merge(trade)
    assert content(made) == content(trade)
    assert not made.merge(Aggregate(Kind.PRICE, (3, 1, 0, "100")))
    assert content(made) == content(trade)


def test_a_trade_taken_back_leaves_the_digits():
    made = aggregate(((1, 1, 0, "1"), "0.30"), ((1, 2, 0, "1"), "0.20"))
    made.take_back("0.20")
    assert (str(made.volume), made.trades) == ("0.30", 1)


def test_open_and_close_follow_the_ticks_that_stand_elsewhere():
    before = [(1, 1, 0, "a"), (1, 2, 0, "b")]
    after = [(1, 1, -1, "a"), (1, 1, -2, "b")]
    made = Aggregate(Kind.TRADE, (1, 1, 0, "1"))
    made.first, made.last = before
    made.reorder(before, after)
    assert (made.first[3], made.last[3]) == ("b", "a")
    made.reorder([(9, 9, 0, "c")], [])
    assert (made.first[3], made.last[3]) == ("b", "a")


@pytest.mark.parametrize(
    ("bid", "ask", "half_way"),
    [("1", "2", "1.5"), ("1.00", "3.00", "2.00"), ("61837.63", "61837.64", "61837.635"), ("0.1", "0.10", "0.10")],
)
def test_the_middle_of_a_quote_is_exact_and_keeps_the_digits(bid: str, ask: str, half_way: str):
    assert mid(bid, ask) == half_way
    assert Decimal(mid(bid, ask)) * 2 == Decimal(bid) + Decimal(ask)
