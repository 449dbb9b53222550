"""How long to wait before the next try: exponential, capped, with jitter from a given source of chance.

Full jitter, because all gateways lose Redis at the same moment and must not come back at the same moment.
"""

from collections.abc import Callable


class Backoff:
    """Delays in seconds: uniform in [half, whole] of `base` * 2^k, at most `cap`."""

    __slots__ = ("_attempt", "_base", "_cap", "_random")

    def __init__(self, base: float, cap: float, random: Callable[[], float]) -> None:
        self._base = base
        self._cap = cap
        self._random = random
        self._attempt = 0

    def next_delay(self) -> float:
        """Delay before the next try; each call doubles the one after it."""
        whole = min(self._cap, self._base * 2.0 ** min(self._attempt, 32))
        self._attempt += 1
        return whole * (0.5 + 0.5 * self._random())

    def reset(self) -> None:
        """Start again from `base`: the last try worked for a while."""
        self._attempt = 0
