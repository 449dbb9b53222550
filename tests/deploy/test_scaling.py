"""Autoscalers: of metrics that exist, below a gateway's cap, slower down than a drain, never two on one target."""

import re
from collections.abc import Iterable
from typing import Final

import pytest

from shared.names import metrics, redis_keys
from tests.deploy.manifests import SERVICES, VARIANTS, Manifest, named, of_kind, pod_of, rendered

EVERY: Final = [variant for variant in VARIANTS if "monitoring" not in variant]
SHARE: Final = 0.6
"""Of `MAX_CONNECTIONS`, at which another gateway is wanted."""


def targets(manifests: Iterable[Manifest]) -> list[str]:
    """The Deployment of each autoscaler, of either kind."""
    scalers = of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject")
    return [scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers]


def scale_down(manifests: Iterable[Manifest]) -> Manifest:
    """What the autoscaler of gateways may take away, whichever kind it is."""
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        if scaler["metadata"]["name"] == "gateway":
            spec = scaler["spec"]
            advanced = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig")
            down: Manifest = (advanced or spec)["behavior"]["scaleDown"]
            return down
    raise AssertionError("gateways have no autoscaler")


def connections_cap(manifests: Iterable[Manifest]) -> float:
    return float(named(manifests, "ConfigMap", "gateway")["data"]["MAX_CONNECTIONS"])


@pytest.mark.parametrize("variant", EVERY)
def test_nothing_has_two_autoscalers_and_what_has_one_has_no_replicas_of_its_own(variant: str) -> None:
    manifests = rendered(variant)
    scaled = targets(manifests)
    assert "gateway" in scaled
    assert len(scaled) == len(set(scaled))
    for service in SERVICES:
        spec = named(manifests, "Deployment", service)["spec"]
        assert ("replicas" in spec) == (service not in scaled), service


@pytest.mark.parametrize("variant", EVERY)
def test_fewer_gateways_come_slower_than_one_of_them_drains(variant: str) -> None:
    manifests = rendered(variant)
    down = scale_down(manifests)
    (policy,) = down["policies"]
    grace = pod_of(named(manifests, "Deployment", "gateway"))["terminationGracePeriodSeconds"]
    assert (policy["type"], policy["value"]) == ("Pods", 1)
    assert policy["periodSeconds"] >= grace
    assert 300 <= down["stabilizationWindowSeconds"] <= 3600


def test_the_hpa_counts_the_cpu_of_the_gateways_own_container() -> None:
    (metric,) = named(rendered("production"), "HorizontalPodAutoscaler", "gateway")["spec"]["metrics"]
    assert metric["containerResource"]["container"] == "gateway"
    assert metric["containerResource"]["target"] == {"type": "AverageValue", "averageValue": "600m"}


@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_the_connections_that_it_counts_are_our_metric_well_below_the_cap(overlay: str) -> None:
    manifests = rendered(f"{overlay} hpa-connections")
    _, metric = named(manifests, "HorizontalPodAutoscaler", "gateway")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == metrics.CONNECTIONS.name
    assert float(metric["pods"]["target"]["averageValue"]) == SHARE * connections_cap(manifests)


def test_keda_takes_the_place_of_the_hpa_with_the_same_targets() -> None:
    manifests = rendered("production keda")
    assert of_kind(manifests, "HorizontalPodAutoscaler") == []
    spec = named(manifests, "ScaledObject", "gateway")["spec"]
    hpa = named(rendered("production"), "HorizontalPodAutoscaler", "gateway")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (hpa["minReplicas"], hpa["maxReplicas"])
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == hpa["behavior"]
    cpu, connections = spec["triggers"]
    assert cpu["metadata"] == {"value": "600m", "containerName": "gateway"}
    assert set(re.findall(r"\b[a-z]+_[a-z_]+", connections["metadata"]["query"])) == {metrics.CONNECTIONS.name}
    assert float(connections["metadata"]["threshold"]) == SHARE * connections_cap(manifests)
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_keda_looks_at_the_group_that_trade_notifiers_read_in() -> None:
    manifests = rendered("production keda")
    (trigger,) = named(manifests, "ScaledObject", "trade-notifier")["spec"]["triggers"]
    assert trigger["metadata"]["stream"] == redis_keys.FEED_TRADES
    assert trigger["metadata"]["consumerGroup"] == redis_keys.TRADE_GROUP
    assert (
        trigger["authenticationRef"]["name"]
        == named(manifests, "TriggerAuthentication", "redis-keda")["metadata"]["name"]
    )
