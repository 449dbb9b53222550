import math

from services.metrics.gauges import ClusterGauges
from services.metrics.probes import StreamStates
from services.metrics.snapshot import summarise
from shared.bus.entries import GroupInfo
from shared.messages import ServiceReport
from shared.names import metrics
from shared.telemetry import Telemetry

GATEWAY = ServiceReport(
    service="gateway",
    instance="g1",
    version="0",
    at=0,
    started=0,
    ready=True,
    ops_port=1,
    memory=1,
    cpu=0.0,
    figures={metrics.CONNECTIONS.name: 3, metrics.ROOMS.name: 2},
    events={"authenticate": 5, "mischief": 1},
)
STREAMS = StreamStates({"feed:trades": 9}, GroupInfo(9, 4, 2, 1500))


def series(telemetry: Telemetry) -> dict[str, float]:
    lines = telemetry.exposition("")[0].decode().splitlines()
    rows = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows if name.startswith(("tickwire_", "websocket_"))}


def test_each_gauge_shows_its_figure() -> None:
    telemetry = Telemetry()
    ClusterGauges(telemetry).show(summarise([GATEWAY], 0), STREAMS)
    shown = series(telemetry)
    assert shown['tickwire_services_up{service="gateway"}'] == 1
    assert shown['tickwire_services_ready{service="gateway"}'] == 1
    assert shown['tickwire_services_up{service="price-ingest"}'] == 0
    assert shown["tickwire_cluster_connections"] == 3
    assert shown["tickwire_cluster_rooms"] == 2
    assert shown['tickwire_cluster_events{event="authenticate"}'] == 5
    assert shown['tickwire_cluster_events{event="other"}'] == 1
    assert shown['tickwire_cluster_events{event="subscribe:price"}'] == 0
    assert shown['tickwire_stream_entries{stream="feed:trades"}'] == 9
    assert shown['tickwire_notifier_stream_lag{stream="feed:trades"}'] == 4
    assert shown['tickwire_notifier_pending{stream="feed:trades"}'] == 2
    assert shown['tickwire_notifier_oldest_pending_seconds{stream="feed:trades"}'] == 1.5


def test_what_is_not_known_is_nan_and_not_the_last_value() -> None:
    telemetry = Telemetry()
    gauges = ClusterGauges(telemetry)
    before = series(telemetry)
    assert before
    assert all(map(math.isnan, before.values()))
    gauges.show(summarise([GATEWAY], 0), STREAMS)
    gauges.forget()
    assert all(map(math.isnan, series(telemetry).values()))


def test_a_lag_that_redis_cannot_tell_is_nan() -> None:
    telemetry = Telemetry()
    ClusterGauges(telemetry).show(summarise([], 0), StreamStates({}, GroupInfo(9, None, 0, 0)))
    assert math.isnan(series(telemetry)['tickwire_notifier_stream_lag{stream="feed:trades"}'])
