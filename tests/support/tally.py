"""What a client counts of one symbol, instead of keeping it all: enough to prove every trade once and in order."""

from dataclasses import asdict, dataclass
from typing import Final

PRIME: Final = 4_294_967_291
WORD: Final = 0xFFFF_FFFF


@dataclass(slots=True)
class Tally:
    """Counters of one client and symbol. The Node twin counts the same, number for number.

    Attributes:
        trades: how many.
        disorder: trades whose id is not above the one before; a second copy is one too.
        hash: of all ids in their order.
        last: the last id.
        price: of the last price update.
        seq: of it.
        gaps: price updates that do not build on the one before.
    """

    trades: int = 0
    disorder: int = 0
    hash: int = 0
    last: int = 0
    price: float | None = None
    seq: int = 0
    gaps: int = 0

    def take_trade(self, number: int) -> None:
        """Count one trade by its id."""
        if number <= self.last:
            self.disorder += 1
        self.last = number
        self.trades += 1
        self.hash = (self.hash * 31 + number % PRIME) & WORD

    def take_price(self, price: float, seq: int, n: int, *, is_snapshot: bool) -> None:
        """Count one price update."""
        if not is_snapshot and self.seq and seq - n != self.seq:
            self.gaps += 1
        self.seq = seq
        self.price = price

    def plain(self) -> dict[str, float | None]:
        """As a report carries it."""
        return asdict(self)
