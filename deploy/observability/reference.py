"""The tables of the README beside this file: every alert with its page, every metric. `make dashboard` writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from shared.names import metrics
from shared.names.metrics import MetricDef
from tests.support import markdown

HERE: Final = Path(__file__).parent
README: Final = HERE / "README.md"
RULES: Final = HERE / "rules.yml"


def alerts() -> str:
    """Each alert: how urgent, for how long its condition must hold, what it says; linked to its runbook."""
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return markdown.table(("alert", "severity", "after", "says"), [_alert_row(rule) for rule in rules])


def _alert_row(rule: Mapping[str, Any]) -> tuple[str, ...]:
    notes = rule["annotations"]
    page = notes["runbook_url"].removeprefix("deploy/")
    return f"[{rule['alert']}](../{page})", rule["labels"]["severity"], rule.get("for", "at once"), notes["summary"]


def exported() -> str:
    """Each metric that a service exports."""
    defined = [value for value in vars(metrics).values() if isinstance(value, MetricDef)]
    rows = [(f"`{it.name}`", it.kind.value, ", ".join(it.labels), it.help) for it in defined]
    return markdown.table(("metric", "kind", "labels", "meaning"), rows)


TABLES: Final[Mapping[str, Callable[[], str]]] = {"alerts": alerts, "metrics": exported}


def filled(text: str) -> str:
    """The README with both tables printed anew."""
    return markdown.filled(text, TABLES)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
