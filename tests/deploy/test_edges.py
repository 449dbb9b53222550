"""The edge components send clients, and nothing else, to the gateways' Service, for as long as a WebSocket lasts."""

import pytest

from tests.deploy.manifests import K8S, build, named, rendered


def test_the_route_sends_the_clients_path_to_the_service_without_a_time_limit() -> None:
    manifests = rendered("production gateway-api")
    (rule,) = named(manifests, "HTTPRoute", "gateway")["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/socket.io"}}]
    assert rule["timeouts"] == {"request": "0s"}
    (backend,) = rule["backendRefs"]
    service = named(manifests, "Service", backend["name"])
    assert backend["port"] in {port["port"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize("component", ["ingress", "ingress-traefik", "ingress-haproxy"])
def test_the_ingress_sends_the_clients_path_to_a_port_of_the_service(component: str) -> None:
    manifests = rendered(f"production {component}")
    (rule,) = named(manifests, "Ingress", "gateway")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/socket.io", "Prefix")
    service = named(manifests, "Service", path["backend"]["service"]["name"])
    assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


def test_envoy_lets_more_than_its_1024_connections_through_and_waits_for_pings() -> None:
    manifests = rendered("production envoy-gateway")
    policy = named(manifests, "BackendTrafficPolicy", "gateway")["spec"]
    (target,) = policy["targetRefs"]
    assert named(manifests, target["kind"], target["name"])["apiVersion"].startswith(target["group"])
    hpa = named(manifests, "HorizontalPodAutoscaler", "gateway")["spec"]
    cap = int(named(manifests, "ConfigMap", "gateway")["data"]["MAX_CONNECTIONS"])
    breaker = policy["circuitBreaker"]
    assert min(breaker["maxConnections"], breaker["maxParallelRequests"]) >= cap * hpa["maxReplicas"]
    assert breaker["maxPendingRequests"] > 1024
    assert policy["timeout"]["http"]["streamIdleTimeout"] == "1h"


def test_the_policy_of_the_platforms_gateway_targets_the_one_that_the_route_names() -> None:
    (parent,) = named(rendered("production gateway-api"), "HTTPRoute", "gateway")["spec"]["parentRefs"]
    (policy,) = build(K8S / "components/envoy-gateway/edge")
    (target,) = policy["spec"]["targetRefs"]
    assert (target["name"], policy["metadata"]["namespace"]) == (parent["name"], parent["namespace"])


def test_sticky_variants_carry_the_cookie_of_the_other_edges() -> None:
    traefik = named(rendered("production ingress-traefik"), "Service", "gateway")["metadata"]["annotations"]
    assert traefik["traefik.ingress.kubernetes.io/service.sticky.cookie.name"] == "tickwire"
    haproxy = named(rendered("production ingress-haproxy"), "Ingress", "gateway")["metadata"]["annotations"]
    assert haproxy["haproxy.org/cookie-persistence"] == "tickwire"
