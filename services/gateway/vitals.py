"""The gateway's figures: counted as plain numbers where it is hot, copied here when somebody looks.

Feeds the gateway's own `/metrics` and its report to the metrics service, every two seconds.
"""

from collections import Counter
from typing import Any

from protocol.engineio.session import Transport
from services.gateway.chart_feed import ChartFeed
from services.gateway.fanout import Fanout
from services.gateway.handlers import Handlers
from services.gateway.hub import Hub
from services.gateway.outbox import Flusher
from services.gateway.price_feed import PriceFeed
from services.gateway.server import Server
from shared.names import close_reasons, error_codes, metrics
from shared.names.close_reasons import CloseReason
from shared.names.events import ServerEvent
from shared.telemetry import Telemetry

KNOWN_REFUSALS = 64
"""Different texts of refused handshakes; all are ours, so this is a fuse, not a limit."""


class Vitals:
    """Everything that is counted in one gateway."""

    _server: Server
    _hub: Hub
    _handlers: Handlers
    _fanout: Fanout
    _flusher: Flusher
    _prices: PriceFeed
    _charts: ChartFeed

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._connections = telemetry.gauge(metrics.CONNECTIONS)
        self._rooms = telemetry.gauge(metrics.ROOMS)
        self._shards = telemetry.gauge(metrics.SHARDS_WATCHED)
        self._charts_kept = telemetry.gauge(metrics.CHARTS_KEPT)
        self._paced = telemetry.gauge(metrics.PACED)
        self._age = telemetry.histogram(metrics.PUBLISH_TO_SEND)
        self._endings = telemetry.counter(metrics.DISCONNECTS)
        for reason in close_reasons.ALL:
            self._endings.labels(reason=reason.text)
        self._refusals: dict[str, int] = {}
        self._copied: dict[tuple[str, str], int] = {}

    def watch(
        self,
        server: Server,
        hub: Hub,
        handlers: Handlers,
        fanout: Fanout,
        flusher: Flusher,
        prices: PriceFeed,
        charts: ChartFeed,
    ) -> None:
        """Look at these parts from now on, whenever a scraper looks at us."""
        self._server = server
        self._hub = hub
        self._handlers = handlers
        self._fanout = fanout
        self._flusher = flusher
        self._prices = prices
        self._charts = charts
        self._telemetry.before_exposition(self.refresh)

    def observe_age(self, seconds: float) -> None:
        """Prices were handed to sockets so long after their publication."""
        self._age.observe(seconds)

    def count_ending(self, reason: CloseReason) -> None:
        """A connection ended."""
        self._endings.labels(reason=reason.text).inc()

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
        self._shards.set(self._prices.shards_watched)
        self._charts_kept.set(len(self._charts))
        self._paced.set(self._handlers.paced)
        self._copy(metrics.ACCEPTED, {"": self._server.accepted})
        self._copy(metrics.SENT_BYTES, {"": self._flusher.sent_bytes})
        self._copy(metrics.SLOW_PASSES, {"": self._flusher.passes_behind})
        self._copy(metrics.EVENTS, self._handlers.received)
        self._copy(metrics.SENT_EVENTS, {event.value: count for event, count in self._fanout.delivered.items()})
        errors = {str(error.code): count for error, count in self._handlers.errors.items()}
        self._copy(metrics.REQUEST_ERRORS, errors)
        self._copy(metrics.REFUSED, self._refusals)

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
