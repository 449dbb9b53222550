"""The network policies: nothing is open by default, and everything that has to talk can."""

from collections.abc import Iterable
from typing import Final

import pytest

from tests.deploy.manifests import (
    COMPONENT,
    NAME,
    SERVICES,
    VARIANTS,
    Manifest,
    containers,
    named,
    of_kind,
    pod_labels,
    rendered,
    selects,
    workloads,
)

EVERY: Final = [variant for variant in VARIANTS if "monitoring" not in variant]
DIRECTIONS: Final = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}


def pods(manifests: Iterable[Manifest]) -> dict[str, dict[str, str]]:
    """Workload -> its pods' labels."""
    return {workload["metadata"]["name"]: dict(pod_labels(workload)) for workload in workloads(manifests)}


def rules(manifests: Iterable[Manifest], direction: str, labels: dict[str, str]) -> list[Manifest]:
    """The rules of all policies that take a pod, in one direction."""
    key, _ = DIRECTIONS[direction]
    policies = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")]
    mine = [spec for spec in policies if direction in spec["policyTypes"] and selects(spec["podSelector"], labels)]
    return [rule for spec in mine for rule in spec.get(key, ())]


def ports(rule: Manifest) -> set[int]:
    return {port["port"] for port in rule["ports"]}


@pytest.mark.parametrize("variant", EVERY)
def test_nothing_is_open_by_default(variant: str) -> None:
    deny = named(rendered(variant), "NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("variant", EVERY)
def test_every_selector_of_a_policy_takes_a_pod(variant: str) -> None:
    manifests = rendered(variant)
    labels = pods(manifests).values()
    for policy in of_kind(manifests, "NetworkPolicy"):
        spec = policy["spec"]
        peers = [
            peer["podSelector"]
            for key, side in DIRECTIONS.values()
            for rule in spec.get(key, ())
            for peer in rule.get(side, ())
            if "podSelector" in peer and "namespaceSelector" not in peer
        ]
        for selector in [spec["podSelector"], *peers]:
            for choice in split(selector):
                assert any(selects(choice, pod) for pod in labels), policy["metadata"]["name"]


def split(selector: Manifest) -> list[Manifest]:
    """A selector for each value that it names: none of them may be one that no pod has."""
    expressions = selector.get("matchExpressions", ())
    if not expressions:
        return [selector]
    (rule,) = expressions
    return [{**selector, "matchExpressions": [{**rule, "values": [value]}]} for value in rule["values"]]


@pytest.mark.parametrize("variant", EVERY)
def test_every_port_of_a_service_is_let_in_and_no_port_that_no_container_has(variant: str) -> None:
    manifests = rendered(variant)
    for service in of_kind(manifests, "Service"):
        labels = service["spec"]["selector"]
        (workload,) = [w for w in workloads(manifests) if selects({"matchLabels": labels}, pod_labels(w))]
        numbers = {p["name"]: p["containerPort"] for c in containers(workload) for p in c.get("ports", ())}
        let_in = {port for rule in rules(manifests, "Ingress", dict(pod_labels(workload))) for port in ports(rule)}
        assert {numbers[port["targetPort"]] for port in service["spec"]["ports"]} <= let_in
        assert let_in <= set(numbers.values())


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_reaches_names_and_redis_and_nothing_else(service: str) -> None:
    for overlay, redis in (("dev", {6379}), ("production", {6379, 6380, 26379})):
        manifests = rendered(overlay)
        reached = [ports(rule) for rule in rules(manifests, "Egress", pods(manifests)[service])]
        assert sorted(reached, key=min) == [{53}, redis]


def test_with_published_keys_gateways_alone_reach_the_world_and_not_its_private_part() -> None:
    manifests = rendered("production jwks")
    open_to_443 = {
        name: rule
        for name, labels in pods(manifests).items()
        for rule in rules(manifests, "Egress", labels)
        if 443 in ports(rule)
    }
    assert set(open_to_443) == {"gateway"}
    (peer,) = open_to_443["gateway"]["to"]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(peer["ipBlock"]["except"])


def test_valkey_of_the_dev_overlay_lets_in_every_service_and_upstreams() -> None:
    manifests = rendered("dev")
    labels = pods(manifests)
    (rule,) = rules(manifests, "Ingress", labels["valkey"])
    assert {"namespaceSelector": {}} in rule["from"]
    for service in SERVICES:
        assert any(selects(peer["podSelector"], labels[service]) for peer in rule["from"] if "podSelector" in peer)
    assert [ports(rule) for rule in rules(manifests, "Egress", labels["valkey"])] == [{53}]


def test_production_lets_in_the_edge_and_monitoring_by_the_names_of_their_namespaces() -> None:
    manifests = rendered("production")
    labels = pods(manifests)
    by_port: dict[int, list[Manifest]] = {}
    for rule in rules(manifests, "Ingress", labels["gateway"]):
        for port in ports(rule):
            by_port.setdefault(port, []).extend(rule["from"])
    assert set(by_port) == {8080, 9090}
    for peers in by_port.values():
        (peer,) = peers
        (expression,) = peer["namespaceSelector"]["matchExpressions"]
        assert expression["key"] == "kubernetes.io/metadata.name"
    for service in SERVICES:
        assert 9090 in {port for rule in rules(manifests, "Ingress", labels[service]) for port in ports(rule)}


def test_the_dev_overlay_lets_clients_and_scrapes_in_from_anywhere() -> None:
    manifests = rendered("dev")
    labels = pods(manifests)
    open_ports = {
        p for rule in rules(manifests, "Ingress", labels["gateway"]) if "from" not in rule for p in ports(rule)
    }
    assert open_ports == {8080, 9090}
    assert labels["gateway"] == {NAME: "tickwire", COMPONENT: "gateway", "app.kubernetes.io/part-of": "tickwire"}
