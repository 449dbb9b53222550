"""What the market was, once a second, within bounds: nothing is given out early, and what is left out is counted."""

from collections.abc import Mapping
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.delayed_history import LEAST_SAMPLES, STEP_S, TYPICAL_SAMPLE, DelayedHistory
from shared.messages import Price, decode_price
from tests.support.fakes_gateway import make_price

EPOCH = "epoch-1"


def seqs(history: DelayedHistory, after: float, until: float) -> list[dict[str, int]]:
    """The `seq`s of each sample in a span of time."""
    return [
        {symbol: decode_price(price).seq for symbol, price in prices.items()}
        for _, _, prices in history.between(after, until)
    ]


def look(history: DelayedHistory, now: float, market: Mapping[str, Price], epoch: str = EPOCH) -> None:
    history.take(now, epoch, market.get)


def test_each_step_has_what_changed_in_it() -> None:
    history = DelayedHistory(100_000)
    history.begin("A", 10.0)
    history.begin("B", 10.0)
    first, other = make_price(1), make_price(7)
    look(history, 11.0, {"A": first, "B": other})
    look(history, 12.0, {"A": make_price(3), "B": other})
    look(history, 13.0, {})
    assert seqs(history, 0, 99) == [{"A": 1, "B": 7}, {"A": 3}]


def test_a_second_look_within_a_step_changes_nothing() -> None:
    history = DelayedHistory(100_000)
    history.begin("A", 10.0)
    look(history, 11.0, {"A": make_price(1)})
    look(history, 11.0 + STEP_S / 2, {"A": make_price(2)})
    look(history, 12.0, {"A": make_price(3)})
    assert seqs(history, 0, 99) == [{"A": 1}, {"A": 3}]


def test_only_what_is_old_enough_is_given_out_and_only_once() -> None:
    history = DelayedHistory(100_000)
    history.begin("A", 10.0)
    for second in range(11, 20):
        look(history, float(second), {"A": make_price(second)})
    assert seqs(history, 0, 12.999) == [{"A": 11}, {"A": 12}]
    assert seqs(history, 12.0, 15.0) == [{"A": 13}, {"A": 14}, {"A": 15}]


def test_what_is_dropped_costs_nothing_more() -> None:
    history = DelayedHistory(100_000)
    history.begin("A", 10.0)
    for second in range(11, 20):
        look(history, float(second), {"A": make_price(second)})
    kept = history.size
    history.drop(15.0)
    assert seqs(history, 0, 99) == [{"A": second} for second in range(16, 20)]
    assert 0 < history.size < kept
    history.drop(99.0)
    assert history.size == 0


def test_a_symbol_that_was_left_meanwhile_does_not_come_back_with_a_hole() -> None:
    history = DelayedHistory(100_000)
    history.begin("A", 10.0)
    look(history, 11.0, {"A": make_price(1)})
    history.end("A")
    look(history, 12.0, {"A": make_price(2)})
    history.begin("A", 12.5)
    look(history, 13.0, {"A": make_price(3)})
    assert seqs(history, 0, 99) == [{}, {"A": 3}]


def test_where_there_is_no_room_steps_become_wider_and_what_is_left_out_is_counted() -> None:
    history = DelayedHistory(40 * TYPICAL_SAMPLE)
    history.begin("A", 0.0)
    for second in range(200):
        look(history, float(second), {"A": make_price(second + 1)})
    found = [sample["A"] for sample in seqs(history, -1, 999)]
    assert history.step_s == 8.0
    assert found == sorted(found)
    assert found[0] <= 1 + history.step_s, "it reaches back as far as before"
    assert all(later - earlier <= 2 * history.step_s for earlier, later in pairwise(found))
    assert history.merged > 0


def test_steps_become_narrow_again_when_there_is_room() -> None:
    history = DelayedHistory(40 * TYPICAL_SAMPLE)
    history.begin("A", 0.0)
    for second in range(100):
        look(history, float(second), {"A": make_price(second + 1)})
    wide = history.step_s
    for _ in range(10):
        history.drop(99.0)
    assert wide > STEP_S
    assert history.step_s == STEP_S


def test_histories_of_two_epochs_are_not_mixed() -> None:
    history = DelayedHistory(6 * TYPICAL_SAMPLE)
    for symbol in "AB":
        history.begin(symbol, 0.0)
    for second in range(40):
        look(history, float(second), {"A": make_price(100 + second), "B": make_price(100 + second)})
    for second in range(40, 80):
        look(history, float(second), {"A": make_price(second - 39)}, "epoch-2")
    assert history.step_s > STEP_S
    for _, epoch, prices in history.between(-1, 999):
        assert all((decode_price(price).seq < 100) is (epoch == "epoch-2") for price in prices.values())


def test_there_is_room_for_so_many_symbols_that_each_keeps_a_history() -> None:
    history = DelayedHistory(3 * LEAST_SAMPLES * TYPICAL_SAMPLE)
    for symbol in "ABC":
        assert history.has_room
        history.begin(symbol, 0.0)
    assert not history.has_room


@given(
    symbols=st.integers(1, 20), changes=st.lists(st.sets(st.integers(0, 19)), max_size=150), room=st.integers(20, 200)
)
def test_it_stays_within_its_bytes_and_never_shows_a_younger_price(
    symbols: int, changes: list[set[int]], room: int
) -> None:
    history = DelayedHistory(room * TYPICAL_SAMPLE)
    for number in range(symbols):
        history.begin(str(number), 0.0)
    market: dict[str, Price] = {}
    for second, changed in enumerate(changes):
        for number in changed:
            market[str(number)] = make_price(second + 1)
        look(history, float(second), market)
        assert history.size <= max(room, symbols) * TYPICAL_SAMPLE
        for at, _, prices in history.between(-1, 999):
            assert all(decode_price(price).seq <= at + 1 for price in prices.values())
