"""The cluster's state as Prometheus sees it on the ops port. Fed by `snapshot` and `probes`.

Each label has a fixed list of values, all of them shown from the start. What is not known, as everything while Redis is
away, is NaN: neither an old value nor a zero, which would look like a fault of the services.
"""

import math
from typing import Final

from services.metrics.probes import StreamStates
from services.metrics.snapshot import EVENT_LABELS, SERVICES, Snapshot
from shared.names import metrics, redis_keys
from shared.telemetry import Telemetry

UNKNOWN: Final = math.nan
_NOTIFIERS_FEED: Final = redis_keys.FEED_TRADES


class ClusterGauges:
    """All gauges of the cluster, unknown at first."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._up = telemetry.gauge(metrics.SERVICES_UP)
        self._ready = telemetry.gauge(metrics.SERVICES_READY)
        self._connections = telemetry.gauge(metrics.CLUSTER_CONNECTIONS)
        self._rooms = telemetry.gauge(metrics.CLUSTER_ROOMS)
        self._events = telemetry.gauge(metrics.CLUSTER_EVENTS)
        self._length = telemetry.gauge(metrics.STREAM_LENGTH)
        self._lag = telemetry.gauge(metrics.STREAM_LAG).labels(stream=_NOTIFIERS_FEED)
        self._pending = telemetry.gauge(metrics.PENDING).labels(stream=_NOTIFIERS_FEED)
        self._oldest = telemetry.gauge(metrics.OLDEST_PENDING).labels(stream=_NOTIFIERS_FEED)
        self._streams: set[str] = set()
        self.forget()

    def show(self, snapshot: Snapshot, streams: StreamStates) -> None:
        """Show the state of now."""
        for service in SERVICES:
            self._up.labels(service=service).set(snapshot.up[service])
            self._ready.labels(service=service).set(snapshot.ready[service])
        self._connections.set(snapshot.cluster.connections)
        self._rooms.set(snapshot.cluster.rooms)
        for event in EVENT_LABELS:
            self._events.labels(event=event).set(snapshot.cluster.events.get(event, 0))
        for stream, length in streams.lengths.items():
            self._length.labels(stream=stream).set(length)
            self._streams.add(stream)
        lag = streams.notifiers.lag
        self._lag.set(UNKNOWN if lag is None else lag)
        self._pending.set(streams.notifiers.pending)
        self._oldest.set(streams.notifiers.oldest_pending_ms / 1000)

    def forget(self) -> None:
        """Nothing is known any more."""
        for service in SERVICES:
            self._up.labels(service=service).set(UNKNOWN)
            self._ready.labels(service=service).set(UNKNOWN)
        for event in EVENT_LABELS:
            self._events.labels(event=event).set(UNKNOWN)
        for stream in self._streams:
            self._length.labels(stream=stream).set(UNKNOWN)
        for gauge in (self._connections, self._rooms, self._lag, self._pending, self._oldest):
            gauge.set(UNKNOWN)
