"""What a token grants beside a name: symbols, how often, how old, how many connections.

Made by `shared.identity` from claims; asked by the gateway for each item that a client wants. Two `Rights` are equal
when they grant the same, so that a refreshed token costs a comparison where nothing has changed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

MAX_PATTERNS: Final = 200
MAX_PATTERN_LENGTH: Final = 64

_is_pattern: Final = re.compile(r"[A-Za-z0-9._:/*-]{1,64}").fullmatch
"""The grammar of a symbol (`shared.symbols`), and `*` for any number of its characters."""


@dataclass(frozen=True, slots=True)
class SymbolPatterns:
    """Which symbols: those that match any of the patterns.

    Matching is by text search alone, in time that grows with the length of the pattern and of the symbol: a pattern
    from a token is never made into a regular expression.

    Attributes:
        patterns: the patterns, in order, each once; none of them grants nothing.
    """

    patterns: tuple[str, ...]
    _exact: frozenset[str] = field(init=False, repr=False, compare=False)
    _wild: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)

    def __init__(self, patterns: Iterable[str]) -> None:
        """Read patterns.

        Raises:
            ValueError: more than `MAX_PATTERNS`, or one is none.
        """
        wanted = tuple(sorted(set(patterns)))
        if len(wanted) > MAX_PATTERNS:
            raise ValueError(f"{len(wanted)} patterns, at most {MAX_PATTERNS}")
        for text in wanted:
            if _is_pattern(text) is None:
                raise ValueError(f"{text[:MAX_PATTERN_LENGTH]!r} is no pattern of symbols")
        object.__setattr__(self, "patterns", wanted)
        object.__setattr__(self, "_exact", frozenset(text for text in wanted if "*" not in text))
        object.__setattr__(self, "_wild", tuple(tuple(text.split("*")) for text in wanted if "*" in text))

    def match(self, symbol: str) -> bool:
        """Whether one of them matches."""
        return symbol in self._exact or any(_matches(parts, symbol) for parts in self._wild)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a client may have.

    Attributes:
        symbols: None for all.
        max_hz: most price updates a second and symbol; None for as many as the client asks for.
        delay_s: prices and trades come so much later; 0 for live.
        connections: at the same time in the whole cluster; None for `MAX_CONNECTIONS_PER_USER`.
    """

    symbols: SymbolPatterns | None = None
    max_hz: float | None = None
    delay_s: int = 0
    connections: int | None = None

    @property
    def whole_market(self) -> bool:
        """Whether nothing of the market is kept from it, in content or in time."""
        return self.symbols is None and self.max_hz is None and not self.delay_s

    def allows(self, symbol: str) -> bool:
        """Whether prices, trades and charts of a symbol may be seen."""
        return self.symbols is None or self.symbols.match(symbol)


def _matches(parts: tuple[str, ...], symbol: str) -> bool:
    """Whether a symbol is these parts with anything between them: the first place for each is as good as any other."""
    first, *middle, last = parts
    at, end = len(first), len(symbol) - len(last)
    if at > end or not symbol.startswith(first) or not symbol.endswith(last):
        return False
    for part in middle:
        found = symbol.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
