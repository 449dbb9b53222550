"""What a token grants beside a name (stub)."""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class SymbolPatterns:
    """Patterns."""

    patterns: tuple[str, ...]

    def match(self, symbol: str) -> bool:
        """Whether one fits."""
        return any(fnmatchcase(symbol, pattern) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Rights:
    """Rights."""

    symbols: SymbolPatterns | None = None
    max_hz: float | None = None
    delay_s: int = 0
    connections: int | None = None

    @property
    def whole_market(self) -> bool:
        """Whether nothing of the market is kept from it, in content or time."""
        return self.symbols is None and self.max_hz is None and not self.delay_s

    def allows(self, symbol: str) -> bool:
        """Whether the symbol is granted."""
        return self.symbols is None or self.symbols.match(symbol)
