"""Settings of price-ingest alone."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from shared.settings import Positive, setting

Interval = Annotated[int, msgspec.Meta(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """How prices are read and published."""

    price_publish_ms: Interval = setting(
        10, "a symbol's price is published at most so often; the first change after quiet goes at once", "ms"
    )
    price_max_symbols: Positive = setting(20_000, "symbols with a price; ticks of any further one are dropped")
