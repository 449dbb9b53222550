"""Every pod of deploy/k8s: restricted, found by its selectors, probed at ports that it has, stopped in time."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final

import pytest

from services.launcher.settings_table import SERVICES as COMMANDS
from shared.lifecycle import STOP_DEADLINE_S
from shared.settings import CommonSettings, describe
from tests.deploy.environment import declared, environment, load, secrets_in, secrets_wanted
from tests.deploy.manifests import (
    COMPONENT,
    K8S,
    SERVICES,
    VARIANTS,
    Manifest,
    containers,
    named,
    of_kind,
    pod_labels,
    pod_of,
    rendered,
    selects,
    service_container,
    workloads,
)
from tests.support.source_tree import ROOT

PRODUCTION: Final = [
    variant for variant in VARIANTS if variant.startswith("production") and "monitoring" not in variant
]
OVERLAYS: Final = ["dev", "production"]
EVERY: Final = [*(variant for variant in VARIANTS if variant.startswith("dev")), *PRODUCTION]
AFTER_DRAIN_S: Final = 10
"""For the last goodbyes of a gateway's clients, and for leaving Redis."""

MARGIN_S: Final = 5

ADDED: Final = {
    "HOSTNAME": "gateway-5d8f7c9b6d-x2x4z",
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "KUBERNETES_SERVICE_PORT_HTTPS": "443",
    "KUBERNETES_PORT": "tcp://10.96.0.1:443",
    "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443",
    "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
    "KUBERNETES_PORT_443_TCP_PORT": "443",
    "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
    "PYTHON_VERSION": "3.13.9",
    "GPG_KEY": "7169605F62C751356D054A26A821E680E5FA6305",
    "LANG": "C.UTF-8",
}
"""What Kubernetes and the image's base put into every container, whatever is asked for."""

STANDINS: Final = {
    "jwt": {"JWT_SECRET": "0123456789abcdef0123456789abcdef"},
    **{f"redis-{service}": {"REDIS_URL": "rediss://user:password@redis.example.com:6380"} for service in SERVICES},
}
"""For the Secrets that production expects to be there."""


def setting(service: str, name: str) -> str | None:
    """The default of a setting, as its service declares it."""
    kinds, _ = declared(service)
    every: tuple[type[Any], ...] = (CommonSettings, *kinds)
    return {row.name: row.default for kind in every for row in describe(kind)}.get(name)


def every_container(variant: str) -> Iterator[tuple[str, Manifest]]:
    for workload in workloads(rendered(variant)):
        for container in containers(workload):
            yield f"{workload['metadata']['name']}/{container['name']}", container


@pytest.mark.parametrize("variant", EVERY)
def test_every_pod_is_restricted(variant: str) -> None:
    for workload in workloads(rendered(variant)):
        pod = pod_of(workload)
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert (context["runAsUser"], context["runAsGroup"]) == (10001, 10001)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= {
            "emptyDir",
            "secret",
            "configMap",
        }
    for name, container in every_container(variant):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name


