"""What the dashboard shows, and how Prometheus is asked for it. Feeds `dashboard.py`; units are Grafana's names."""

from typing import Final, NamedTuple

from shared.names import metrics
from shared.names.metrics import Kind, MetricDef

SCOPE: Final = 'namespace=~"$namespace"'
"""Stands in every selector; `.*` also matches series without a namespace."""

WINDOW: Final = "$__rate_interval"
"""Grafana's: at least four scrapes."""

NAMESPACES: Final = f"label_values({metrics.BUILD_INFO.name}, namespace)"

LATE: Final = "tickwire:late_publications:ratio_rate"
CONNECTIONS_OF_POD: Final = "pod:websocket_connections:sum"
"""Recorded by `rules.yml`."""


class Query(NamedTuple):
    """One expression, and what its series are called."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One graph."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    description: str = ""


def now(metric: MetricDef | str, more: str = "") -> str:
    """A selector of a metric, or of a recorded series."""
    name = metric if isinstance(metric, str) else metric.name
    return f"{name}{{{', '.join(filter(None, (SCOPE, more)))}}}"


def per_second(metric: MetricDef, by: str, more: str = "") -> Query:
    """The rate of a counter, added up by a label."""
    assert metric.kind is Kind.COUNTER, metric
    return Query(f"sum by ({by}) (rate({now(metric, more)}[{WINDOW}]))", f"{{{{{by}}}}}")


def total(metric: MetricDef, legend: str) -> Query:
    """The rate of a counter, all processes together."""
    assert metric.kind is Kind.COUNTER, metric
    return Query(f"sum(rate({now(metric)}[{WINDOW}]))", legend)


def times(metric: MetricDef, legend: str) -> Query:
    """How often something rare happened, in five minutes."""
    assert metric.kind is Kind.COUNTER, metric
    return Query(f"sum(increase({now(metric)}[5m]))", legend)


def quantile(share: float, metric: MetricDef, by: str = "") -> Query:
    """A quantile of a histogram."""
    assert metric.kind is Kind.HISTOGRAM, metric
    labels = f"{by}, le" if by else "le"
    buckets = now(f"{metric.name}_bucket")
    legend = f"p{share * 100:g}" + (f" {{{{{by}}}}}" if by else "")
    return Query(f"histogram_quantile({share:g}, sum by ({labels}) (rate({buckets}[{WINDOW}])))", legend)


def p99(metric: MetricDef, legend: str) -> Query:
    """Its p99 under a name of its own."""
    return Query(quantile(0.99, metric).expr, legend)


def of_ours(expr: str, legend: str) -> Query:
    """What any process exports, of our processes alone."""
    return Query(f"{expr} and on (namespace, pod) {now(metrics.BUILD_INFO)}", legend)


USERS: Final = (
    Panel(
        "Delivered latency",
        "s",
        (quantile(0.5, metrics.DELIVERED, "transport"), quantile(0.99, metrics.DELIVERED, "transport")),
        "From a heartbeat's ping, which goes behind all data, to its pong: an upper bound. A client that answers none "
        "is not in here, but in the disconnects for `ping_timeout`.",
    ),
    Panel(
        "Late publications",
        "percentunit",
        (Query(now(f"{LATE}5m"), "5 min"), Query(now(f"{LATE}1h"), "1 h"), Query(now(f"{LATE}6h"), "6 h")),
        "Share of publications that took over 0.25 s to the queues of a gateway's clients; 0.5 % are allowed.",
    ),
    Panel(
        "Connections of each gateway",
        "short",
        (Query(now(CONNECTIONS_OF_POD), "{{pod}}"), Query(f"max({now(metrics.CONNECTION_LIMIT)})", "limit of each")),
    ),
    Panel(
        "Connections by transport",
        "short",
        (Query(f"sum by (transport) ({now(metrics.CONNECTIONS)})", "{{transport}}"),),
    ),
    Panel(
        "Fullest gateway over the mean",
        "short",
        (Query(f"max({now(CONNECTIONS_OF_POD)}) / avg({now(CONNECTIONS_OF_POD)})", "times the mean"),),
    ),
    Panel("Connections opened", "cps", (total(metrics.ACCEPTED, "opened"),)),
    Panel("Connections ended", "cps", (per_second(metrics.DISCONNECTS, "reason"),)),
    Panel(
        "Clients that came back",
        "cps",
        (per_second(metrics.RECOVERIES, "outcome"),),
        "With what they missed (`recovered`), or why they began anew.",
    ),
    Panel("Events to clients", "cps", (per_second(metrics.SENT_EVENTS, "event"),)),
)

PRICES: Final = (
    Panel(
        "Age of ticks when they are read",
        "s",
        (quantile(0.5, metrics.TICK_AGE, "feed"), quantile(0.99, metrics.TICK_AGE, "feed")),
        "Upstream's clock against ours, the oldest of each read. Above 30 s it says no more than that: a replay.",
    ),
    Panel(
        "Hops, p99",
        "s",
        (
            p99(metrics.READ_TO_PUBLISH, "read to published"),
            p99(metrics.PUBLISH_TO_SEND, "published to queued"),
            p99(metrics.FLUSH_SECONDS, "queued to written"),
        ),
    ),
    Panel("Commits to Redis, p99", "s", (quantile(0.99, metrics.COMMIT_SECONDS, "what"),)),
    Panel(
        "Ticks and prices",
        "cps",
        (
            per_second(metrics.TICKS, "feed"),
            total(metrics.TICKS_ACCEPTED, "accepted"),
            total(metrics.PUBLISHED, "published"),
        ),
    ),
    Panel("Ticks dropped", "cps", (per_second(metrics.TICKS_DROPPED, "reason"),)),
    Panel(
        "Time since the last tick",
        "s",
        (Query(f"time() - max by (feed) ({now(metrics.LAST_TICK)})", "{{feed}}"),),
    ),
    Panel(
        "Symbols",
        "short",
        (
            Query(f"sum({now(metrics.SYMBOLS)})", "with a price"),
            Query(f"sum({now(metrics.STALE_SYMBOLS)})", "stale"),
        ),
    ),
    Panel("Lost before they were read", "short", (times(metrics.INGEST_GAPS, "gaps in 5 min"),)),
    Panel("Candles closed", "cps", (total(metrics.CANDLES_CLOSED, "closed"),)),
)

TRADES: Final = (
    Panel(
        "Not yet read, not yet logged",
        "short",
        (
            Query(f"max by (stream) ({now(metrics.STREAM_LAG)})", "unread {{stream}}"),
            Query(f"max by (stream) ({now(metrics.PENDING)})", "pending {{stream}}"),
        ),
    ),
    Panel("Oldest pending", "s", (Query(f"max by (stream) ({now(metrics.OLDEST_PENDING)})", "{{stream}}"),)),
    Panel(
        "Hops, p99",
        "s",
        (p99(metrics.TRADE_AGE, "upstream to logged"), p99(metrics.LOG_TO_SEND, "logged to queued")),
    ),
    Panel(
        "Trades",
        "cps",
        (
            total(metrics.TRADES, "logged"),
            total(metrics.NOTIFICATIONS, "notifications"),
            total(metrics.DUPLICATES, "known already"),
            total(metrics.REDELIVERED, "taken over"),
        ),
    ),
    Panel("Dead letters", "cps", (per_second(metrics.DEAD_LETTERS, "reason"),)),
    Panel(
        "Must be none",
        "short",
        (
            times(metrics.LOG_FORKS, "logs that lost entries"),
            times(metrics.TRIMMED, "trimmed unread upstream"),
            times(metrics.TRIM_UNREAD, "trimmed unread"),
            times(metrics.UNCONFIRMED, "appends unconfirmed"),
            times(metrics.LOG_REJECTED, "unreadable"),
        ),
        "In five minutes.",
    ),
    Panel("Entries in streams", "short", (Query(f"max by (stream) ({now(metrics.STREAM_LENGTH)})", "{{stream}}"),)),
    Panel("Trimming", "cps", (per_second(metrics.TRIM_ENTRIES, "kind"),)),
    Panel("Memory of the log windows", "bytes", (Query(f"max by (pod) ({now(metrics.LOG_WINDOW)})", "{{pod}}"),)),
)

CLIENTS: Final = (
    Panel(
        "Dropped for not reading",
        "cps",
        (per_second(metrics.DISCONNECTS, "reason", 'reason=~"slow_consumer|fell_behind|buffer_full"'),),
    ),
    Panel(
        "Behind",
        "short",
        (
            Query(f"sum({now(metrics.PACED)})", "clients paced"),
            times(metrics.SLOW_PASSES, "times behind in 5 min"),
        ),
    ),
    Panel(
        "Let go",
        "short",
        (
            Query(f"sum({now(metrics.DRAINING)})", "gateways that drain"),
            times(metrics.SHED, "clients moved in 5 min"),
        ),
    ),
    Panel("Handshakes refused", "cps", (per_second(metrics.REFUSED, "reason"),)),
    Panel("Tokens refused", "cps", (per_second(metrics.TOKENS_REFUSED, "reason"),)),
    Panel("Requests answered with an error", "cps", (per_second(metrics.REQUEST_ERRORS, "code"),)),
    Panel("Requests", "cps", (per_second(metrics.EVENTS, "event"),)),
    Panel("Limits of users reached", "cps", (per_second(metrics.USER_REFUSALS, "limit"),)),
    Panel(
        "Sessions and users",
        "short",
        (
            Query(f"sum({now(metrics.SESSIONS)})", "can come back"),
            Query(f"sum({now(metrics.USERS)})", "users"),
            Query(f"sum({now(metrics.HALF_OPEN)})", "half open"),
        ),
    ),
)

REDIS: Final = (
    Panel("Redis answers", "short", (Query(f"min by (pod) ({now(metrics.REDIS_CONNECTED)})", "{{pod}}"),), "1 or 0."),
    Panel(
        "Subscribed",
        "short",
        (Query(f"min by (pod, feed) ({now(metrics.SUBSCRIBED)})", "{{pod}} {{feed}}"),),
        "1 or 0.",
    ),
    Panel(
        "Lost and found",
        "short",
        (
            times(metrics.REDIS_RECONNECTS, "reconnects"),
            times(metrics.PUBSUB_LOST, "Pub/Sub lost"),
            times(metrics.PUBSUB_DEAF, "of them deaf"),
            times(metrics.BUS_REJECTED, "unreadable"),
        ),
        "In five minutes.",
    ),
    Panel(
        "Price shards",
        "short",
        (
            Query(f"sum by (pod) ({now(metrics.SHARDS_WATCHED)})", "watched {{pod}}"),
            Query(f"sum by (pod) ({now(metrics.SHARDS_STALE)})", "stale {{pod}}"),
        ),
    ),
    Panel(
        "Who reads upstream",
        "short",
        (
            Query(f"sum by (pod) ({now(metrics.OWNED_UNITS)})", "units {{pod}}"),
            Query(f"sum by (pod) ({now(metrics.OWNED_STREAMS)})", "streams {{pod}}"),
        ),
    ),
    Panel(
        "Relayed from Pub/Sub",
        "cps",
        (total(metrics.RELAYED, "appended"), total(metrics.RELAY_DROPPED, "dropped")),
    ),
)

PROCESSES: Final = (
    Panel("CPU", "short", (of_ours(f"rate({now('process_cpu_seconds_total')}[{WINDOW}])", "{{pod}}"),), "Cores."),
    Panel("Memory", "bytes", (of_ours(now("process_resident_memory_bytes"), "{{pod}}"),)),
    Panel("Event loop delay, p99", "s", (quantile(0.99, metrics.LOOP_DELAY, "pod"),)),
    Panel(
        "Open files",
        "percentunit",
        (of_ours(f"{now('process_open_fds')} / {now('process_max_fds')}", "{{pod}}"),),
    ),
    Panel("Bytes to clients", "Bps", (per_second(metrics.SENT_BYTES, "pod"),)),
    Panel("Versions", "short", (Query(f"count by (version) ({now(metrics.BUILD_INFO)})", "{{version}}"),)),
)
