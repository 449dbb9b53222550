"""How long to wait before the next try."""

from hypothesis import given
from hypothesis import strategies as st

from shared.backoff import Backoff


def test_each_wait_doubles_up_to_the_cap():
    backoff = Backoff(0.1, 1.0, lambda: 1.0)
    assert [backoff.next_delay() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_chance_takes_up_to_half_of_it():
    backoff = Backoff(0.1, 1.0, lambda: 0.0)
    assert [backoff.next_delay() for _ in range(5)] == [0.05, 0.1, 0.2, 0.4, 0.5]


def test_after_a_success_it_begins_small_again():
    backoff = Backoff(0.1, 1.0, lambda: 1.0)
    for _ in range(5):
        backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == 0.1


@given(st.integers(1, 5000), st.floats(0, 1, exclude_max=True))
def test_however_long_it_fails_the_wait_stays_within_the_cap(tries: int, chance: float):
    backoff = Backoff(0.1, 2.0, lambda: chance)
    assert all(0.05 <= backoff.next_delay() <= 2.0 for _ in range(tries))
