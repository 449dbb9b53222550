"""The component `monitoring`: all pods are scraped, and its rules and dashboard are those of deploy/observability."""

from typing import Final

import pytest
import yaml

from tests.deploy.manifests import (
    K8S,
    SERVICES,
    named,
    of_kind,
    pod_labels,
    rendered,
    selects,
    service_container,
    workloads,
)
from tests.deploy.prometheus_rule import COMPLETE, DASHBOARD, RULES, WRAPPED, wrapped

VARIANT: Final = "production monitoring"
written = pytest.mark.skipif(not COMPLETE, reason="deploy/observability has no rules or no dashboard")


def test_every_service_is_scraped_at_its_ops_port() -> None:
    monitor = yaml.safe_load((K8S / "components/monitoring/pod-monitor.yaml").read_text(encoding="utf-8"))["spec"]
    manifests = rendered("dev")
    scraped = {w["metadata"]["name"] for w in workloads(manifests) if selects(monitor["selector"], pod_labels(w))}
    assert scraped == set(SERVICES)
    (endpoint,) = monitor["podMetricsEndpoints"]
    for service in SERVICES:
        assert endpoint["port"] in {port["name"] for port in service_container(manifests, service)["ports"]}


@written
def test_the_rules_are_those_that_promtool_tests() -> None:
    assert WRAPPED.read_text(encoding="utf-8") == wrapped(RULES.read_text(encoding="utf-8")), "make k8s-rules"
    rule = named(rendered(VARIANT), "PrometheusRule", "tickwire")
    assert rule["spec"]["groups"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]


@written
def test_the_dashboard_is_the_one_that_is_checked() -> None:
    (held,) = [m for m in of_kind(rendered(VARIANT), "ConfigMap") if m["metadata"]["name"] == "tickwire-dashboard"]
    assert held["data"] == {"dashboard.json": DASHBOARD.read_text(encoding="utf-8")}
    assert held["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.parametrize("groups", [[], [{"name": "a", "rules": [{"alert": "A", "expr": "up == 0", "for": "1m"}]}]])
def test_wrapping_changes_no_rule(groups: list[object]) -> None:
    assert yaml.safe_load(wrapped(yaml.safe_dump({"groups": groups})))["spec"] == {"groups": groups}
