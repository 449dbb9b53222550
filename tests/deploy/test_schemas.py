"""Everything that deploy/k8s renders is what Kubernetes 1.33 to 1.37, and the types of its extensions, accept."""

import copy
import json
import shutil
import subprocess
from typing import Any, Final

import kubernetes_validate
import pytest
import yamllint.config
import yamllint.linter

from tests.deploy.manifests import K8S, VARIANTS, Manifest, build, named, rendered
from tests.deploy.prometheus_rule import COMPLETE, WRAPPED
from tests.support.source_tree import ROOT

VERSIONS: Final = ("1.33", "1.34", "1.35", "1.36", "1.37")
EXTENSIONS: Final = {"gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com"}
UNTYPED: Final = {"gateway.envoyproxy.io"}
"""No package has its types; what the policies must say is in `test_edges.py`."""

YAML_RULES: Final = """
extends: default
rules: {line-length: {max: 120}, document-start: disable, braces: disable, comments: {min-spaces-from-content: 1}}
"""
SCRIPT: Final = ROOT / "tests/deploy/custom_resources.mjs"


def group(manifest: Manifest) -> str:
    return str(manifest["apiVersion"]).rpartition("/")[0]


def all_manifests() -> list[Manifest]:
    """Of every variant, each once."""
    variants = [variant for variant in VARIANTS if "monitoring" not in variant or COMPLETE]
    texts = {json.dumps(manifest, sort_keys=True) for variant in variants for manifest in rendered(variant)}
    return [json.loads(text) for text in sorted(texts)]


def complaints(manifest: Manifest, version: str) -> str:
    try:
        kubernetes_validate.validate(dict(manifest), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{manifest['kind']} {manifest['metadata']['name']}: {error.message}"
    return ""


def type_complaints(manifests: list[Manifest]) -> list[str]:
    node = shutil.which("node")
    assert node, "Node 20 or later is needed, as for the interoperability tests"
    assert (SCRIPT.parent / "node_modules").is_dir(), "make setup"
    result = subprocess.run(
        [node, str(SCRIPT)], input=json.dumps(manifests), capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_object(version: str) -> None:
    ours = [manifest for manifest in all_manifests() if group(manifest) not in EXTENSIONS | UNTYPED]
    assert len(ours) > 30
    assert [said for manifest in ours if (said := complaints(manifest, version))] == []


def test_a_misspelt_field_would_be_noticed() -> None:
    gateway: Any = copy.deepcopy(named(rendered("production"), "Deployment", "gateway"))
    gateway["spec"]["strategy"]["rollingUpdate"]["maxSurg"] = 1
    assert complaints(gateway, VERSIONS[0])


def test_extensions_accept_every_custom_resource() -> None:
    theirs = [manifest for manifest in all_manifests() if group(manifest) in EXTENSIONS]
    assert {manifest["kind"] for manifest in theirs} >= {"HTTPRoute", "ScaledObject", "TriggerAuthentication"}
    assert type_complaints(theirs) == []


def test_a_wrong_custom_resource_would_be_noticed() -> None:
    route: Any = copy.deepcopy(named(rendered("production gateway-api"), "HTTPRoute", "gateway"))
    route["spec"]["rules"][0]["timeouts"]["request"] = 0
    assert type_complaints([route, {**route, "kind": "HTTPRoot"}]) != []


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if "monitoring" not in variant])
def test_the_namespace_comes_first_and_everything_is_in_it(variant: str) -> None:
    first, *others = rendered(variant)
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "tickwire")
    assert {manifest["metadata"]["namespace"] for manifest in others} == {"tickwire"}


def test_what_belongs_to_the_platforms_gateway_stays_in_its_namespace() -> None:
    assert {m["metadata"]["namespace"] for m in build(K8S / "components/envoy-gateway/edge")} == {"edge"}


def test_the_files_are_tidy() -> None:
    config = yamllint.config.YamlLintConfig(YAML_RULES)
    files = sorted(K8S.rglob("*.yaml"))
    assert len(files) > 20
    found = [
        f"{path.relative_to(ROOT)}:{problem.line} {problem.message}"
        for path in files
        if path != WRAPPED
        for problem in yamllint.linter.run(path.read_text(encoding="utf-8"), config)
    ]
    assert found == []
