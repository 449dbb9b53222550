"""The dashboard is the one that the code writes, and every graph of it can be drawn."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.observability import dashboard, reference
from tests.support.prometheus import FOREIGN, RULES, as_grafana_asks, exported_names, names_in, promtool

BOARD: Final[dict[str, Any]] = json.loads(dashboard.FILE.read_text(encoding="utf-8"))
PANELS: Final[list[dict[str, Any]]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
SHARED: Final = {"uid": "${datasource}", "type": "prometheus"}
UNITS: Final = {"s", "short", "percentunit", "cps", "bytes", "Bps"}


def expressions() -> dict[str, str]:
    """Title of the panel and letter of the query -> what it asks."""
    return {
        f"{panel['title']} {panel['id']}{target['refId']}": target["expr"]
        for panel in PANELS
        for target in panel["targets"]
    }


def test_the_file_is_what_the_code_writes():
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.build(), "make dashboard"


def test_it_can_be_imported_beside_others():
    assert BOARD["uid"] == dashboard.UID
    assert [variable["name"] for variable in BOARD["templating"]["list"]] == ["datasource", "namespace"]
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(PANELS) > 40


def test_no_panel_covers_another():
    for one, other in combinations([panel["gridPos"] for panel in BOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in BOARD["panels"])


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: f"{panel['id']} {panel['title']}")
def test_each_panel_has_a_unit_and_takes_the_chosen_source(panel: dict[str, Any]):
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])].count(SHARED) == 1 + len(
        panel["targets"]
    )
    names = [query.split("{")[0] for target in panel["targets"] for query in names_in(target["expr"])]
    if panel["fieldConfig"]["defaults"]["unit"] == "bytes":
        assert any(name.endswith("_bytes") for name in names)


def test_each_expression_asks_for_series_that_exist():
    recorded = {
        rule["record"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    for where, expr in expressions().items():
        unknown = names_in(expr) - exported_names() - recorded - FOREIGN
        assert not unknown, where


def test_promtool_accepts_each_expression(tmp_path: Path):
    rules = [
        {"record": f"panel:{number}", "expr": as_grafana_asks(expr)}
        for number, expr in enumerate(expressions().values())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", str(file))


def test_the_tables_of_alerts_and_metrics_are_those_of_the_code():
    text = reference.README.read_text(encoding="utf-8")
    assert reference.filled(text) == text, "make dashboard"
