"""The ledger finds what it is there to find."""

import pytest

from tests.chaos.ledger import EXAMPLES, Ledger


def ledger(*numbers: int, clients: tuple[str, ...] = ("a",)) -> Ledger:
    """Trades 1.. of symbols X (odd) and Y (even), accepted at their number's second; clients joined before."""
    made = Ledger()
    for client in clients:
        made.join(client, ["X", "Y"], 0.0)
    for number in numbers or range(1, 7):
        made.accept(number, "XY"[number % 2 == 0], float(number))
    return made


def figures(made: Ledger) -> tuple[int, int, int, int, int]:
    verdict = made.verdict()
    return verdict.lost, verdict.declared, verdict.doubled, verdict.disordered, verdict.strange


def test_everything_once_and_in_order_is_clean_whatever_the_order_across_symbols() -> None:
    made = ledger()
    made.deliver("a", [2, 1, 4], 10.0)
    made.deliver("a", [6, 3, 5], 11.0)
    assert made.verdict().clean
    assert (made.verdict().trades, made.verdict().owed) == (6, 6)


def test_what_never_came_is_lost_for_each_client_that_was_owed_it() -> None:
    made = ledger(clients=("a", "b"))
    made.deliver("a", [1, 2, 4, 5, 6], 10.0)
    made.deliver("b", [1, 2, 3, 4, 5], 10.0)
    assert figures(made) == (2, 0, 0, 0, 0)
    assert made.verdict().examples == [
        "lost: a, trade 3 of X, accepted at 3.000",
        "lost: b, trade 6 of Y, accepted at 6.000",
    ]
    assert not made.verdict().clean


def test_the_same_trade_again_is_doubled_and_not_out_of_order() -> None:
    made = ledger()
    made.deliver("a", [1, 2, 3, 4, 5, 6, 1], 10.0)
    assert figures(made) == (0, 0, 1, 0, 0)


def test_a_trade_behind_a_later_one_of_its_symbol_is_out_of_order() -> None:
    made = ledger()
    made.deliver("a", [1, 2, 5, 3, 4, 6], 10.0)
    assert figures(made) == (0, 0, 0, 1, 0)
    assert made.verdict().examples == ["disordered: a, trade 3 of X behind 5"]


def test_order_is_that_of_acceptance_and_not_of_numbers() -> None:
    made = ledger(3, 1)
    made.deliver("a", [3, 1], 10.0)
    assert made.verdict().clean


def test_what_upstream_never_had_confirmed_is_strange() -> None:
    made = ledger()
    made.deliver("a", [1, 2, 3, 4, 5, 6, 99], 10.0)
    assert figures(made) == (0, 0, 0, 0, 1)


def test_a_gap_that_the_client_was_told_of_is_counted_apart_and_still_not_clean() -> None:
    made = ledger()
    made.deliver("a", [1, 2], 2.5)
    made.declare_gap("a", 4.5)
    made.deliver("a", [5, 6], 7.0)
    assert figures(made) == (0, 2, 0, 0, 0)
    assert not made.verdict().clean


def test_a_declared_gap_excuses_neither_what_was_due_before_it_nor_what_came_after_it() -> None:
    made = ledger(*range(1, 11))
    made.deliver("a", [3, 2], 3.5)
    made.declare_gap("a", 5.5)
    made.deliver("a", [6, 7, 8, 10], 11.0)
    assert figures(made) == (2, 2, 0, 0, 0), "lost 1 and 9, told of 4 and 5"


def test_what_was_accepted_before_the_subscription_is_not_owed() -> None:
    made = Ledger()
    made.accept(1, "X", 1.0)
    made.join("a", ["X"], 1.5)
    made.accept(2, "X", 2.0)
    made.accept(3, "Z", 2.0)
    made.deliver("a", [2], 3.0)
    assert (made.verdict().clean, made.verdict().owed) == (True, 1)


def test_a_delivery_may_be_noticed_before_its_confirmation() -> None:
    made = ledger(1, 2)
    made.deliver("a", [1, 2, 3], 3.0)
    made.accept(3, "X", 3.5)
    assert made.verdict().clean


def test_caught_up_means_the_newest_of_every_symbol_at_every_client() -> None:
    made = ledger(clients=("a", "b"))
    made.deliver("a", [5, 6], 10.0)
    made.deliver("b", [5], 10.0)
    assert not made.caught_up()
    made.deliver("b", [6], 11.0)
    assert made.caught_up()


def test_healed_when_the_last_client_has_a_trade_accepted_after_the_fault() -> None:
    made = ledger(clients=("a", "b"))
    made.deliver("a", [1, 2, 3], 3.2)
    made.deliver("a", [4], 4.1)
    made.deliver("b", [1, 2, 3], 8.0)
    assert made.healed_after(3.1) is None
    made.deliver("b", [4], 9.1)
    assert made.healed_after(3.1) == pytest.approx(6.0)


def test_examples_are_few() -> None:
    made = ledger(*range(1, 101))
    assert made.verdict().lost == 100
    assert len(made.verdict().examples) == EXAMPLES
