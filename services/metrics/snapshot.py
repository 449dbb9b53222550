"""The state of the cluster, computed from what its services reported. Pure.

Fed by `probes`; feeds `gauges` (Prometheus) and the `metrics` event.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from shared.bus.entries import GroupInfo
from shared.messages import ClusterMetrics, DecodeError, ServiceReport, decode_report
from shared.names import metrics
from shared.names.events import ClientEvent

SERVICES: Final = ("gateway", "price-ingest", "trade-notifier", "metrics")
GATEWAY: Final = SERVICES[0]

SILENT_MS: Final = 10_000
"""A report older than this, or as far in the future, tells nothing: services write one every two seconds."""

MOST_SERVICES: Final = 10_000
"""Reports of further ones are not counted."""

FORGOTTEN_MS: Final = 60_000
"""A report older than this is removed: its service is dead."""

OTHER: Final = "other"
EVENT_LABELS: Final = (*ClientEvent, OTHER)
"""Every value of the `event` label; whatever else clients send is counted as `other`."""


class Reports(NamedTuple):
    """Reports of services that live, and the instances whose reports are to be removed."""

    living: list[ServiceReport]
    forgotten: list[bytes]


class Snapshot(NamedTuple):
    """The cluster at one moment.

    Attributes:
        up: service -> instances that live; every one of `SERVICES` is there.
        ready: service -> those of them that are ready.
        cluster: what the admin room is told.
    """

    up: dict[str, int]
    ready: dict[str, int]
    cluster: ClusterMetrics


def sort_out(raw: Mapping[bytes, bytes], now_ms: int) -> Reports:
    """Tell living services from silent and forgotten ones. A report that cannot be read is forgotten at once.

    Args:
        raw: instance -> encoded `ServiceReport`.
        now_ms: this machine's clock; the others' may differ by less than `SILENT_MS`.
    """
    living: list[ServiceReport] = []
    forgotten: list[bytes] = []
    for instance, encoded in sorted(raw.items()):
        try:
            report = decode_report(encoded)
        except DecodeError:
            forgotten.append(instance)
            continue
        age = abs(now_ms - report.at)
        if age <= SILENT_MS and len(living) < MOST_SERVICES:
            living.append(report)
        elif age > FORGOTTEN_MS:
            forgotten.append(instance)
    return Reports(living, forgotten)


def summarise(living: Iterable[ServiceReport], now_ms: int) -> Snapshot:
    """The cluster as its living services describe it."""
    reports = sorted(living, key=lambda report: (report.service, report.instance))
    gateways = [report for report in reports if report.service == GATEWAY]
    up = Counter(report.service for report in reports)
    ready = Counter(report.service for report in reports if report.ready)
    cluster = ClusterMetrics(
        connections=sum(_figure(report, metrics.CONNECTIONS.name) for report in gateways),
        memory=sum(report.memory for report in reports),
        uptime=max((_uptime(report, now_ms) for report in reports), default=0.0),
        cpu=round(sum(report.cpu for report in reports), 3),
        rooms=sum(_figure(report, metrics.ROOMS.name) for report in gateways),
        events=_sum_events(gateways),
        gateways=[_gateway_row(report, now_ms) for report in gateways],
        services=[_service_row(report, now_ms) for report in reports],
    )
    return Snapshot({name: up[name] for name in SERVICES}, {name: ready[name] for name in SERVICES}, cluster)


def sum_groups(groups: Iterable[GroupInfo]) -> GroupInfo:
    """Streams that are one feed: sums, the oldest age, and no lag where one of them has none."""
    infos = list(groups)
    lags = [info.lag for info in infos if info.lag is not None]
    return GroupInfo(
        length=sum(info.length for info in infos),
        lag=sum(lags) if len(lags) == len(infos) else None,
        pending=sum(info.pending for info in infos),
        oldest_pending_ms=max((info.oldest_pending_ms for info in infos), default=0),
    )


def _sum_events(gateways: Iterable[ServiceReport]) -> dict[str, int]:
    events: Counter[str] = Counter()
    for report in gateways:
        for name, count in report.events.items():
            events[name if name in EVENT_LABELS else OTHER] += count
    return {name: events[name] for name in EVENT_LABELS if events[name]}


def _gateway_row(report: ServiceReport, now_ms: int) -> dict[str, str | int | float | bool]:
    return {
        "gateway": report.instance,
        "connections": _figure(report, metrics.CONNECTIONS.name),
        "rooms": _figure(report, metrics.ROOMS.name),
        "memory": report.memory,
        "uptime": _uptime(report, now_ms),
        "cpu": report.cpu,
        "ready": report.ready,
    }


def _service_row(report: ServiceReport, now_ms: int) -> dict[str, str | int | float | bool]:
    return {
        "service": report.service,
        "instance": report.instance,
        "ready": report.ready,
        "memory": report.memory,
        "cpu": report.cpu,
        "uptime": _uptime(report, now_ms),
    }


def _figure(report: ServiceReport, name: str) -> int:
    return int(report.figures.get(name, 0))


def _uptime(report: ServiceReport, now_ms: int) -> float:
    return max(0, now_ms - report.started) / 1000
