"""Every error that a client can be told.

The number carries the verdict: 1xx the request failed, 2xx one item of it failed, 3xx come back later, 4xx do not come
back as you are.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One error: what `code` and `message` say on the wire, and what the README adds."""

    code: int
    message: str
    meaning: str


RATE_LIMITED: Final = ErrorCode(101, "Rate limit exceeded", "too many of this event; `retry_after_ms` says when")
UNKNOWN_EVENT: Final = ErrorCode(102, "Unknown event", "no such event; see the table of events")
BAD_ARGUMENT: Final = ErrorCode(103, "Bad argument", "`field` is missing, has the wrong type or is out of range")
TOO_MANY_ITEMS: Final = ErrorCode(104, "Too many symbols in one request", "more than `limit`; split the request")
NOT_ALLOWED: Final = ErrorCode(105, "Not allowed", "the token does not grant this; `required` says what would")
INVALID_SYMBOL: Final = ErrorCode(201, "Invalid symbol", "not 1 to 32 of `A-Z a-z 0-9 . _ : / -`")
SUBSCRIPTION_LIMIT: Final = ErrorCode(202, "Subscription limit reached", "`MAX_SUBSCRIPTIONS` of one connection")
NOT_SUBSCRIBED: Final = ErrorCode(
    203, "Not subscribed", "`resync:price` without a subscription; `subscribe:chart` that was left before its answer"
)
NOT_WHILE_DELAYED: Final = ErrorCode(
    210, "Not available with delayed data", "charts, for a token with `delay_s`: a candle shows the present"
)
CHART_UNAVAILABLE: Final = ErrorCode(
    301, "Chart unavailable", "Redis did not answer in time; nothing is subscribed, ask again"
)
TOO_MANY_CHARTS: Final = ErrorCode(302, "Too many charts", "`MAX_CHARTS` different ones are watched at this gateway")
TOO_MANY_DELAYED: Final = ErrorCode(
    310, "Too many delayed symbols", "`DELAYED_PRICES_BYTES` holds the prices of no more at this gateway"
)
AUTHENTICATION_FAILED: Final = ErrorCode(401, "Authentication failed", "the token is refused; `reason` says why")
AUTHENTICATION_REQUIRED: Final = ErrorCode(402, "Authentication required", "`AUTH_MODE=required` and no token given")

ALL: Final = (
    RATE_LIMITED,
    UNKNOWN_EVENT,
    BAD_ARGUMENT,
    TOO_MANY_ITEMS,
    NOT_ALLOWED,
    INVALID_SYMBOL,
    SUBSCRIPTION_LIMIT,
    NOT_SUBSCRIBED,
    NOT_WHILE_DELAYED,
    CHART_UNAVAILABLE,
    TOO_MANY_CHARTS,
    TOO_MANY_DELAYED,
    AUTHENTICATION_FAILED,
    AUTHENTICATION_REQUIRED,
)
