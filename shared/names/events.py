"""Events, namespaces and rooms as clients see them."""

from enum import StrEnum
from typing import Final, Self

NAMESPACE: Final = "/"
"""The one namespace that Tickwire serves."""

ADMIN_ROOM: Final = "admin"
"""Room of `ServerEvent.METRICS`."""


class _Named(StrEnum):
    """A name on the wire, with the README's sentence about it."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Attach the sentence to the name."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class ClientEvent(_Named):
    """What a client may send. Each takes an optional ack."""

    AUTHENTICATE = ("authenticate", "(token): checks the token on an open connection and joins `user:{sub}`")
    AUTH_REFRESH = (
        "auth:refresh",
        "(token): replaces the token of an open connection by a newer one of the same user; the ack's `unsubscribed: [{event, symbol}]` names what the new one no longer grants",  # noqa: E501 - one table cell
    )
    SUBSCRIBE_PRICE = (
        "subscribe:price",
        '(symbol or [symbols], opts?): joins `price:{symbol}`; the current price follows the ack. opts: `{deliver: "update" or "batch", max_hz}`',  # noqa: E501 - one table cell
    )
    UNSUBSCRIBE_PRICE = ("unsubscribe:price", "(symbol or [symbols]): leaves `price:{symbol}`")
    RESYNC_PRICE = ("resync:price", "(symbol): sends the current price again, for a client that found a gap in `seq`")
    SUBSCRIBE_TRADES = ("subscribe:trades", "(symbol or [symbols]): joins `trades:{symbol}`")
    UNSUBSCRIBE_TRADES = ("unsubscribe:trades", "(symbol or [symbols]): leaves `trades:{symbol}`")
    SUBSCRIBE_CHART = (
        "subscribe:chart",
        "(symbol, interval, opts?) or ({symbol, interval, ...opts}): the ack carries `{symbol, interval, bars, forming, rev}`: closed bars, oldest first, and the forming one or null; then `chart:update`. Intervals: `1s 1m 5m 15m 1h 4h 1d`. opts: `{limit, since}`: at most `limit` bars (0 to 1000), from `since` on, the start of the last closed one that the client has; the ack's `reset: true` says that bars after it are missing",  # noqa: E501 - one table cell
    )
    UNSUBSCRIBE_CHART = ("unsubscribe:chart", "(symbol, interval?): leaves that chart, or all of the symbol's")
    SUBSCRIBE_METRICS = ("subscribe:metrics", '(): joins `admin`; needs a token with `role: "admin"`')
    UNSUBSCRIBE_METRICS = ("unsubscribe:metrics", "(): leaves `admin`")


class ServerEvent(_Named):
    """What the server emits."""

    HELLO = (
        "hello",
        "`{server_time, gateway, version, recovered, gap?}`: the first event after CONNECT. `gap: {reason, from, to}` (ms) says that a client which wanted to recover could not, and which trades it may have missed",  # noqa: E501 - one table cell
    )
    CURSOR = (
        "cursor",
        "`{}`: once a minute, so that a client without trades can recover too; like `hello`, `trade:new` and `trade:notification` it ends in a text that is the client's place in the logs",  # noqa: E501 - one table cell
    )
    AUTHENTICATED = (
        "authenticated",
        "`{sub, role, exp, symbols?, max_hz?, delay_s?}`: after either kind of authentication; the last three where the token restricts them",  # noqa: E501 - one table cell
    )
    AUTH_EXPIRING = (
        "auth:expiring",
        "`{exp}`: the token expires within a minute (half-way, if it lives for less than two): send `auth:refresh` with a newer one",  # noqa: E501 - one table cell
    )
    AUTH_EXPIRED = (
        "auth:expired",
        "`{exp}`: it has expired and nobody replaced it: the connection is closed next, and the stock client comes back with what its `auth` function gives it",  # noqa: E501 - one table cell
    )
    AUTH_REVOKED = ("auth:revoked", "`{}`: the token or its user was revoked: the client is disconnected for good")
    PRICE_UPDATE = (
        "price:update",
        "`{symbol, price, ts, seq, n, bid?, ask?, amount?, side?, venue?, state?, since?, snap?}`: `n` source ticks are folded into it, so the `seq` before plus `n` is this `seq`; `snap: 1` marks a restated current price; `state` of the feed is `live`, `stale` or `halted`, left out where it is `live` and the price not restated; `since` is when the other two began",  # noqa: E501 - one table cell
    )
    PRICE_BATCH = (
        "price:batch",
        "`[[symbol, price], ...], {ts, seqs, ns, states?, snap?}`: the latest of each symbol that changed in the window; `seqs`, `ns` and `states` are parallel to the pairs; an `n` of 0 restates; `states` is left out where all are `live` and nothing is restated",  # noqa: E501 - one table cell
    )
    TRADE_NEW = ("trade:new", "`{id, symbol, amount, price, side, ts, venue?}`: each trade once, in order per symbol")
    TRADE_NOTIFICATION = ("trade:notification", "the same plus `user_id`, to the user that the trade names only")
    CHART_UPDATE = (
        "chart:update",
        "`{symbol, interval, start, end, open, high, low, close, volume, trades, closed, rev}`: a candle that changed; a later one of the same `start` has a higher `rev`",  # noqa: E501 - one table cell
    )
    METRICS = ("metrics", "`{connections, memory, uptime, cpu, rooms, events, gateways}`: to `admin`, every 5 s")
    LINK = (
        "link",
        '`{interval_ms, reason}`: to a client that reads more slowly than it is sent to, reason "slow": from now on prices come at most so often, the newest of each symbol; once it keeps up, step by step, "recovered": 0 is as often as it asked for. Trades and candles all come',  # noqa: E501 - one table cell
    )
    DRAIN = (
        "drain",
        '`{deadline_ms, reason}`: the gateway lets this client go within so many ms, by closing the connection; a stock client comes back by itself, recovered. reason: "stopping" or "rebalancing". A client may leave earlier',  # noqa: E501 - one table cell
    )
    ERROR = ("error", "`{code, message, event?, ...}`: a request without an ack failed")


def price_room(symbol: str) -> str:
    """Room of every immediate price update of a symbol."""
    return f"price:{symbol}"


def trades_room(symbol: str) -> str:
    """Room of every trade of a symbol."""
    return f"trades:{symbol}"


def chart_room(symbol: str, interval: str) -> str:
    """Room of every candle of a symbol in one interval."""
    return f"chart:{symbol}:{interval}"


def user_room(user_id: str) -> str:
    """Room of one user's own notifications."""
    return f"user:{user_id}"


def delayed_trades_room(delay_s: int, symbol: str) -> str:
    """Room of every trade of a symbol, for those who get it so much later."""
    return f"delayed:{delay_s}:trades:{symbol}"
