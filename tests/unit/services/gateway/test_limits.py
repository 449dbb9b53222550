"""Token buckets: the bound holds for every pattern of asking, and the wait that is told is enough."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.limits import ClientLimits, EventRates, Flood, MessageLimits, TokenBucket

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


def test_a_full_bucket_is_as_good_as_a_new_one() -> None:
    bucket = TokenBucket(2, 0.0)
    assert bucket.is_full(1, 2, 0.0)
    bucket.take(1, 2, 0.0)
    assert not bucket.is_full(1, 2, 0.5)
    assert bucket.is_full(1, 2, 1.0)


def judged(limits: MessageLimits, times: Iterable[float]) -> list[Flood]:
    paid_at, found = 0.0, []
    for now in times:
        paid_at = limits.charge(paid_at, now)
        found.append(limits.judge(paid_at, now))
    return found


def test_a_burst_of_messages_is_allowed_then_warned_of_then_the_end() -> None:
    found = judged(MessageLimits(20, 200), [100.0] * 401)
    assert found == [Flood.NO] * 200 + [Flood.WARN] * 200 + [Flood.END]


def test_messages_at_their_rate_go_on_for_ever() -> None:
    assert set(judged(MessageLimits(20, 5), [100.0 + number / 20 for number in range(1000)])) == {Flood.NO}


def test_a_little_more_than_the_rate_ends_in_time() -> None:
    found = judged(MessageLimits(20, 20), [100.0 + number / 25 for number in range(300)])
    assert (found.index(Flood.WARN), found.index(Flood.END)) == (96, 196)


def test_a_client_is_calm_when_half_its_burst_is_paid_for() -> None:
    limits = MessageLimits(20, 20)
    assert limits.is_calm(100.5, 100.0)
    assert not limits.is_calm(100.6, 100.0)
