"""What is known of one symbol, and of one client, at one moment: plain data that becomes JSON as it is.

Filled by `stored.py` (what Redis says) and `local.py` (what this gateway knows); judged by `judgement.py`. Nothing here
is a secret: no token, no user, no address, no id by which a connection could be taken over.
"""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Stored:
    """What Redis holds of a symbol and of those who write it.

    Attributes:
        unavailable: why Redis was not read; then nothing else is known.
        ingests, notifiers: how many price-ingests and trade-notifiers have reported lately.
        unit: the unit of price-ingest that numbers the symbol; None: it has never had a price.
        owner: the instance that holds that unit's lease; None: nobody does.
        epoch: of the `seq`s.
        seq: of its last price; None: there is none.
        state: of its feed, with `state_age_s`: for how long.
        event_age_s: since its last tick, by the upstream's time.
        chart_rev: highest revision of its candles that are not closed; None: there are none.
        log_end: the last entry's id in the log that its trades stand in, whatever their symbol.
    """

    unavailable: str | None = None
    ingests: int = 0
    notifiers: int = 0
    unit: int | None = None
    owner: str | None = None
    epoch: str = ""
    seq: int | None = None
    state: Literal["live", "stale", "halted"] | None = None
    state_age_s: float | None = None
    event_age_s: float | None = None
    chart_rev: int | None = None
    log_end: str = "0-0"


@dataclass(frozen=True, slots=True)
class Here:
    """What this gateway has of a symbol.

    Attributes:
        price_shard: its number.
        subscribed: whether this gateway subscribes that shard: it does while a client here wants a symbol of it.
        live: whether it is confirmed, and its snapshot was read behind that.
        deaf_s: how long it has been deaf, or seemed so.
        published_age_s: since the newest publication of the shard that was heard; None: none was.
        watched: whether the price is decoded here: somebody wants it, or everybody gets the whole market.
        epoch, seq: of the last price here; None: there is none, or it is not watched.
        trade_log: the number of the log that its trades stand in.
        log_position: up to which entry that log has been read.
        last_trade: id of the symbol's last entry among those that are kept, with its age.
        trades_kept_s: how far back they reach; None: to the log's first.
        charts_live: whether its candles are heard; not while nobody here has a chart of its shard.
    """

    price_shard: int
    subscribed: bool
    live: bool
    deaf_s: float
    published_age_s: float | None
    watched: bool
    epoch: str
    seq: int | None
    trade_log: int
    log_position: str
    last_trade: str | None
    last_trade_age_s: float | None
    trades_kept_s: float | None
    charts_live: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart that a client has: `ready` once it was read, `rev` is the symbol's highest."""

    interval: str
    ready: bool
    rev: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one client has of a symbol.

    Attributes:
        granted: whether its token allows the symbol.
        price: how it subscribed the price, None: it did not.
        interval_ms: at most one price in so long, as it is granted now; 0: each change.
        seq: of the last price that may be shown to it; for a delayed client an older one.
        trades: whether it subscribed trades.
        joined: whether it is in the room that they come from.
        trades_owed_from: id of the first trade that it has not got because its socket is full.
        trades_kept: whether all that it has not got is still in this gateway's memory.
        charts: those that it has.
    """

    granted: bool
    price: Literal["update", "batch"] | None
    interval_ms: int | None
    seq: int | None
    trades: bool
    joined: bool
    trades_owed_from: str | None
    trades_kept: bool
    charts: list[Chart] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ClientState:
    """One connection of this gateway that is in the namespace.

    Attributes:
        transport: `websocket` or `polling`.
        age_s: since it was opened.
        authenticated: whether it has shown a token; whose is not told.
        token_expires_in_s: None without one.
        restricted: whether its token grants some symbols only.
        delay_s: its prices and trades come so much later.
        whole_market: whether it gets `price:batch` of everything.
        subscriptions: how many it has.
        pace_ms: it is slow: no price comes more often; 0: it is not.
        behind_s: for how long its socket has been full; None: it is not.
        stalled_s: for how long it has taken nothing although its socket is full.
        unsent_bytes: what the kernel, or its next poll, has not taken.
        owed_prices: symbols whose newest price it gets when it takes more.
        replaying: whether it is still given what it missed before it came back.
        last_pong_s: since it last answered a ping, or came.
        ping_every_s: how often it is pinged.
    """

    transport: str
    age_s: float
    authenticated: bool
    token_expires_in_s: float | None
    restricted: bool
    delay_s: int
    whole_market: bool
    subscriptions: int
    pace_ms: int
    behind_s: float | None
    stalled_s: float | None
    unsent_bytes: int
    owed_prices: int
    replaying: bool
    last_pong_s: float
    ping_every_s: float
