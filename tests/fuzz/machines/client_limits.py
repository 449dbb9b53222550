"""One client's rates against exact arithmetic: what is allowed, and how long who is refused is told to wait.

Rates and times are binary fractions, so that the gateway's floats are exact too and the two must agree to the last bit.
"""

from fractions import Fraction
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.gateway.limits import ClientLimits, EventRates

EVENTS: Final = st.sampled_from(["authenticate", "subscribe:price", "resync:price"])
RATES: Final = st.sampled_from([0.5, 1.0, 2.0, 8.0])
BURSTS: Final = st.sampled_from([1.0, 4.0, 16.0])
PAUSES: Final = st.sampled_from([0.0, 0.0, 0.125, 0.5, 1.0, 16.0])


class OneClient(RuleBasedStateMachine):
    """A client's buckets and the model's: event -> (tokens, when)."""

    @initialize(default=RATES, burst=BURSTS, own=RATES)
    def begin(self, default: float, burst: float, own: float) -> None:
        self.rates = EventRates(default, burst, {"authenticate": own})
        self.limits = ClientLimits(self.rates)
        self.tokens: dict[str, tuple[Fraction, Fraction]] = {}
        self.allowed: dict[str, int] = {}
        self.start = self.now = 64.0

    @rule(seconds=PAUSES)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(event=EVENTS, times=st.integers(1, 20))
    def send(self, event: str, times: int) -> None:
        for _ in range(times):
            self.send_one(event)

    @rule(event=EVENTS)
    def wait_as_told(self, event: str) -> None:
        wait = self.send_one(event)
        if wait:
            self.now += wait
            assert self.send_one(event) == 0, "refused after the wait that it was told"

    def send_one(self, event: str) -> float:
        rate, burst = map(Fraction, self.rates.of(event))
        now = Fraction(self.now)
        tokens, at = self.tokens.get(event, (burst, now))
        tokens = min(burst, tokens + (now - at) * rate)
        wait = self.limits.take(event, self.now)
        if tokens >= 1:
            assert wait == 0
            tokens -= 1
            self.allowed[event] = self.allowed.get(event, 0) + 1
        else:
            assert Fraction(wait) == (1 - tokens) / rate
        self.tokens[event] = tokens, now
        return wait

    @invariant()
    def never_more_than_the_burst_and_the_rate_since_then(self) -> None:
        for event, allowed in getattr(self, "allowed", {}).items():
            rate, burst = self.rates.of(event)
            assert allowed <= burst + rate * (self.now - self.start)
