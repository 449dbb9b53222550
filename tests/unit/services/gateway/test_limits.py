"""Token buckets: the bound holds for every pattern of asking, and the wait that is told is enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.limits import ClientLimits, EventRates, TokenBucket

RATES = st.floats(0.1, 1000)
BURSTS = st.integers(1, 200)
PAUSES = st.lists(st.floats(0, 5), min_size=1, max_size=100)


@given(RATES, BURSTS, PAUSES)
def test_never_gives_more_than_the_burst_and_the_rate_since_then(rate: float, burst: int, pauses: list[float]) -> None:
    bucket = TokenBucket(burst, 0.0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(rate, burst, now) == 0.0
        assert taken <= burst + rate * now + 1e-6


@given(RATES, BURSTS, st.floats(0, 100))
def test_a_client_that_waits_as_told_is_served(rate: float, burst: int, start: float) -> None:
    bucket = TokenBucket(burst, start)
    for _ in range(burst):
        assert bucket.take(rate, burst, start) == 0.0
    wait = bucket.take(rate, burst, start)
    assert 0 < wait <= 1 / rate + 1e-9
    assert bucket.take(rate, burst, start + wait + 1e-6) == 0.0


def test_being_refused_costs_nothing() -> None:
    bucket = TokenBucket(1, 0.0)
    assert bucket.take(1, 1, 0.0) == 0.0
    for tenth in range(1, 10):
        assert bucket.take(1, 1, tenth / 10) > 0
    assert bucket.take(1, 1, 1.0) == 0.0


@pytest.mark.parametrize(
    ("event", "expected"),
    [("other", (10, 50)), ("rare", (0.5, 5)), ("very-rare", (0.01, 1)), ("frequent", (100, 50))],
)
def test_a_slower_event_has_a_smaller_burst(event: str, expected: tuple[float, float]) -> None:
    rates = EventRates(10, 50, {"rare": 0.5, "very-rare": 0.01, "frequent": 100})
    assert rates.of(event) == expected


def test_each_client_and_each_event_has_its_own_bucket() -> None:
    rates = EventRates(1, 1, {})
    first, second = ClientLimits(rates), ClientLimits(rates)
    assert first.take("a", 0.0) == 0.0
    assert first.take("a", 0.0) == 1.0
    assert first.take("b", 0.0) == 0.0
    assert second.take("a", 0.0) == 0.0
