from typing import Any

from services.metrics.snapshot import (
    EVENT_LABELS,
    FORGOTTEN_MS,
    SILENT_MS,
    sort_out,
    sum_groups,
    summarise,
)
from shared.bus.entries import GroupInfo
from shared.messages import ServiceReport, encode_json
from shared.names import metrics

NOW = 1_763_800_000_000


def report(service: str = "gateway", instance: str = "g1", age_ms: int = 0, **more: Any) -> ServiceReport:
    fields: dict[str, Any] = {
        "service": service,
        "instance": instance,
        "version": "0.1.0",
        "at": NOW - age_ms,
        "started": NOW - 60_000,
        "ready": True,
        "ops_port": 9090,
        "memory": 1000,
        "cpu": 0.25,
    }
    return ServiceReport(**{**fields, **more})


def gateway(instance: str, connections: float, rooms: float, **more: Any) -> ServiceReport:
    figures = {metrics.CONNECTIONS.name: connections, metrics.ROOMS.name: rooms}
    return report(instance=instance, figures=figures, **more)


def raw(*reports: ServiceReport) -> dict[bytes, bytes]:
    return {one.instance.encode(): encode_json(one) for one in reports}


class TestSortOut:
    def test_the_living_are_those_who_spoke_in_the_last_ten_seconds(self) -> None:
        on_time, late = report(instance="a", age_ms=SILENT_MS), report(instance="b", age_ms=SILENT_MS + 1)
        found = sort_out(raw(on_time, late), NOW)
        assert found.living == [on_time]
        assert found.forgotten == []

    def test_the_dead_are_forgotten_after_a_minute(self) -> None:
        found = sort_out(raw(report(instance="a", age_ms=FORGOTTEN_MS + 1)), NOW)
        assert found == ([], [b"a"])

    def test_a_report_from_the_future_tells_nothing_and_does_not_stay_for_ever(self) -> None:
        near = report(instance="near", age_ms=-2000)
        found = sort_out(raw(near, report(instance="far", age_ms=-70_000)), NOW)
        assert found == ([near], [b"far"])

    def test_what_is_no_report_is_removed_and_harms_no_other(self) -> None:
        good = report()
        rubbish = {b"x": b"{", b"y": b"[]", b"\xff": b"\xff", **raw(good)}
        found = sort_out(rubbish, NOW)
        assert found.living == [good]
        assert found.forgotten == [b"x", b"y", b"\xff"]

    def test_an_empty_hash_is_an_empty_cluster(self) -> None:
        assert sort_out({}, NOW) == ([], [])


class TestSummarise:
    def test_a_service_that_is_missing_counts_zero(self) -> None:
        made = summarise([report("trade-notifier", "n1"), report("trade-notifier", "n2", ready=False)], NOW)
        assert made.up == {"gateway": 0, "price-ingest": 0, "trade-notifier": 2, "metrics": 0}
        assert made.ready == {"gateway": 0, "price-ingest": 0, "trade-notifier": 1, "metrics": 0}

    def test_sums_over_gateways_and_over_all_services(self) -> None:
        gateways = [
            gateway("g2", 30.0, 7, cpu=0.5, events={"subscribe:price": 3}),
            gateway("g1", 12.0, 5, started=NOW - 90_000, events={"subscribe:price": 4, "authenticate": 1}),
        ]
        other = report("metrics", "m1", figures={metrics.CONNECTIONS.name: 99}, events={"authenticate": 99})
        cluster = summarise([other, *gateways], NOW).cluster
        assert (cluster.connections, cluster.rooms) == (42, 12)
        assert (cluster.memory, cluster.cpu, cluster.uptime) == (3000, 1.0, 90.0)
        assert cluster.events == {"subscribe:price": 7, "authenticate": 1}
        assert cluster.gateways[0] == {
            "gateway": "g1",
            "connections": 12,
            "rooms": 5,
            "memory": 1000,
            "uptime": 90.0,
            "cpu": 0.25,
            "ready": True,
        }
        assert [row["instance"] for row in cluster.services] == ["g1", "g2", "m1"]
        assert cluster.services[2] == {
            "service": "metrics",
            "instance": "m1",
            "ready": True,
            "memory": 1000,
            "cpu": 0.25,
            "uptime": 60.0,
        }

    def test_names_that_clients_invent_are_one_label(self) -> None:
        events = {f"invented {number}": 1 for number in range(1000)} | {"authenticate": 2}
        cluster = summarise([gateway("g1", 1, 1, events=events)], NOW).cluster
        assert cluster.events == {"authenticate": 2, "other": 1000}
        assert set(cluster.events) < set(EVENT_LABELS)

    def test_an_empty_cluster_has_empty_figures(self) -> None:
        cluster = summarise([], NOW).cluster
        assert (cluster.connections, cluster.uptime, cluster.gateways, cluster.services) == (0, 0.0, [], [])

    def test_a_clock_that_stepped_back_makes_no_negative_uptime(self) -> None:
        assert summarise([report(started=NOW + 5)], NOW).cluster.uptime == 0


class TestSumGroups:
    def test_partitions_are_one_feed(self) -> None:
        assert sum_groups([GroupInfo(10, 3, 1, 500), GroupInfo(5, 2, 4, 900)]) == GroupInfo(15, 5, 5, 900)

    def test_one_unknown_lag_makes_the_sum_unknown(self) -> None:
        assert sum_groups([GroupInfo(10, 3, 0, 0), GroupInfo(5, None, 0, 0)]).lag is None

    def test_no_streams_are_nothing(self) -> None:
        assert sum_groups([]) == GroupInfo(0, 0, 0, 0)
