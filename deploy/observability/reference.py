"""The tables of the README beside this file: every alert with its page, every metric. `make dashboard` writes them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from shared.names import metrics
from shared.names.metrics import MetricDef

HERE: Final = Path(__file__).parent
README: Final = HERE / "README.md"
RULES: Final = HERE / "rules.yml"


def alerts() -> str:
    """Each alert: how urgent, for how long its condition must hold, what it says; linked to its runbook."""
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return _table(("alert", "severity", "after", "says"), [_alert_row(rule) for rule in rules])


def _alert_row(rule: Mapping[str, Any]) -> tuple[str, ...]:
    notes = rule["annotations"]
    page = notes["runbook_url"].removeprefix("deploy/")
    return f"[{rule['alert']}](../{page})", rule["labels"]["severity"], rule.get("for", "at once"), notes["summary"]


def exported() -> str:
    """Each metric that a service exports."""
    defined = [value for value in vars(metrics).values() if isinstance(value, MetricDef)]
    rows = [(f"`{it.name}`", it.kind.value, ", ".join(it.labels), it.help) for it in defined]
    return _table(("metric", "kind", "labels", "meaning"), rows)


TABLES: Final[Mapping[str, Callable[[], str]]] = {"alerts": alerts, "metrics": exported}


def filled(text: str) -> str:
    """The README with both tables printed anew.

    Raises:
        ValueError: it has no place for one of them.
    """
    for name, table in TABLES.items():
        begin, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{README.name} has no table {name!r}")
        text = f"{head}{begin}{table()}\n{end}{tail}"
    return text


def _table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
