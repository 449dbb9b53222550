"""deploy/observability/rules.yml in the wrapping of the Prometheus Operator, which kustomize cannot put around it.

`make k8s-rules` writes it to the component `monitoring`; `test_monitoring.py` says when it is out of date.
"""

from typing import Any, Final

import yaml

from tests.deploy.manifests import K8S
from tests.support.source_tree import ROOT

RULES: Final = ROOT / "deploy/observability/rules.yml"
DASHBOARD: Final = RULES.with_name("dashboard.json")
WRAPPED: Final = K8S / "components/monitoring/prometheus-rule.yaml"
HEAD: Final = "# Written by `make k8s-rules` from deploy/observability/rules.yml.\n"

COMPLETE: Final = all(path.exists() for path in (RULES, DASHBOARD, WRAPPED))
"""Whether the component `monitoring` can be rendered."""


def wrapped(rules: str) -> str:
    """The text of a PrometheusRule with the groups of a Prometheus rules file."""
    groups: list[Any] = yaml.safe_load(rules)["groups"]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "tickwire"},
        "spec": {"groups": groups},
    }
    return HEAD + yaml.dump(rule, Dumper=_Readable, sort_keys=False, width=120)


class _Readable(yaml.SafeDumper):
    """Expressions of several lines stay so."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


if __name__ == "__main__":
    WRAPPED.write_text(wrapped(RULES.read_text(encoding="utf-8")), encoding="utf-8")
