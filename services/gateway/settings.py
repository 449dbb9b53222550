"""What a gateway reads from the environment. Only `app.py` holds these; parts receive values."""

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from shared.names.events import ClientEvent
from shared.rights import SymbolPatterns
from shared.settings import NotNegative, Port, Positive, setting

_CHECKED: Final = (ClientEvent.AUTHENTICATE, ClientEvent.AUTH_REFRESH)
_CHECKS_A_SECOND: Final = 1.0
_KNOWN_EVENTS: Final = frozenset(ClientEvent)
_is_origin: Final = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#\s]+", re.IGNORECASE).fullmatch
_is_cookie_name: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]*").fullmatch
"""A token (RFC 9110 section 5.6.2), or nothing."""


CONNECT_MS: Final = 45_000
CONNECT_WITH_TOKEN_MS: Final = 5_000
"""Where everybody has a token to show, who is slow to show it has none."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Addresses, heartbeat, what is sent, and the bounds on what a client may do."""

    gateway_host: str = setting("0.0.0.0", "address that clients connect to")  # noqa: S104 - a server
    gateway_port: Port = setting(8080, "port that clients connect to; 0 picks a free one")
    allowed_origins: tuple[str, ...] = setting(
        ("*",), "browser origins that may connect, exactly as browsers send them; `*` is any"
    )
    sticky_cookie: str = setting(
        "", "name of a cookie that long-polling handshakes set, for balancers that route by it; empty: none"
    )
    auth_mode: Literal["optional", "required"] = setting(
        "optional", "`required` refuses a client that connects without a token"
    )
    auth_grace_ms: Positive = setting(
        25_000, "a connection outlives its token so long, until it is closed for the client to bring a new one", "ms"
    )
    symbols: tuple[str, ...] = setting(
        (),
        "symbols that clients may name: patterns with `*`, or `known` for those that have ever had a price",
        shown_default="any",
    )
    ping_interval_ms: Positive = setting(25_000, "between Engine.IO pings", "ms")
    ping_timeout_ms: Positive = setting(20_000, "for the pong", "ms")
    connect_timeout_ms: Positive | None = setting(
        None,
        "to join a namespace after the handshake",
        "ms",
        shown_default=f"{CONNECT_MS}, or {CONNECT_WITH_TOKEN_MS} where `AUTH_MODE=required`",
    )
    handshake_timeout_ms: Positive = setting(5_000, "for a whole request head", "ms")
    write_timeout_ms: Positive = setting(10_000, "without one byte drained, until a client is disconnected", "ms")
    max_payload_bytes: Positive = setting(16_384, "largest message that a client may send", "bytes")
    permessage_deflate: bool = setting(
        default=False, meaning="offer compression to WebSocket clients that ask for it: less traffic, more CPU"
    )
    max_buffered_bytes: Positive = setting(
        1_048_576, "unsent bytes of one client beside prices and trades, until it is disconnected", "bytes"
    )
    recovery_seconds: Annotated[int, msgspec.Meta(ge=1, le=600)] = setting(
        120, "a client that comes back within this time at least, to any gateway, gets the trades that it missed", "s"
    )
    log_window_bytes: Positive = setting(
        67_108_864, "newest log entries kept in memory for clients that are behind or come back", "bytes"
    )
    max_delay_seconds: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = setting(
        900,
        "longest `delay_s` of a token; well below the trade-notifier's TRADE_LOG_MINUTES, which keep the trades",
        "s",
    )
    delayed_prices_bytes: Positive = setting(
        67_108_864,
        "prices kept for clients with a `delay_s`, one a second and symbol; where that is too much, fewer",
        "bytes",
    )
    price_batch_ms: Positive = setting(100, "window of `price:batch`", "ms")
    price_batch_audience: Literal["everyone", "subscribers", "off"] = setting(
        "everyone", "who gets `price:batch`: all clients the whole market, clients their own symbols, nobody"
    )
    candle_fill_gaps: bool = setting(
        default=True, meaning="charts show a flat candle where nobody traded, instead of a hole"
    )
    decimals: Literal["number", "string"] = setting(
        "number", "how prices and amounts are written; the same in the whole cluster"
    )
    rate_limit_default: Positive = setting(10, "events a second per connection and event name", "1/s")
    rate_limit_burst: Positive = setting(50, "events at once, per connection and event name")
    rate_limits: tuple[str, ...] = setting(
        (),
        "other rates by event, such as `subscribe:price=20,subscribe:trades=20`",
        "1/s",
        shown_default="authenticate=1,auth:refresh=1",
    )
    rate_limit_user: NotNegative = setting(
        50, "events of one user over all its connections in the cluster; four times as many at once; 0: no limit", "1/s"
    )
    max_frames_per_second: Positive = setting(
        50, "WebSocket frames, or packets in long-polling POSTs, from one client; ten times as many at once", "1/s"
    )
    max_connections: NotNegative = setting(20_000, "clients of one gateway; above, handshakes get 503; 0: no limit")
    max_accepts_per_second: NotNegative = setting(
        1_000, "handshakes of one gateway; above, they get 503; 0: no limit", "1/s"
    )
    drain_seconds: Annotated[int, msgspec.Meta(ge=0, le=3_600)] = setting(
        60,
        "a gateway that stops lets its clients go one by one over four fifths of this time; `tickwire up`: 0, at once",
        "s",
    )
    rebalance_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = setting(
        40,
        "of its clients that a gateway with over 1.2 times its share lets go in a minute; 0: none",
        "%",
    )
    rebalance_after_seconds: Positive = setting(
        60, "the gateways have been the same for so long, and a client connected, before it is let go for that", "s"
    )
    max_subscriptions: Positive = setting(200, "price, trade and chart subscriptions of one connection")
    max_connections_per_user: NotNegative = setting(
        10, "of one user in the whole cluster; a token's `connections` counts instead, if it has it; 0: no limit"
    )
    user_limit_grace_ms: NotNegative = setting(
        45_000,
        "a client above that limit is asked to come back for so long, then refused: former ones may be dead",
        "ms",
    )
    max_subscriptions_per_user: NotNegative = setting(
        1_000, "price, trade and chart subscriptions of one user over all its connections; 0: no limit"
    )
    max_charts: Positive = setting(
        2_000, "different charts that one gateway keeps for its clients, about 160 kB each; further ones are refused"
    )
    max_symbols_per_request: Positive = setting(50, "symbols in one subscribe or unsubscribe")

    def problems(self) -> list[str]:
        """What cannot work, by variable."""
        found = []
        try:
            self.event_rates()
        except ValueError as error:
            found.append(f"RATE_LIMITS: {error}")
        try:
            SymbolPatterns(self.symbols)
        except ValueError as error:
            found.append(f"SYMBOLS: {error}")
        found += [
            f"ALLOWED_ORIGINS: {origin!r} is no origin, such as https://app.example.com; `*` is any"
            for origin in self.allowed_origins
            if not _is_origin(origin)
        ]
        if not _is_cookie_name(self.sticky_cookie):
            found.append(f"STICKY_COOKIE={self.sticky_cookie!r}: not the name of a cookie")
        return found

    @property
    def connect_timeout_s(self) -> float:
        """The effective `CONNECT_TIMEOUT_MS`, in seconds."""
        default = CONNECT_WITH_TOKEN_MS if self.auth_mode == "required" else CONNECT_MS
        return (self.connect_timeout_ms or default) / 1000

    def event_rates(self) -> dict[str, float]:
        """`RATE_LIMITS` as event -> events a second, beside those that check a token: once a second if it does not say.

        Raises:
            ValueError: an item is not `event=rate` with a positive rate.
        """
        rates: dict[str, float] = dict.fromkeys(_CHECKED, _CHECKS_A_SECOND)
        for item in self.rate_limits:
            event, _, rate = item.rpartition("=")
            if event and event not in _KNOWN_EVENTS:
                raise ValueError(f"{event!r} is no event that clients send")
            try:
                rates[event] = float(rate)
            except ValueError:
                raise ValueError(f"{item!r} is not event=rate") from None
            if not event or not 0 < rates[event] < float("inf"):
                raise ValueError(f"{item!r} is not event=rate with a positive rate")
        return rates
