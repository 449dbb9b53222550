"""Every Redis key, channel, stream and group, with who writes it and who reads it.

Braces are Redis Cluster hash tags: keys that one atomic step touches carry the same tag, so they share a slot. A symbol
or a user id does not become part of a key: both are spread over a fixed number of shards, so nothing that a client or
an upstream names can create a key. The one exception is `candle_history`, with `PRICE_MAX_SYMBOLS` for a bound.
"""

from typing import Final
from zlib import crc32

FEED_PRICES: Final = "feed:prices"
"""Stream of upstream prices. Written by upstreams, read by price-ingest."""

FEED_TRADES: Final = "feed:trades"
"""Stream of upstream trades. Written by upstreams, read by price-ingest and trade-notifier."""

TRADE_GROUP: Final = "trade-notifier"
"""Consumer group of `FEED_TRADES` and its partitions."""

TRADE_CONSUMER: Final = "owner"
"""The group's one consumer: whichever replica holds the lease, so that names of dead replicas do not pile up."""

DEAD_PRICES: Final = "dead:prices"
"""Stream of refused price entries with the reason, capped. Written by price-ingest."""

DEAD_TRADES: Final = "dead:trades"
"""Stream of refused trade entries with the reason, capped. Written by trade-notifier."""

PRICE_POSITIONS: Final = "md:{prices}:positions"
"""Hash upstream stream -> last entry id folded into the snapshot. Committed together with the snapshot."""

PRICE_EPOCH: Final = "md:{prices}:epoch"
"""Text that names one unbroken history of `seq`; made anew when price-ingest finds no state."""

PRICE_LEASE: Final = "md:{prices}:lease"
"""Lease of the one price-ingest that writes; see `shared.lease`."""

CLUSTER_METRICS: Final = "md:metrics"
"""Pub/Sub channel of the cluster's figures. Written by metrics, read by gateways that have an admin connected."""

SERVICE_REPORTS: Final = "svc:reports"
"""Hash instance -> `ServiceReport`. Written by every service, read and pruned by metrics, read by the board."""


def is_partition(stream: str, feed: str) -> bool:
    """Whether a stream is `{feed}:<n>`, a numbered partition of an upstream feed."""
    base, _, number = stream.rpartition(":")
    return base == feed and number.isascii() and number.isdigit()


def shard_of(name: str, shards: int) -> int:
    """Shard 0..`shards`-1 of a symbol or a user id, the same in every process (CRC-32 of its UTF-8 bytes)."""
    return crc32(name.encode()) % shards


def price_channel(shard: int) -> str:
    """Pub/Sub channel with the `PriceBatch`es of one shard of symbols."""
    return f"md:prices:{shard}"


def price_snapshot(shard: int) -> str:
    """Hash symbol -> last `Price` of one shard of symbols."""
    return f"md:{{prices}}:last:{shard}"


def chart_channel(shard: int) -> str:
    """Pub/Sub channel with the `ChartBatch`es of one shard of symbols."""
    return f"md:charts:{shard}"


def chart_snapshot(shard: int) -> str:
    """Hash symbol -> `Chart` of the candles that are not closed, for one shard of symbols."""
    return f"md:{{prices}}:charts:{shard}"


def candle_history(symbol: str, interval: str) -> str:
    """Sorted set of the last closed `Candle`s of one symbol and interval, by start; capped."""
    return f"md:{{prices}}:candles:{interval}:{symbol}"


def trade_log(shard: int) -> str:
    """Stream: the log of accepted trades of one shard of symbols, in order per symbol."""
    return f"log:{{trades:{shard}}}"


def user_log(shard: int) -> str:
    """Stream: the log of notifications of one shard of users, in order per user and symbol."""
    return f"log:{{users:{shard}}}"


def log_seen(log: str) -> str:
    """Prefix of the two sets that remember which entries a log already holds."""
    return f"{log}:seen"


def log_fences(log: str) -> str:
    """Hash upstream stream -> stamp `token:owner` of the newest lease holder that has opened a log for writing."""
    return f"{log}:fences"


def feed_lease(stream: str) -> str:
    """Lease of the one trade-notifier that reads an upstream stream; shares the stream's slot."""
    return f"{{{stream}}}:lease"


def feed_position(stream: str) -> str:
    """Text: id up to which the trade-notifiers have done every entry of an upstream stream; shares its slot."""
    return f"{{{stream}}}:position"
