"""Every Redis key, channel, stream and group, with who writes it and who reads it.

Braces are Redis Cluster hash tags: keys that one atomic step touches carry the same tag, so they share a slot. A symbol
or a user id does not become part of a key: both are spread over a fixed number of shards, so nothing that a client or
an upstream names can create a key. The one exception is `candle_history`, with `PRICE_MAX_SYMBOLS` for a bound. Keys of
clients and of users that are connected, `session` and `user_open`, have random text or a digest for a name, and expire.
"""

import re
from hashlib import blake2b
from typing import Final
from zlib import crc32

FEED_PRICES: Final = "feed:prices"
"""Stream of upstream prices, and Pub/Sub channel of them. Written by upstreams, read by price-ingest."""

FEED_TRADES: Final = "feed:trades"
"""Stream of upstream trades, and Pub/Sub channel. Written by upstreams, read by price-ingest and trade-notifier."""

FOREIGN_TRADES: Final = ("trades-*", "stream:data.trades.*", "*:stream:data.trades.*")
"""Globs of streams with trades: cryptofeed's, NautilusTrader's. Written by those, read as `FEED_TRADES` is."""

FOREIGN_QUOTES: Final = ("ticker-*", "stream:data.quotes.*", "*:stream:data.quotes.*")
"""The same with quotes. Read by price-ingest."""

_FOREIGN_KIND: Final = re.compile(r"(?:(?:trades|ticker)-|((?:.*:)?stream:data\.)(?:trades|quotes)\.)(?=.)", re.DOTALL)
_HASH_TAG: Final = re.compile(r"[^{]*\{[^}]+\}", re.DOTALL)
_OWN: Final = ("log:{", "dead:", "md:", "svc:")

TRADE_GROUP: Final = "trade-notifier"
"""Consumer group of `FEED_TRADES` and its partitions."""

TRADE_CONSUMER: Final = "owner"
"""The group's one consumer: whichever replica holds the lease, so that names of dead replicas do not pile up."""

DEAD_PRICES: Final = "dead:prices"
"""Stream of refused price entries with the reason, capped. Written by price-ingest."""

DEAD_TRADES: Final = "dead:trades"
"""Stream of refused trade entries with the reason, capped. Written by trade-notifier."""

PRICE_UNITS: Final = 16
"""Units that source streams are grouped into, each read by one price-ingest at a time. Part of stored state: fixed."""

PRICE_REPLICAS: Final = "md:{prices}:replicas"
"""Sorted set of the living price-ingest instances, by the server's time in ms until which each counts as alive."""

PRICE_HOMES: Final = "md:{prices}:homes"
"""Hash symbol -> the unit that alone numbers it, for ever. Claimed by price-ingest; bounded by `PRICE_MAX_SYMBOLS`."""

PRICE_POSITIONS: Final = "md:{prices}:positions"
"""Hash source stream -> last entry id folded into the price snapshots, committed together with them."""

CHART_POSITIONS: Final = "md:{prices}:chart-positions"
"""Hash source stream -> last entry id folded into the chart snapshots, committed together with them."""

PRICE_EPOCH: Final = "md:{prices}:epoch"
"""Text that names one unbroken history of `seq`; made anew when price-ingest finds no state."""

SESSION_SLOTS: Final = 16
"""Slots of a Redis Cluster that sessions are spread over: written in numbers, each slot costs a round trip."""

USER_SLOTS: Final = 16
"""The same for users with a connection."""

USER_GATEWAYS: Final = "svc:{users-open}:gateways"
"""Sorted set of the gateways by the server's time in ms of their last beat: whose records of users can be believed."""

CLUSTER_METRICS: Final = "md:metrics"
"""Pub/Sub channel of the cluster's figures. Written by metrics, read by gateways that have an admin connected."""

REVOCATIONS: Final = "svc:{auth}:revocations"
"""Stream of revoked users and tokens, kept to an age. Written by `tickwire revoke`, read by gateways."""

SERVICE_REPORTS: Final = "svc:reports"
"""Hash instance -> `ServiceReport`. Written by every service, read and pruned by metrics, read by the board."""


def is_partition(stream: str, feed: str) -> bool:
    """Whether a stream is `{feed}:<n>`, a numbered partition of an upstream feed."""
    base, _, number = stream.rpartition(":")
    return base == feed and number.isascii() and number.isdigit()


def is_own(key: str) -> bool:
    """Whether this is one of the keys that the cluster itself writes: never an upstream."""
    return key.startswith(_OWN)


def without_kind(stream: str) -> str:
    """A foreign stream's name without the word for what it holds; any other name as it is."""
    kind = _FOREIGN_KIND.match(stream)
    return stream if kind is None else (kind[1] or "") + stream[kind.end() :]


def shard_of(name: str, shards: int) -> int:
    """Shard 0..`shards`-1 of a symbol or a user id, the same in every process (CRC-32 of its UTF-8 bytes)."""
    return crc32(name.encode()) % shards


def price_lease(unit: int) -> str:
    """Lease of the one price-ingest that reads a unit's streams; see `shared.lease`."""
    return f"md:{{prices}}:lease:{unit}"


def price_forward(unit: int) -> str:
    """Stream of ticks that other units read and whose symbol is at home in this one; trimmed by its reader."""
    return f"md:{{prices}}:forward:{unit}"


def price_channel(shard: int) -> str:
    """Pub/Sub channel with the `PriceBatch`es of one shard of symbols."""
    return f"md:{{prices}}:pub:{shard}"


def price_snapshot(shard: int) -> str:
    """Hash symbol -> last `Price` of one shard of symbols."""
    return f"md:{{prices}}:last:{shard}"


def chart_channel(shard: int) -> str:
    """Pub/Sub channel with the `ChartBatch`es of one shard of symbols."""
    return f"md:{{prices}}:charts-pub:{shard}"


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


def session(pid: str) -> str:
    """Hash of what a client that comes back is restored from; expires. Written and read by gateways."""
    return f"svc:{{sessions:{shard_of(pid, SESSION_SLOTS)}}}:{pid}"


def user_open(user_id: str) -> str:
    """Hash gateway -> what it has of one user: until when that counts, connections, subscriptions; expires.

    Named by a digest, since a user id is any text that an issuer puts into a token. Written and read by gateways.
    """
    digest = blake2b(user_id.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"svc:{{users-open:{shard_of(digest, USER_SLOTS)}}}:{digest}"


def log_readers(log: str) -> str:
    """Hash instance -> `server_ms id`: how far each gateway has read a log, for who trims it."""
    return f"{log}:readers"


def feed_lease(stream: str) -> str:
    """Lease of the one trade-notifier that reads an upstream stream; shares the stream's slot."""
    return f"{_tagged(stream)}:lease"


def relay_lease(stream: str) -> str:
    """Lease of the one price-ingest that appends to an upstream stream what is published on its channel."""
    return f"{_tagged(stream)}:relay"


def relay_beat(feed: str) -> str:
    """Pub/Sub channel on which the relay of a feed's channel, which is the upstreams', finds out that it is deaf."""
    return f"{feed}:beat"


def feed_position(stream: str) -> str:
    """Text: id up to which the trade-notifiers have done every entry of an upstream stream; shares its slot."""
    return f"{_tagged(stream)}:position"


def _tagged(stream: str) -> str:
    """What a key begins with to share the slot of a stream, whose name may have a hash tag of its own."""
    return stream if _HASH_TAG.match(stream) else f"{{{stream}}}"
