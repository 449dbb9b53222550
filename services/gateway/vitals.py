"""The gateway's figures: counted as plain numbers where it is hot, copied here when somebody looks.

Feeds the gateway's own `/metrics` and its report to the metrics service, every two seconds.
"""

from collections import Counter
from typing import Any, NamedTuple

from protocol.engineio.session import Transport
from services.gateway.admission import Refusal
from services.gateway.chart_feed import ChartFeed
from services.gateway.client import Intake
from services.gateway.delayed_prices import DelayedPrices
from services.gateway.delayed_trades import DelayedTrades
from services.gateway.fanout import Fanout
from services.gateway.handlers import Handlers
from services.gateway.hub import Hub
from services.gateway.log_fanout import LogFanout
from services.gateway.metrics_feed import MetricsFeed
from services.gateway.outbox import Flusher
from services.gateway.price_feed import PriceFeed
from services.gateway.recovery import Recovery
from services.gateway.server import Server
from services.gateway.sessions import Sessions
from services.gateway.tokens import Tokens
from services.gateway.trade_feed import TradeFeed
from services.gateway.users import Users
from shared.names import close_reasons, error_codes, metrics
from shared.names.close_reasons import CloseReason
from shared.names.events import ServerEvent
from shared.telemetry import Telemetry

KNOWN_REFUSALS = 64
"""Different texts of refused handshakes; all are ours, so this is a fuse, not a limit."""


class Feeds(NamedTuple):
    """What listens to Pub/Sub; each field is the value of a label."""

    prices: PriceFeed
    charts: ChartFeed
    metrics: MetricsFeed


