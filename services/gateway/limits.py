"""Token buckets: how much a client may do. Pure; time is an argument, in seconds."""

from collections.abc import Mapping


class TokenBucket:
    """`burst` at once, `rate` a second after that."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: float, now: float) -> None:
        self._tokens = burst
        self._at = now

    def take(self, rate: float, burst: float, now: float) -> float:
        """Take one token.

        Returns:
            0.0 when there was one, else the seconds until there will be.
        """
        tokens = min(burst, self._tokens + (now - self._at) * rate)
        self._at = now
        if tokens >= 1.0:
            self._tokens = tokens - 1.0
            return 0.0
        self._tokens = tokens
        return (1.0 - tokens) / rate


class EventRates:
    """The rates of every event; shared by all clients.

    Args:
        default: events a second, for an event that `rates` does not name.
        burst: events at once; at most ten seconds' worth of a slower event.
        rates: event -> events a second.
    """

    __slots__ = ("_burst", "_default", "_rates")

    def __init__(self, default: float, burst: float, rates: Mapping[str, float]) -> None:
        self._default = default
        self._burst = burst
        self._rates = dict(rates)

    def of(self, event: str) -> tuple[float, float]:
        """Rate and burst of one event."""
        rate = self._rates.get(event)
        if rate is None:
            return self._default, self._burst
        return rate, max(1.0, min(self._burst, rate * 10))


class ClientLimits:
    """One client's buckets, one for each event that it ever sent; the caller bounds the names."""

    __slots__ = ("_buckets", "_rates")

    def __init__(self, rates: EventRates) -> None:
        self._rates = rates
        self._buckets: dict[str, TokenBucket] | None = None

    def take(self, event: str, now: float) -> float:
        """Count one event; 0.0 when it is allowed, else the seconds to wait."""
        rate, burst = self._rates.of(event)
        if self._buckets is None:
            self._buckets = {}
        bucket = self._buckets.get(event)
        if bucket is None:
            bucket = self._buckets[event] = TokenBucket(burst, now)
        return bucket.take(rate, burst, now)
