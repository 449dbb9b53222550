"""Every Prometheus metric: name, kind, labels, help. `shared.telemetry` makes the objects.

No label takes a value that a client or an upstream chooses freely.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What Prometheus calls the type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricDef:
    """One metric; `buckets` in its base unit for a histogram."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, text: str, *labels: str) -> MetricDef:
    return MetricDef(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> MetricDef:
    return MetricDef(name, Kind.GAUGE, text, labels)


HOP_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds. Objectives and alerts name some of them."""

LONG_WAYS: Final = (5.0, 10.0, 30.0)
"""Seconds beyond them, where the way ends or begins at somebody else's."""


def _hop(name: str, text: str, *labels: str, beyond: tuple[float, ...] = ()) -> MetricDef:
    """How long one part of the way takes; all parts are told in the same steps, so that they compare."""
    return MetricDef(name, Kind.HISTOGRAM, text, labels, HOP_BUCKETS + beyond)


# Every service
BUILD_INFO: Final = _gauge("tickwire_build_info", "Always 1; the labels say what runs.", "service", "version")
REDIS_CONNECTED: Final = _gauge("tickwire_redis_connected", "1 while Redis answers this service.")
REDIS_RECONNECTS: Final = _counter(
    "tickwire_redis_reconnects_total", "Times that Redis answered this service again after it had not."
)
LOOP_LAG: Final = _gauge("tickwire_event_loop_lag_seconds", "How late the last periodic timer fired.")
LOOP_DELAY: Final = _hop("tickwire_event_loop_delay_seconds", "How late a timer fired, ten times a second.")

# Readers of what other services write: gateway, price-ingest, metrics
BUS_REJECTED: Final = _counter(
    "tickwire_bus_rejected_total",
    "Messages and values from Redis that are not what a service writes: damaged, of another version, or forged.",
    "source",
)

# Subscribers of Pub/Sub: gateway, price-ingest
PUBSUB_DEAF: Final = _counter(
    "tickwire_pubsub_deaf_total", "Pub/Sub connections thrown away because they were open and said nothing.", "feed"
)

PUBSUB_LOST: Final = _counter(
    "tickwire_pubsub_lost_total", "Pub/Sub connections that were lost, deaf ones that were thrown away too.", "feed"
)
SUBSCRIBED: Final = _gauge(
    "tickwire_redis_subscribed", "1 while Redis has confirmed every channel that this reader wants.", "feed"
)

# gateway
CONNECTIONS: Final = _gauge("websocket_connections", "Open client connections.", "transport")
ROOMS: Final = _gauge("websocket_rooms", "Rooms with at least one member.")
EVENTS: Final = _counter("websocket_events_total", "Events received from clients.", "event")
ACCEPTED: Final = _counter("tickwire_connections_accepted_total", "Client connections that were opened.")
REFUSED: Final = _counter("tickwire_handshakes_refused_total", "Handshakes refused before the upgrade.", "reason")
HALF_OPEN: Final = _gauge("tickwire_half_open_connections", "TCP connections without a whole request yet.")
UNKNOWN_ACKS: Final = _counter("tickwire_unknown_acks_total", "Acks of clients that nothing waits for.")
MESSAGE_WARNINGS: Final = _counter(
    "tickwire_message_warnings_total", "Times that a client was told that it sends too many messages."
)
DISCONNECTS: Final = _counter("tickwire_disconnects_total", "Client connections that ended.", "reason")
DRAINING: Final = _gauge("tickwire_draining", "1 while this gateway lets its clients go, because it stops.")
CONNECTION_LIMIT: Final = _gauge(
    "tickwire_connection_limit", "Clients that this gateway takes, above which it is not ready; 0: any number."
)
SHED: Final = _counter(
    "tickwire_shed_total", "Clients let go because this gateway had more than its share of the cluster's."
)
REQUEST_ERRORS: Final = _counter("tickwire_request_errors_total", "Client requests answered with an error.", "code")
TOKENS_REFUSED: Final = _counter("tickwire_tokens_refused_total", "Tokens that were not accepted.", "reason")
SENT_EVENTS: Final = _counter("tickwire_messages_sent_total", "Events handed to clients.", "event")
SENT_BYTES: Final = _counter("tickwire_sent_bytes_total", "Bytes handed to sockets.")
SLOW_PASSES: Final = _counter(
    "tickwire_conflated_passes_total", "Times that a client was behind and was left to catch up."
)
PACED: Final = _gauge("tickwire_paced_clients", "Clients that are slow and get prices less often for it.")
SHARDS_WATCHED: Final = _gauge("tickwire_shards_watched", "Price shards that this gateway listens to.")
SHARDS_STALE: Final = _gauge(
    "tickwire_shards_stale", "Those of them that are silent although Redis answers, or not read again since a loss."
)
CHARTS_KEPT: Final = _gauge("tickwire_charts_kept", "Charts that this gateway keeps for its clients.")
RECOVERIES: Final = _counter(
    "tickwire_recoveries_total", "Clients that came back: recovered, or why they began anew.", "outcome"
)
SESSIONS: Final = _gauge("tickwire_sessions", "Connected clients that can come back to where they were.")
LOG_WINDOW: Final = _gauge("tickwire_log_window_bytes", "Memory of the log entries kept for clients that come back.")
LOG_FORKS: Final = _counter(
    "tickwire_log_forks_total", "Times that a log had lost entries which this gateway had read: a failover lost them."
)
LOG_REJECTED: Final = _counter("tickwire_log_rejected_total", "Log entries that could not be read.")
USERS: Final = _gauge("tickwire_users", "Users with a connection to this gateway, or that had one a moment ago.")
USER_REFUSALS: Final = _counter(
    "tickwire_user_refusals_total", "What was refused because of a limit of one user in the whole cluster.", "limit"
)
REVOCATIONS: Final = _gauge("tickwire_revocations", "Revoked users and tokens that this gateway knows.")
REVOCATIONS_REJECTED: Final = _counter("tickwire_revocations_rejected_total", "Revocations that could not be read.")
REVOCATIONS_DROPPED: Final = _counter(
    "tickwire_revocations_dropped_total", "Revocations given up before their time, because there were too many."
)
DELAYED_CLIENTS: Final = _gauge("tickwire_delayed_clients", "Clients whose token delays what they get.")
DELAYED_BYTES: Final = _gauge("tickwire_delayed_prices_bytes", "Memory of the prices kept for them.")
DELAYED_MERGED: Final = _counter(
    "tickwire_delayed_prices_merged_total",
    "Prices that they do not get, since there was no room for both of two steps.",
)
DELAYED_GAPS: Final = _counter(
    "tickwire_delayed_log_gaps_total", "Times that a log was trimmed before its trades were old enough for them."
)
PUBLISH_TO_SEND: Final = _hop(
    "tickwire_publish_to_send_seconds",
    "From the publication of prices to their place in the queues of a gateway's clients, by the two machines' clocks.",
)
LOG_TO_SEND: Final = _hop(
    "tickwire_log_to_send_seconds",
    "From a trade's entry in the log to its place in the queues of a gateway's clients, by Redis' clock and this one; "
    "the oldest of each read.",
    beyond=LONG_WAYS,
)
FLUSH_SECONDS: Final = _hop(
    "tickwire_flush_seconds",
    "From the first frame that is queued in a turn of the event loop until all clients' frames are written to sockets.",
)
DELIVERED: Final = _hop(
    "tickwire_delivered_latency_seconds",
    "From a heartbeat's ping, written behind all data before it, to the client's pong: an upper bound of delivery.",
    "transport",
    beyond=LONG_WAYS,
)

# price-ingest
TICKS: Final = _counter("tickwire_ingest_ticks_total", "Upstream entries read.", "feed")
TICKS_ACCEPTED: Final = _counter("tickwire_ingest_accepted_total", "Ticks that changed a price.")
TICKS_DROPPED: Final = _counter(
    "tickwire_ingest_dropped_total", "Ticks that changed nothing, or came too late.", "reason"
)
PUBLISHED: Final = _counter("tickwire_ingest_published_total", "Prices published, after conflation.")
LAST_TICK: Final = _gauge("tickwire_ingest_last_tick_timestamp_seconds", "When the last entry was read.", "feed")
TICK_AGE: Final = _hop(
    "tickwire_ingest_tick_age_seconds",
    "From the time that upstream gives a tick to its reading, by the two machines' clocks; the oldest of each read.",
    "feed",
    beyond=LONG_WAYS,
)
READ_TO_PUBLISH: Final = _hop(
    "tickwire_ingest_publish_seconds",
    "From the reading of ticks to the publication of the prices that they made, conflation included; the longest of "
    "each publication.",
)
SYMBOLS: Final = _gauge("tickwire_ingest_symbols", "Symbols with a price.")
INGEST_GAPS: Final = _counter(
    "tickwire_ingest_gaps_total", "Times that an upstream stream had lost what was not yet read.", "reason"
)
OWNED_UNITS: Final = _gauge("tickwire_ingest_units_owned", "Units of source streams that this replica reads.")
FORWARDED: Final = _counter(
    "tickwire_ingest_forwarded_total", "Ticks handed to the unit where their symbol is at home."
)
STALE_SYMBOLS: Final = _gauge("tickwire_ingest_symbols_stale", "Symbols not heard of for PRICE_STALE_MS.")
CANDLES_CLOSED: Final = _counter(
    "tickwire_ingest_candles_closed_total", "Closed candles written, each again when a late tick revised it."
)
COMMIT_SECONDS: Final = _hop(
    "tickwire_ingest_commit_seconds", "How long Redis took to commit changed prices or candles.", "what"
)
RELAYED: Final = _counter(
    "tickwire_relay_messages_total", "Messages of a Pub/Sub channel appended to the stream of its name.", "feed"
)
RELAY_DROPPED: Final = _counter("tickwire_relay_dropped_total", "Messages that were not appended.", "feed", "reason")

# trade-notifier
TRADES: Final = _counter("tickwire_notifier_trades_total", "Trades appended to the log.")
TRADE_AGE: Final = _hop(
    "tickwire_notifier_trade_age_seconds",
    "From the time that upstream gives a trade to its place in the log, by the two machines' clocks; the oldest of "
    "each batch.",
    beyond=LONG_WAYS,
)
NOTIFICATIONS: Final = _counter("tickwire_notifier_notifications_total", "Notifications addressed to users.")
DUPLICATES: Final = _counter("tickwire_notifier_duplicates_total", "Trades whose id the log already held.")
NO_TRADES: Final = _counter("tickwire_notifier_ignored_total", "Upstream messages that were no trades: quotes, bars.")
REDELIVERED: Final = _counter("tickwire_notifier_redelivered_total", "Entries taken over from a dead or former reader.")
TRIMMED: Final = _counter(
    "tickwire_notifier_trimmed_total", "Entries trimmed from the upstream stream before they were read."
)
UNCONFIRMED: Final = _counter(
    "tickwire_notifier_unconfirmed_total",
    "Times that fewer than LOG_REPLICAS replicas had a part of the log in time; it was appended again.",
)
OWNED_STREAMS: Final = _gauge("tickwire_notifier_streams_owned", "Upstream streams that this replica reads.")

# Both readers of upstream
DEAD_LETTERS: Final = _counter("tickwire_dead_letters_total", "Upstream entries refused.", "reason")
TRIM_ENTRIES: Final = _counter("tickwire_trim_entries_total", "Entries trimmed, all read or nobody's to read.", "kind")
TRIM_POSTPONED: Final = _gauge(
    "tickwire_trim_postponed_streams", "Streams beyond their age or length because a living reader is behind.", "kind"
)
TRIM_UNREAD: Final = _counter(
    "tickwire_trim_unread_total", "Times that a log too long for memory lost what a living reader had not read."
)

# metrics, for the whole cluster
SERVICES_UP: Final = _gauge("tickwire_services_up", "Instances that reported in the last ten seconds.", "service")
SERVICES_READY: Final = _gauge("tickwire_services_ready", "Those of them that are ready.", "service")
CLUSTER_CONNECTIONS: Final = _gauge("tickwire_cluster_connections", "Client connections, all gateways.")
CLUSTER_ROOMS: Final = _gauge("tickwire_cluster_rooms", "Rooms, sum over gateways.")
CLUSTER_EVENTS: Final = _gauge("tickwire_cluster_events", "Client events received by the living gateways.", "event")
STREAM_LENGTH: Final = _gauge("tickwire_stream_entries", "Entries in a stream.", "stream")
STREAM_LAG: Final = _gauge("tickwire_notifier_stream_lag", "Upstream trades not yet read by the notifiers.", "stream")
PENDING: Final = _gauge("tickwire_notifier_pending", "Upstream trades read and not yet acknowledged.", "stream")
OLDEST_PENDING: Final = _gauge("tickwire_notifier_oldest_pending_seconds", "Age of the oldest of them.", "stream")