def test_the_namespace_lets_nothing_else_in() -> None:
    labels = rendered("dev")[0]["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {"restricted"}


@pytest.mark.parametrize("variant", EVERY)
def test_every_container_asks_for_cpu_and_memory_and_is_bounded_in_memory_alone(variant: str) -> None:
    for name, container in every_container(variant):
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
        assert set(container["resources"]["limits"]) == {"memory"}, name


@pytest.mark.parametrize("variant", EVERY)
def test_what_is_mounted_exists_and_what_is_written_is_bounded(variant: str) -> None:
    for workload in workloads(rendered(variant)):
        volumes = {volume["name"]: volume for volume in pod_of(workload)["volumes"]}
        claimed = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
        mounted = {mount["name"] for container in containers(workload) for mount in container["volumeMounts"]}
        assert mounted == set(volumes) | claimed
        for volume in volumes.values():
            assert "emptyDir" not in volume or {"medium", "sizeLimit"} <= set(volume["emptyDir"])


@pytest.mark.parametrize("variant", EVERY)
def test_selectors_find_their_own_pods_and_no_others(variant: str) -> None:
    manifests = rendered(variant)
    for workload in workloads(manifests):
        selector = workload["spec"]["selector"]
        found = [other for other in workloads(manifests) if selects(selector, pod_labels(other))]
        assert found == [workload]
        for spread in pod_of(workload).get("topologySpreadConstraints", ()):
            assert spread["labelSelector"] == selector
            assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
            assert spread["matchLabelKeys"] == ["pod-template-hash"]


@pytest.mark.parametrize("variant", EVERY)
def test_services_lead_to_ports_that_exist_and_never_to_the_ops_port(variant: str) -> None:
    manifests = rendered(variant)
    services = of_kind(manifests, "Service")
    assert services
    for service in services:
        (workload,) = [
            w for w in workloads(manifests) if selects({"matchLabels": service["spec"]["selector"]}, pod_labels(w))
        ]
        names = {port["name"] for container in containers(workload) for port in container.get("ports", ())}
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        assert targets <= names - {"ops"}


def test_clients_are_routed_to_the_gateway_at_port_80() -> None:
    (port,) = named(rendered("production"), "Service", "gateway")["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("http", 80, "http")


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_those_that_the_service_listens_on(service: str) -> None:
    wanted = {"ops": setting(service, "OPS_PORT")}
    if service == "gateway":
        wanted["http"] = setting(service, "GATEWAY_PORT")
    for overlay in OVERLAYS:
        container = service_container(rendered(overlay), service)
        assert {port["name"]: str(port["containerPort"]) for port in container["ports"]} == wanted


@pytest.mark.parametrize("service", SERVICES)
def test_only_readiness_asks_more_than_whether_the_process_lives(service: str) -> None:
    answered = re.findall(r'web\.get\("(/\w+)"', (ROOT / "shared/health.py").read_text(encoding="utf-8"))
    container = service_container(rendered("production"), service)
    asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert {probe: get["path"] for probe, get in asked.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {get["path"] for get in asked.values()} <= set(answered)
    assert {get["port"] for get in asked.values()} == {"ops"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_gateway_has_the_time_to_be_forgotten_to_drain_and_to_flush(overlay: str) -> None:
    manifests = rendered(overlay)
    drain = named(manifests, "ConfigMap", "gateway")["data"].get("DRAIN_SECONDS") or setting("gateway", "DRAIN_SECONDS")
    if drain is None:
        pytest.skip("this gateway has no DRAIN_SECONDS")
    container = service_container(manifests, "gateway")
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = container["readinessProbe"]
    assert sleep >= readiness["periodSeconds"] * readiness["failureThreshold"]
    grace = pod_of(named(manifests, "Deployment", "gateway"))["terminationGracePeriodSeconds"]
    assert grace > sleep + float(drain) + AFTER_DRAIN_S + MARGIN_S


@pytest.mark.parametrize("service", [service for service in SERVICES if service != "gateway"])
def test_other_services_have_the_time_to_finish_what_is_in_hand(service: str) -> None:
    for overlay in OVERLAYS:
        pod = pod_of(named(rendered(overlay), "Deployment", service))
        assert pod["terminationGracePeriodSeconds"] >= STOP_DEADLINE_S + MARGIN_S


def test_the_readme_has_the_times_of_the_manifests() -> None:
    readme = (K8S / "README.md").read_text(encoding="utf-8")
    table = {cells[1].strip(): cells[2:] for line in readme.splitlines() if len(cells := line.split("|")) == 8}
    for overlay in OVERLAYS:
        pods = [pod_of(named(rendered(overlay), "Deployment", service)) for service in SERVICES]
        told = [int(cell) for cell in table["`terminationGracePeriodSeconds`"][:4]]
        assert told == [pod["terminationGracePeriodSeconds"] for pod in pods]
        sleep = pods[0]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert table["`preStop` sleep, the edge forgets the pod"][0].strip() == f"{sleep} s"


@pytest.mark.parametrize("service", SERVICES)
def test_each_pod_runs_a_command_that_there_is(service: str) -> None:
    assert service in COMMANDS
    for overlay in OVERLAYS:
        assert service_container(rendered(overlay), service)["command"] == ["tickwire", service]


@pytest.mark.parametrize("variant", EVERY)
@pytest.mark.parametrize("service", SERVICES)
def test_each_service_starts_with_what_it_is_given_and_knows_every_variable(service: str, variant: str) -> None:
    manifests = rendered(variant)
    secrets = secrets_in(manifests) if variant.startswith("dev") else STANDINS
    variables = environment(manifests, service_container(manifests, service), secrets)
    load(service, {**ADDED, **variables})
    assert [name for name in variables if setting(service, name) is None] == []


@pytest.mark.parametrize("variant", EVERY)
def test_everything_that_a_pod_names_exists_or_is_the_platforms_to_bring(variant: str) -> None:
    manifests = rendered(variant)
    assert {account["metadata"]["name"] for account in of_kind(manifests, "ServiceAccount")} == set(SERVICES)
    for workload in workloads(manifests):
        pod = pod_of(workload)
        name = workload["metadata"]["name"]
        assert pod.get("serviceAccountName") == (name if name in SERVICES else None)
        for volume in pod["volumes"]:
            if "configMap" in volume:
                named(manifests, "ConfigMap", volume["configMap"]["name"])
    wanted = secrets_wanted(manifests)
    if variant.startswith("dev"):
        held = secrets_in(manifests)
        assert {name: keys - set(held[name]) for name, keys in wanted.items() if keys - set(held[name])} == {}
    else:
        readme = (K8S / "README.md").read_text(encoding="utf-8")
        assert of_kind(manifests, "Secret") == []
        assert {name for name in wanted if f"`{name}`" not in readme} == set()


def test_the_image_is_that_of_this_version_and_production_pins_a_digest() -> None:
    project: Any = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for service in SERVICES:
        container = service_container(rendered("dev"), service)
        assert container["image"] == f"tickwire:{project['version']}"
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert re.fullmatch(
            r"\S+/tickwire@sha256:[0-9a-f]{64}", service_container(rendered("production"), service)["image"]
        )


def test_the_demo_feed_is_of_the_same_image() -> None:
    (feed,) = pod_of(named(rendered("dev demo-feed"), "Deployment", "demo-feed"))["containers"]
    assert feed["image"] == service_container(rendered("dev"), "gateway")["image"]


def test_gateways_are_replaced_all_at_once_and_before_any_goes() -> None:
    spec = named(rendered("production"), "Deployment", "gateway")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": "100%", "maxUnavailable": 0}
    assert spec["minReadySeconds"] == 10


def test_what_has_several_replicas_gives_way_to_an_eviction_one_at_a_time() -> None:
    manifests = rendered("production")
    budgets = of_kind(manifests, "PodDisruptionBudget")
    for workload in workloads(manifests):
        mine = [budget for budget in budgets if selects(budget["spec"]["selector"], pod_labels(workload))]
        several = workload["spec"].get("replicas") != 1
        assert len(mine) == several, workload["metadata"]["name"]
        for budget in mine:
            assert budget["spec"]["maxUnavailable"] == 1
            assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_three_gateways_and_all_else_fit_on_a_small_node_while_they_are_replaced() -> None:
    cores, mebibytes = 0.0, 0
    for workload in workloads(rendered("dev")):
        requests = pod_of(workload)["containers"][0]["resources"]["requests"]
        twice = pod_labels(workload)[COMPONENT] == "gateway"
        pods = 6 if twice else workload["spec"]["replicas"]
        cores += pods * int(requests["cpu"].removesuffix("m")) / 1000
        mebibytes += pods * int(requests["memory"].removesuffix("Mi"))
    assert cores < 1
    assert mebibytes < 1500