class Vitals:
    """Everything that is counted in one gateway."""

    _server: Server
    _hub: Hub
    _handlers: Handlers
    _fanout: Fanout
    _flusher: Flusher
    _feeds: Feeds
    _log: LogFanout
    _trades: TradeFeed
    _sessions: Sessions
    _recovery: Recovery
    _tokens: Tokens
    _users: Users
    _delayed_prices: DelayedPrices
    _delayed_trades: DelayedTrades
    _intake: Intake

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._connections = telemetry.gauge(metrics.CONNECTIONS)
        self._rooms = telemetry.gauge(metrics.ROOMS)
        self._unfinished = telemetry.gauge(metrics.HALF_OPEN)
        self._shards = telemetry.gauge(metrics.SHARDS_WATCHED)
        self._stale = telemetry.gauge(metrics.SHARDS_STALE)
        self._charts_kept = telemetry.gauge(metrics.CHARTS_KEPT)
        self._sessions_kept = telemetry.gauge(metrics.SESSIONS)
        self._window_bytes = telemetry.gauge(metrics.LOG_WINDOW)
        self._paced = telemetry.gauge(metrics.PACED)
        self._delayed_clients = telemetry.gauge(metrics.DELAYED_CLIENTS)
        self._delayed_bytes = telemetry.gauge(metrics.DELAYED_BYTES)
        self._age = telemetry.histogram(metrics.PUBLISH_TO_SEND)
        self._draining = telemetry.gauge(metrics.DRAINING)
        self._limit = telemetry.gauge(metrics.CONNECTION_LIMIT)
        self._shed = telemetry.counter(metrics.SHED)
        self._log_age = telemetry.histogram(metrics.LOG_TO_SEND)
        self._flush = telemetry.histogram(metrics.FLUSH_SECONDS)
        delivered = telemetry.histogram(metrics.DELIVERED)
        self._delivered = {transport: delivered.labels(transport=transport.value) for transport in Transport}
        self._subscribed = telemetry.gauge(metrics.SUBSCRIBED)
        self._endings = telemetry.counter(metrics.DISCONNECTS)
        for reason in close_reasons.ALL:
            self._endings.labels(reason=reason.text)
        self._refusals: dict[str, int] = dict.fromkeys(Refusal, 0)
        self._copied: dict[tuple[str, str], int] = {}

    def watch(
        self,
        server: Server,
        hub: Hub,
        handlers: Handlers,
        fanout: Fanout,
        flusher: Flusher,
        feeds: Feeds,
    ) -> None:
        """Look at these parts from now on, whenever a scraper looks at us."""
        self._server = server
        self._hub = hub
        self._handlers = handlers
        self._fanout = fanout
        self._flusher = flusher
        self._feeds = feeds
        self._telemetry.before_exposition(self.refresh)

    def watch_tokens(self, tokens: Tokens) -> None:
        """And at these."""
        self._tokens = tokens

    def watch_log(self, fanout: LogFanout, trades: TradeFeed, sessions: Sessions, recovery: Recovery) -> None:
        """And at these."""
        self._log = fanout
        self._trades = trades
        self._sessions = sessions
        self._recovery = recovery

    def watch_users(self, users: Users) -> None:
        """And at these."""
        self._users = users

    def watch_delayed(self, prices: DelayedPrices, trades: DelayedTrades) -> None:
        """And at these."""
        self._delayed_prices = prices
        self._delayed_trades = trades

    def watch_intake(self, intake: Intake) -> None:
        """And at this."""
        self._intake = intake

    def observe_age(self, seconds: float) -> None:
        """Prices were queued for clients so long after their publication."""
        self._age.observe(seconds)

    def observe_log_age(self, seconds: float) -> None:
        """Trades were queued for clients so long after they came into their log."""
        self._log_age.observe(seconds)

    def observe_flush(self, seconds: float) -> None:
        """All that was queued in a turn was written so long after the first of it."""
        self._flush.observe(seconds)

    def observe_delivery(self, transport: Transport, seconds: float) -> None:
        """A client answered a ping that went behind all its data."""
        self._delivered[transport].observe(seconds)

    def count_ending(self, reason: CloseReason) -> None:
        """A connection ended."""
        self._endings.labels(reason=reason.text).inc()
        if reason is close_reasons.REBALANCED:
            self._shed.inc()

    def note_draining(self) -> None:
        """The gateway lets its clients go from now on."""
        self._draining.set(1)

    def note_limit(self, clients: int) -> None:
        """The gateway takes so many clients; 0: any number."""
        self._limit.set(clients)

    def count_refusal(self, reason: str) -> None:
        """A handshake was refused."""
        if reason in self._refusals or len(self._refusals) < KNOWN_REFUSALS:
            self._refusals[reason] = self._refusals.get(reason, 0) + 1

    def refresh(self) -> None:
        """Copy the plain numbers into the registry."""
        transports = Counter(connection.transport for connection in self._server.connections)
        for transport in Transport:
            self._connections.labels(transport=transport.value).set(transports[transport])
        self._rooms.set(len(self._hub))
        self._unfinished.set(self._server.unfinished)
        self._copy(metrics.UNKNOWN_ACKS, {"": self._intake.unknown_acks})
        self._copy(metrics.MESSAGE_WARNINGS, {"": self._intake.warnings})
        self._sessions_kept.set(len(self._sessions))
        self._window_bytes.set(self._log.window.size)
        self._telemetry.gauge(metrics.USERS).set(len(self._users))
        self._copy(metrics.USER_REFUSALS, self._users.refused)
        self._copy(metrics.RECOVERIES, self._recovery.outcomes)
        self._copy(metrics.LOG_FORKS, {"": self._trades.forks})
        self._copy(metrics.LOG_REJECTED, {"": self._log.rejected})
        self._delayed_clients.set(self._delayed_prices.clients)
        self._delayed_bytes.set(self._delayed_prices.history.size)
        self._copy(metrics.DELAYED_MERGED, {"": self._delayed_prices.history.merged})
        self._copy(metrics.DELAYED_GAPS, {"": self._delayed_trades.gaps})
        self._copy(metrics.BUS_REJECTED, self._rejected())
        self._shards.set(self._feeds.prices.shards_watched)
        self._stale.set(self._feeds.prices.shards_stale)
        self._charts_kept.set(len(self._feeds.charts))
        self._paced.set(self._handlers.paced)
        self._copy(metrics.ACCEPTED, {"": self._server.accepted})
        self._copy(metrics.SENT_BYTES, {"": self._flusher.sent_bytes})
        self._copy(metrics.SLOW_PASSES, {"": self._flusher.passes_behind})
        feeds: dict[str, PriceFeed | ChartFeed | MetricsFeed] = self._feeds._asdict()
        for name, feed in feeds.items():
            self._subscribed.labels(feed=name).set(feed.subscription.complete)
        self._copy(metrics.PUBSUB_LOST, {name: feed.subscription.losses for name, feed in feeds.items()})
        self._copy(metrics.PUBSUB_DEAF, {name: feed.deaf for name, feed in feeds.items()})
        self._copy(metrics.EVENTS, self._handlers.received)
        self._copy(metrics.SENT_EVENTS, {event.value: count for event, count in self._fanout.delivered.items()})
        errors = {str(error.code): count for error, count in self._handlers.errors.items()}
        self._copy(metrics.REQUEST_ERRORS, errors)
        self._copy(metrics.TOKENS_REFUSED, self._tokens.refused)
        self._copy(metrics.REFUSED, self._refusals)

    def _rejected(self) -> dict[str, int]:
        return {
            **{name: feed.rejected for name, feed in self._feeds._asdict().items()},
            "sessions": self._sessions.rejected,
        }

    def fill_report(self, report: dict[str, Any]) -> None:
        """Add the fields of a `ServiceReport` that are the gateway's."""
        delivered = self._fanout.delivered
        report["events"] = {name: count for name, count in self._handlers.received.items() if count}
        report["figures"] = {
            metrics.CONNECTIONS.name: len(self._server.connections),
            metrics.ROOMS.name: len(self._hub),
            metrics.ACCEPTED.name: self._server.accepted,
            metrics.SENT_BYTES.name: self._flusher.sent_bytes,
            metrics.SENT_EVENTS.name: sum(delivered.values()),
            metrics.REQUEST_ERRORS.name: sum(self._handlers.errors[error] for error in error_codes.ALL),
            f"{metrics.SENT_EVENTS.name}:{ServerEvent.TRADE_NEW}": delivered[ServerEvent.TRADE_NEW],
        }

    def _copy(self, definition: metrics.MetricDef, numbers: dict[str, int]) -> None:
        counter = self._telemetry.counter(definition)
        for label, number in numbers.items():
            before = self._copied.get((definition.name, label), 0)
            child = counter.labels(label) if definition.labels else counter
            child.inc(number - before)
            self._copied[definition.name, label] = number
