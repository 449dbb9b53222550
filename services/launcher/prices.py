"""The prices that the board shows, as a client received them. Pure: time is handed in. Fed by `observe`."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from services.launcher.client import price_text

SAMPLES: Final = 120
"""Of each price, one a second: what a sparkline can be drawn from."""

MAX_SYMBOLS: Final = 2000
"""More are counted and not kept: no terminal shows them."""

LATE_S: Final = 5.0
"""A symbol that first comes so long after the first one of all stands on top: somebody has just fed it by hand."""

_RATE_WINDOW_S: Final = 5.0


@dataclass(slots=True)
class Price:
    """One symbol's.

    Attributes:
        symbol: its name.
        text: the price as it came.
        value: the same, to compare with.
        first: the first one seen.
        first_at, changed_at: seconds; of the first one, and of the last that differed from the one before.
        direction: 1 where that change was up, -1 down, 0 before any.
        samples: one a second, oldest first.
    """

    symbol: str
    text: str
    value: Decimal
    first: Decimal
    first_at: float
    changed_at: float
    direction: int = 0
    samples: deque[Decimal] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def change(self) -> float:
        """Since the first one, in percent."""
        return float((self.value / self.first - 1) * 100) if self.first else 0.0


class PriceTable:
    """All symbols of a cluster."""

    def __init__(self) -> None:
        self._prices: dict[str, Price] = {}
        self._began: float | None = None
        self._received: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        return len(self._prices)

    def receive(self, pairs: Sequence[Sequence[Any]], now: float) -> None:
        """Take the `[symbol, price]` pairs of one `price:batch` in, at `now` seconds."""
        for symbol, price in pairs:
            self._take(str(symbol), price_text(price), now)
        self._received.append((now, len(pairs)))
        self._forget(now)

    def sample(self) -> None:
        """Remember every price for its sparkline; to be called once a second."""
        for price in self._prices.values():
            price.samples.append(price.value)

    def in_order(self) -> list[Price]:
        """By name, what was fed late first."""
        began = self._began or 0.0
        return sorted(self._prices.values(), key=lambda price: (price.first_at - began < LATE_S, price.symbol))

    def rate(self, now: float) -> float:
        """Prices received a second, of late."""
        self._forget(now)
        if self._began is None:
            return 0.0
        return sum(count for _, count in self._received) / max(1.0, min(_RATE_WINDOW_S, now - self._began))

    def _take(self, symbol: str, text: str, now: float) -> None:
        known = self._prices.get(symbol)
        value = Decimal(text)
        if known is None:
            if len(self._prices) < MAX_SYMBOLS:
                self._began = now if self._began is None else self._began
                self._prices[symbol] = Price(symbol, text, value, value, now, now)
            return
        if value != known.value:
            known.direction = 1 if value > known.value else -1
            known.changed_at = now
        known.text, known.value = text, value

    def _forget(self, now: float) -> None:
        while self._received and self._received[0][0] < now - _RATE_WINDOW_S:
            self._received.popleft()
