"""What a container of a rendered manifest finds in its environment, and what the services make of it."""

import base64
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import pytest

from shared import lifecycle
from shared.settings import CommonSettings, load_all
from tests.deploy.manifests import Manifest, containers, named, of_kind, plain_name, workloads

MODULES: Final = {
    "gateway": "services.gateway",
    "price-ingest": "services.price_ingest",
    "trade-notifier": "services.trade_notifier",
    "metrics": "services.metrics",
}

Kinds = Sequence[type[Any]]
Check = Callable[..., Iterable[str]] | None
Secrets = Mapping[str, Mapping[str, str]]


def secrets_in(manifests: Iterable[Manifest]) -> dict[str, dict[str, str]]:
    """Secret, without its hash -> what it holds."""
    return {
        plain_name(secret): {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        for secret in of_kind(manifests, "Secret")
    }


def secrets_wanted(manifests: Iterable[Manifest]) -> dict[str, set[str]]:
    """Secret, without its hash -> the keys that some container cannot start without."""
    wanted: dict[str, set[str]] = {}
    for workload in workloads(manifests):
        for container in containers(workload):
            for entry in container.get("env", ()):
                reference = entry.get("valueFrom", {}).get("secretKeyRef", {})
                if reference and not reference.get("optional"):
                    wanted.setdefault(_plain(manifests, reference["name"]), set()).add(reference["key"])
            for source in container.get("envFrom", ()):
                if "secretRef" in source:
                    wanted.setdefault(_plain(manifests, source["secretRef"]["name"]), set())
    return wanted


def environment(manifests: Iterable[Manifest], container: Manifest, secrets: Secrets) -> dict[str, str]:
    """Every variable that the container gets; `secrets` are those of the cluster, by plain name."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            found |= named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            found |= secrets[_plain(manifests, source["secretRef"]["name"])]
    for entry in container.get("env", ()):
        if "fieldRef" in entry["valueFrom"]:
            found[entry["name"]] = _of_pod(entry["valueFrom"]["fieldRef"]["fieldPath"])
            continue
        reference = entry["valueFrom"]["secretKeyRef"]
        held = secrets.get(_plain(manifests, reference["name"]), {})
        if reference["key"] in held or not reference.get("optional"):
            found[entry["name"]] = held[reference["key"]]
    return found


def _of_pod(path: str) -> str:
    """What the downward API says of a pod of a Deployment."""
    return {"metadata.name": "gateway-7d9f8b6c54-x2x9q"}[path]


@cache
def declared(service: str) -> tuple[Kinds, Check]:
    """The settings that a service declares when it starts, and its own check of all of them together."""
    seen: list[tuple[Kinds, Check]] = []

    def note(_name: str, settings: Kinds, _build: object, check: Check = None) -> None:
        seen.append((settings, check))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle, "run_service", note)
        runpy.run_module(MODULES[service], run_name="__main__")
    (found,) = seen
    return found


def load(service: str, variables: Mapping[str, str]) -> tuple[Any, ...]:
    """What the service would make of its environment at its start.

    Raises:
        SettingsError: it would not start.
    """
    kinds, check = declared(service)
    return load_all(variables, CommonSettings, *kinds, check=check)


def _plain(manifests: Iterable[Manifest], name: str) -> str:
    """The name of a Secret as the kustomization writes it; one that is not generated keeps its own."""
    for secret in of_kind(manifests, "Secret"):
        if secret["metadata"]["name"] == name:
            return plain_name(secret)
    return name
