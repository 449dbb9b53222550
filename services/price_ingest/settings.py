"""Settings of price-ingest alone."""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from shared.settings import NotNegative, Positive, setting

Interval = Annotated[int, msgspec.Meta(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """How prices are read and published, and how candles are kept."""

    price_publish_ms: Interval = setting(
        10,
        "how long prices that come in numbers wait for each other, to be published together; single ones go at once",
        "ms",
    )
    price_max_symbols: Positive = setting(20_000, "symbols with a price; ticks of any further one are dropped")
    price_stale_ms: NotNegative = setting(
        30_000, "a symbol that no upstream entry named for so long is `stale`; 0: never", "ms"
    )
    quote_price: Literal["mid", "bid", "ask"] = setting("mid", "price of a symbol that is known by quotes alone")
    chart_publish_ms: Interval = setting(250, "changed candles are committed and published so often", "ms")
    candle_history: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = setting(
        1000, "closed candles kept of each symbol and interval", "candles"
    )
