"""Every error that a client can be told.

The number carries the verdict: 1xx the request failed, 2xx one item of it failed, 3xx come back later, 4xx do not come
back as you are.
"""

from dataclasses import dataclass
from typing import Final

from shared.names.retry import Retry


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One error: what `code` and `message` say on the wire, and what the README adds."""

    code: int
    message: str
    meaning: str

    @property
    def retry(self) -> Retry:
        """Whether trying again helps."""
        if self.code == RATE_LIMITED.code:
            return Retry.LATER
        return _RETRIES[self.code // 100]


_RETRIES: Final = {1: Retry.CHANGED, 2: Retry.CHANGED, 3: Retry.LATER, 4: Retry.NEVER}


RATE_LIMITED: Final = ErrorCode(
    101,
    "Rate limit exceeded",
    'too many of this event (`RATE_LIMIT_DEFAULT`, `RATE_LIMITS`), or with `scope: "user"` of all; `retry_after_ms` says when',  # noqa: E501 - one table cell
)
UNKNOWN_EVENT: Final = ErrorCode(102, "Unknown event", "no such event; see the table of events")
BAD_ARGUMENT: Final = ErrorCode(103, "Bad argument", "`field` is missing, has the wrong type or is out of range")
TOO_MANY_ITEMS: Final = ErrorCode(104, "Too many symbols in one request", "more than `limit`; split the request")
NOT_ALLOWED: Final = ErrorCode(105, "Not allowed", "the token does not grant this; `required` says what would")
WRONG_USER: Final = ErrorCode(106, "Token of another user", "`auth:refresh` keeps the user; `authenticate` changes it")
INVALID_SYMBOL: Final = ErrorCode(201, "Invalid symbol", "not 1 to 32 of `A-Z a-z 0-9 . _ : / -`")
SUBSCRIPTION_LIMIT: Final = ErrorCode(
    202,
    "Subscription limit reached",
    '`MAX_SUBSCRIPTIONS` of one connection, or with `scope: "user"` `MAX_SUBSCRIPTIONS_PER_USER` of all of a user\'s',
)
NOT_SUBSCRIBED: Final = ErrorCode(
    203, "Not subscribed", "`resync:price` without a subscription; `subscribe:chart` that was left before its answer"
)
SYMBOL_NOT_GRANTED: Final = ErrorCode(
    204, "Symbol not granted", "the token's `symbols` do not have it; also told for what a new token no longer grants"
)
UNKNOWN_SYMBOL: Final = ErrorCode(205, "Unknown symbol", "not in the catalogue that `SYMBOLS` names")
NOT_WHILE_DELAYED: Final = ErrorCode(
    206, "Not available with delayed data", "charts, for a token with `delay_s`: a candle shows the present"
)
CHART_UNAVAILABLE: Final = ErrorCode(
    301, "Chart unavailable", "Redis did not answer in time; nothing is subscribed, ask again"
)
TOO_MANY_CHARTS: Final = ErrorCode(302, "Too many charts", "`MAX_CHARTS` different ones are watched at this gateway")
KEYS_AWAITED: Final = ErrorCode(
    303, "Keys awaited", "the token names a key that is being fetched; ask again in a second"
)
TOO_MANY_DELAYED: Final = ErrorCode(
    304, "Too many delayed symbols", "`DELAYED_PRICES_BYTES` holds the prices of no more at this gateway"
)
CONNECTIONS_HELD: Final = ErrorCode(
    305,
    "Too many connections for now",
    "of this user, but some may be dead; at CONNECT the connection is closed and the client tries again, and after `USER_LIMIT_GRACE_MS` it is refused (403)",  # noqa: E501 - one table cell
)
AUTHENTICATION_FAILED: Final = ErrorCode(
    401, "Authentication failed", "the token is refused; `reason` says why, and `claim` which of its claims"
)
AUTHENTICATION_REQUIRED: Final = ErrorCode(402, "Authentication required", "`AUTH_MODE=required` and no token given")
CONNECTION_LIMIT: Final = ErrorCode(
    403,
    "Too many connections",
    "the user has `limit` others in the cluster: `MAX_CONNECTIONS_PER_USER`, or what the token grants",
)

ALL: Final = (
    RATE_LIMITED,
    UNKNOWN_EVENT,
    BAD_ARGUMENT,
    TOO_MANY_ITEMS,
    NOT_ALLOWED,
    WRONG_USER,
    INVALID_SYMBOL,
    SUBSCRIPTION_LIMIT,
    NOT_SUBSCRIBED,
    SYMBOL_NOT_GRANTED,
    UNKNOWN_SYMBOL,
    NOT_WHILE_DELAYED,
    CHART_UNAVAILABLE,
    TOO_MANY_CHARTS,
    KEYS_AWAITED,
    TOO_MANY_DELAYED,
    CONNECTIONS_HELD,
    AUTHENTICATION_FAILED,
    AUTHENTICATION_REQUIRED,
    CONNECTION_LIMIT,
)
