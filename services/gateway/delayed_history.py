"""The prices of the last minutes, as the market had them once a second, for clients that get them later.

`delayed_prices.py` has it look at the market and takes from it what is old enough. Bounded in bytes: when it is full,
every second sample is left out, so that it reaches as far back as before with wider steps. Pure: time is an argument,
in seconds that never go back.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from shared.messages import Price, encode

STEP_S: Final = 1.0
LONGEST_STEP_S: Final = 256.0

SAMPLE_BYTES: Final = 150
"""What a sample costs beside its encoded price."""

TYPICAL_SAMPLE: Final = SAMPLE_BYTES + 60
LEAST_SAMPLES: Final = 16
"""Of each symbol there is room for so many: for the longest delay in the widest steps."""


class Sample:
    """What had changed at one look.

    Attributes:
        at: when that was, in s.
        epoch: that of the market.
        prices: symbol -> encoded `Price`.
        size: bytes, about.
    """

    __slots__ = ("at", "epoch", "prices", "size")

    def __init__(self, at: float, epoch: str, prices: dict[str, msgspec.Raw]) -> None:
        self.at = at
        self.epoch = epoch
        self.prices = prices
        self.size = sum(SAMPLE_BYTES + len(memoryview(price)) for price in prices.values())


class _Symbol:
    """One that is looked at: since when, and what it was at the last look."""

    __slots__ = ("price", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.price: Price | None = None


class DelayedHistory:
    """Samples, oldest first.

    Args:
        max_bytes: of all.

    Attributes:
        step_s: between two looks that are kept apart.
        size: bytes, about.
        merged: prices that were left out because there was no room.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._samples: deque[Sample] = deque()
        self._symbols: dict[str, _Symbol] = {}
        self.step_s = STEP_S
        self.size = 0
        self.merged = 0

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._symbols

    def __len__(self) -> int:
        return len(self._symbols)

    @property
    def has_room(self) -> bool:
        """Whether one more symbol can be kept well enough."""
        return len(self._symbols) < max(1, self._max_bytes // (TYPICAL_SAMPLE * LEAST_SAMPLES))

    def begin(self, symbol: str, now: float) -> None:
        """Look at a symbol from now on."""
        self._symbols[symbol] = _Symbol(now)

    def end(self, symbol: str) -> None:
        """Look at it no more; what is kept of it is not given out again."""
        del self._symbols[symbol]

    def take(self, now: float, epoch: str, find: Callable[[str], Price | None]) -> None:
        """Look at the market."""
        if self._samples and self._slot(now) == self._slot(self._samples[-1].at):
            return
        prices: dict[str, msgspec.Raw] = {}
        for name, symbol in self._symbols.items():
            price = find(name)
            if price is not None and price is not symbol.price:
                symbol.price = price
                prices[name] = msgspec.Raw(encode(price))
        if prices:
            sample = Sample(now, epoch, prices)
            self._samples.append(sample)
            self.size += sample.size
            self._keep_within_bounds()

    def between(self, after: float, until: float) -> Iterator[tuple[float, str, dict[str, msgspec.Raw]]]:
        """What was seen behind one moment, up to another and including it: when, in which epoch, prices by symbol."""
        for sample in self._samples:
            if sample.at > until:
                return
            if sample.at > after:
                yield sample.at, sample.epoch, {name: sample.prices[name] for name in self._known(sample)}

    def drop(self, until: float) -> None:
        """Forget what was seen up to a moment."""
        while self._samples and self._samples[0].at <= until:
            self.size -= self._samples.popleft().size
        if self.step_s > STEP_S and self.size < self._max_bytes / 4:
            self.step_s /= 2

    def _known(self, sample: Sample) -> Iterator[str]:
        """Symbols that have been looked at ever since: of another one the history would have a hole."""
        for name in sample.prices:
            symbol = self._symbols.get(name)
            if symbol is not None and symbol.since <= sample.at:
                yield name

    def _slot(self, at: float) -> int:
        return int(at // self.step_s)

    def _keep_within_bounds(self) -> None:
        while self.size > self._max_bytes and len(self._samples) > 1:
            if self.step_s < LONGEST_STEP_S:
                self._widen()
            else:
                self.size -= self._samples.popleft().size

    def _widen(self) -> None:
        """Twice the step: of two looks within one, the later is kept, and what only the earlier one saw."""
        self.step_s *= 2
        wider: deque[Sample] = deque()
        for sample in self._samples:
            last = wider[-1] if wider else None
            if last is None or self._slot(last.at) != self._slot(sample.at) or last.epoch != sample.epoch:
                wider.append(sample)
                continue
            self.merged += len(last.prices.keys() & sample.prices.keys())
            wider[-1] = Sample(sample.at, sample.epoch, last.prices | sample.prices)
        self._samples = wider
        self.size = sum(sample.size for sample in wider)
