"""What upstreams write, read with suspicion, for both of its readers: price-ingest and trade-notifier.

`unwrap` turns an entry of any known format into canonical flat mappings, `fields`, `times` and `trades` turn those into
checked values, `sources` says which streams are upstream at all.
"""

from shared.upstream.aliases import PAYLOAD_FIELD
from shared.upstream.errors import Refusal, UpstreamError
from shared.upstream.fields import ABSENT, read_decimal, read_side, read_state, read_symbol, read_text
from shared.upstream.payload import MAX_PAYLOAD_BYTES
from shared.upstream.settings import UpstreamSettings
from shared.upstream.sources import FIXED_SOURCES, Holds, Source, find_sources, unit_name
from shared.upstream.symbols import SymbolNames
from shared.upstream.times import FUTURE_MS, NS_PER_MS, check_written, read_time, read_time_ns
from shared.upstream.trades import MAX_USERS, UpstreamTrade, parse_trade
from shared.upstream.unwrap import unwrap

__all__ = [
    "ABSENT",
    "FIXED_SOURCES",
    "FUTURE_MS",
    "MAX_PAYLOAD_BYTES",
    "MAX_USERS",
    "NS_PER_MS",
    "PAYLOAD_FIELD",
    "Holds",
    "Refusal",
    "Source",
    "SymbolNames",
    "UpstreamError",
    "UpstreamSettings",
    "UpstreamTrade",
    "check_written",
    "find_sources",
    "parse_trade",
    "read_decimal",
    "read_side",
    "read_state",
    "read_symbol",
    "read_text",
    "read_time",
    "read_time_ns",
    "unit_name",
    "unwrap",
]
