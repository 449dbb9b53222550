"""Manifests of deploy/k8s as `kubectl kustomize` renders them: each overlay, and production with each component.

Feeds every test of this folder. `kubectl` is the one that pip installs: it needs no cluster for this.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from tests.support.source_tree import ROOT

K8S: Final = ROOT / "deploy/k8s"
KUBECTL: Final = Path(sys.executable).with_name("kubectl")

Manifest: TypeAlias = Mapping[str, Any]
"""One Kubernetes object, as YAML has it."""

NAME: Final = "app.kubernetes.io/name"
COMPONENT: Final = "app.kubernetes.io/component"
SERVICES: Final = ("gateway", "price-ingest", "trade-notifier", "metrics")

VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "dev": (),
    "dev demo-feed": ("demo-feed",),
    "dev hpa-connections": ("hpa-connections",),
    "dev keda": ("keda",),
    "production": (),
    "production gateway-api": ("gateway-api",),
    "production envoy-gateway": ("gateway-api", "envoy-gateway"),
    "production ingress": ("ingress",),
    "production ingress-traefik": ("ingress-traefik",),
    "production ingress-haproxy": ("ingress-haproxy",),
    "production hpa-connections": ("hpa-connections",),
    "production jwks": ("jwks",),
    "production keda": ("keda",),
    "production monitoring": ("monitoring",),
}
"""What is rendered: an overlay, and the components that are put on it."""

KUSTOMIZATION: Final = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: tickwire
sortOptions: {{order: legacy}}
resources: [{overlay}]
components: [{components}]
"""


@cache
def rendered(variant: str) -> tuple[Manifest, ...]:
    """The manifests of one of `VARIANTS`, in the order in which they are applied."""
    overlay = K8S / "overlays" / variant.partition(" ")[0]
    components = [K8S / "components" / name for name in VARIANTS[variant]]
    if not components:
        return build(overlay)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        text = KUSTOMIZATION.format(
            overlay=os.path.relpath(overlay, folder),
            components=", ".join(os.path.relpath(component, folder) for component in components),
        )
        (folder / "kustomization.yaml").write_text(text, encoding="utf-8")
        return build(folder)


def build(folder: Path) -> tuple[Manifest, ...]:
    """What `kubectl kustomize` makes of a folder.

    Raises:
        AssertionError: with its own words, where it makes nothing.
    """
    words = [str(KUBECTL), "kustomize", str(folder)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return tuple(yaml.load_all(result.stdout, Loader=yaml.CSafeLoader))


def of_kind(manifests: Iterable[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name; a generated name may end in a hash."""
    found = [m for m in of_kind(manifests, kind) if m["metadata"]["name"] == name or plain_name(m) == name]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


def plain_name(manifest: Manifest) -> str:
    """The name without the hash that a generator puts behind it."""
    name = str(manifest["metadata"]["name"])
    head, _, tail = name.rpartition("-")
    generated = manifest["kind"] in {"ConfigMap", "Secret"} and len(tail) == 10 and head
    return head if generated else name


def workloads(manifests: Iterable[Manifest]) -> list[Manifest]:
    return of_kind(manifests, "Deployment", "StatefulSet")


def pod_of(workload: Manifest) -> Manifest:
    """The pod's spec."""
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def pod_labels(workload: Manifest) -> Mapping[str, str]:
    labels: Mapping[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def containers(workload: Manifest) -> Iterator[Manifest]:
    """All of a pod's containers, those that run first included."""
    pod = pod_of(workload)
    yield from pod.get("initContainers", ())
    yield from pod["containers"]


def service_container(manifests: Iterable[Manifest], service: str) -> Manifest:
    """The one container of one of `SERVICES`."""
    (container,) = pod_of(named(manifests, "Deployment", service))["containers"]
    return dict(container)


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes what has these labels; an empty one takes all."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True
