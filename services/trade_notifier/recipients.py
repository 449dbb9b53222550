"""Which logs a trade goes to: the one of its symbol, and the one of each user that it names. Pure.

Fed by `shared.upstream.parse_trade`; feeds `delivery`. A log entry's data is an encoded `shared.messages.Trade`, which
names no user, so the same bytes serve both kinds of log.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from shared.messages import Trade, encode
from shared.names import redis_keys
from shared.upstream import UpstreamTrade

SYMBOL_FIELD: Final = "s"
USER_FIELD: Final = "u"


class FeedTrade(NamedTuple):
    """A valid trade and the stream entry, or the item of it, that it came from: `ms-n`, or `ms-n/index`."""

    trade: UpstreamTrade
    stream: str
    entry_id: str


class Record(NamedTuple):
    """One entry to append: what makes it unique, the symbol or user that it is for, an encoded `Trade`."""

    id: bytes
    subject: str
    data: bytes


class Addressed(NamedTuple):
    """Log -> records in the order of the feed, by kind of log."""

    trade_logs: dict[str, list[Record]]
    user_logs: dict[str, list[Record]]


def address(trades: Sequence[FeedTrade], shards: int) -> Addressed:
    """Spread trades over `shards` trade logs and as many user logs."""
    trade_logs: dict[str, list[Record]] = {}
    user_logs: dict[str, list[Record]] = {}
    for found in trades:
        trade = found.trade
        identity = _identity(found)
        data = encode(
            Trade(trade.id, trade.symbol, trade.amount, trade.price, trade.side, trade.ts, trade.venue),
        )
        log = redis_keys.trade_log(redis_keys.shard_of(trade.symbol, shards))
        trade_logs.setdefault(log, []).append(Record(encode(identity), trade.symbol, data))
        for user in trade.users:
            log = redis_keys.user_log(redis_keys.shard_of(user, shards))
            user_logs.setdefault(log, []).append(Record(encode((user, *identity)), user, data))
    return Addressed(trade_logs, user_logs)


def _identity(found: FeedTrade) -> tuple[str | None, ...]:
    """`venue, symbol, id`, encoded later so that no text in one of them can look like another's.

    A trade without an id of its own has its entry's or item's, which is unique in one stream only.
    """
    trade = found.trade
    if trade.id == found.entry_id:
        return (trade.venue, trade.symbol, trade.id, found.stream)
    return (trade.venue, trade.symbol, trade.id)
