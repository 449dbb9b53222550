"""Log lines are rationed by kind."""

from shared.log_budget import BURST, PER_S, TRACEBACK_COST, LogBudget


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_goes_through_and_the_next_line_tells_what_did_not():
    clock = Clock()
    budget = LogBudget(clock)
    assert [budget.take("a") for _ in range(BURST)] == [0] * BURST
    assert [budget.take("a") for _ in range(7)] == [None] * 7
    clock.now += 1 / PER_S
    assert budget.take("a") == 7
    assert budget.take("a") is None


def test_kinds_do_not_share():
    budget = LogBudget(Clock())
    while budget.take("a") is not None:
        pass
    assert budget.take("b") == 0


def test_a_line_with_a_traceback_counts_for_many():
    budget = LogBudget(Clock())
    written = sum(budget.take("a", TRACEBACK_COST) is not None for _ in range(1000))
    assert written == BURST // TRACEBACK_COST


def test_what_was_not_used_is_not_saved_up_beyond_a_burst():
    clock = Clock()
    budget = LogBudget(clock)
    budget.take("a")
    clock.now += 1_000_000
    assert sum(budget.take("a") is not None for _ in range(2 * BURST)) == BURST
