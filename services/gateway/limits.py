"""How much a client may do: token buckets, and the bounds of a WebSocket. Pure; time is an argument, in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MAX_FRAGMENTS: Final = 64
MESSAGE_TIMEOUT_S: Final = 10.0


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

    def is_full(self, rate: float, burst: float, now: float) -> bool:
        """Whether nothing that was taken is still missing: a new bucket would be the same."""
        return self._tokens + (now - self._at) * rate >= burst


class Flood(Enum):
    """What a client's messages are."""

    NO = auto()
    WARN = auto()
    """Over the burst."""
    END = auto()
    """Over it by as much again."""


class MessageLimits:
    """How many messages a client may send: `burst` at once, `rate` a second after that; shared by all clients.

    A client keeps one number, the time at which all that it has sent would be paid for at `rate`: a bucket of its own
    for each, which every client would have from its first message on, would be a hundred bytes of them.
    """

    __slots__ = ("_cost", "_room")

    def __init__(self, rate: float, burst: float) -> None:
        self._cost = 1.0 / rate
        self._room = burst / rate

    def charge(self, paid_at: float, now: float) -> float:
        """Count one message: when all would be paid for."""
        return max(paid_at, now) + self._cost

    def judge(self, paid_at: float, now: float) -> Flood:
        """Judge what `charge` said."""
        owed = paid_at - now
        if owed <= self._room:
            return Flood.NO
        return Flood.WARN if owed <= 2 * self._room else Flood.END

    def is_calm(self, paid_at: float, now: float) -> bool:
        """Whether half of the burst is paid for: the next warning would be news."""
        return paid_at - now <= self._room / 2


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


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """Shared by all WebSockets.

    Attributes:
        max_message: bytes of one message.
        frame_rate: frames a second, of any kind.
        frame_burst: frames at once.
        write_timeout: seconds without one byte drained.
        deflate: whether permessage-deflate (RFC 7692) is offered.
        max_fragments: frames of one message.
        message_timeout: seconds for all of them.
    """

    max_message: int
    frame_rate: float
    frame_burst: float
    write_timeout: float
    deflate: bool = False
    max_fragments: int = MAX_FRAGMENTS
    message_timeout: float = MESSAGE_TIMEOUT_S
