"""What both readers of upstreams read from the environment, so that they agree on streams and symbols."""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from shared.settings import Positive, setting
from shared.symbols import is_symbol
from shared.upstream.symbols import split_alias, template_problem


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Which streams are upstream, and what their symbols are called here."""

    upstream_streams: tuple[str, ...] = setting(
        (), "more streams to read, by key or glob, that may hold prices, quotes and trades: `binance,{real-time}-*`"
    )
    symbol_template: str = setting(
        "{symbol}", "how an upstream's symbol is named here; may use `{venue}`: `{venue}:{symbol}`"
    )
    symbol_aliases: tuple[str, ...] = setting((), "symbols that are renamed before the template: `XBT-USD=BTC-USD,...`")
    upstream_trim: Literal["feed", "all", "off"] = setting(
        "feed", "upstream streams that are trimmed once read: those named `feed:`, all of them, or none"
    )
    upstream_keep_minutes: Annotated[int, msgspec.Meta(ge=1, le=44_640)] = setting(
        60, "entries of them older than that go", "min"
    )
    upstream_keep_length: Positive = setting(100_000, "entries that are kept of one at most", "entries")

    def problems(self) -> list[str]:
        """A template or an alias that would make no symbol."""
        found = []
        wrong = template_problem(self.symbol_template)
        if wrong is not None:
            found.append(f"SYMBOL_TEMPLATE={self.symbol_template!r}: {wrong}")
        for pair in self.symbol_aliases:
            theirs, ours = split_alias(pair)
            if not theirs or not is_symbol(ours):
                found.append(f"SYMBOL_ALIASES: {pair!r} is not written as UPSTREAM=OURS with a symbol on the right")
        return found
