"""Rules, their unit tests and their runbooks belong together, and name only what exists."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from shared.names.settings import ALL as SETTINGS
from tests.support.prometheus import FOREIGN, OBSERVABILITY, RULES, exported_names, names_in, promtool
from tests.support.source_tree import ROOT

GROUPS: Final[list[dict[str, Any]]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALERTS: Final = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDED: Final = {rule["record"]: rule for group in GROUPS for rule in group["rules"] if "record" in rule}
RUNBOOKS: Final = ROOT / "deploy" / "runbooks"
PAGES: Final = sorted(path for path in RUNBOOKS.glob("*.md") if path.name != "README.md")
UNIT_TESTS: Final = sorted((OBSERVABILITY / "tests").glob("*.yml"))


def page_of(alert: str) -> Path:
    """`TickwireNoTicks` -> `no-ticks.md`."""
    words = re.findall(r"[A-Z][a-z]+", alert.removeprefix("Tickwire"))
    return RUNBOOKS / f"{'-'.join(words).lower()}.md"


def test_promtool_accepts_the_rules():
    promtool("check", "rules", str(RULES))


def test_each_alert_fires_when_it_should_and_stays_silent_beside_that():
    promtool("test", "rules", *map(str, UNIT_TESTS))


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_seen_firing_in_a_unit_test(alert: str):
    texts = [path.read_text(encoding="utf-8") for path in UNIT_TESTS]
    fires = re.compile(rf'alertname="{alert}"[^\n]*value: 1|alertname: {alert}\n\s+eval_time: \w+\n\s+exp_alerts:\n')
    assert any(fires.search(text) for text in texts)


@pytest.mark.parametrize("alert", ALERTS)
class TestEachAlert:
    def test_it_says_how_urgent_it_is(self, alert: str):
        assert ALERTS[alert]["labels"] in ({"severity": "page"}, {"severity": "ticket"})

    def test_it_tells_what_it_saw_and_where_to_read_on(self, alert: str):
        notes = ALERTS[alert]["annotations"]
        assert "{{ $" in notes["summary"]
        assert notes["runbook_url"] == str(page_of(alert).relative_to(ROOT))
        assert page_of(alert).read_text(encoding="utf-8").startswith(f"# {alert}\n")


@pytest.mark.parametrize("rule", [*ALERTS.values(), *RECORDED.values()], ids=[*ALERTS, *RECORDED])
def test_each_rule_asks_for_series_that_exist(rule: dict[str, Any]):
    names = names_in(rule["expr"])
    assert names
    assert names <= exported_names() | RECORDED.keys() | FOREIGN


def test_every_page_belongs_to_an_alert():
    assert sorted(page_of(alert) for alert in ALERTS) == PAGES


OTHERS_WORDS: Final = {"PING", "XACK", "XPENDING", "MAXLEN", "FLUSHALL", "SSUBSCRIBE", "REDIS_URL", "NAME", "OOM"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
class TestEachPage:
    def test_it_names_series_settings_and_commands_that_exist(self, page: Path):
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"\b(?:tickwire_|websocket_|tickwire:|pod:)[a-z0-9_:]+", text))
        metrics = {name.removesuffix(part) for name in exported_names() for part in ("", "_bucket")}
        assert named <= metrics | RECORDED.keys()
        settings = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text))
        assert settings <= {*SETTINGS}
        commands = set(re.findall(r"`tickwire ([a-z-]+)", text))
        launcher = (ROOT / "services/launcher/cli.py").read_text(encoding="utf-8")
        assert all(f'"{command}"' in launcher or f"def {command}(" in launcher for command in commands)

    def test_its_log_events_are_logged_somewhere(self, page: Path):
        known = exported_names() | set(re.findall(r'"([a-z_]+)"', sources()))
        words = re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page.read_text(encoding="utf-8"))
        assert set(words) - known - {"publish_to_send", "max_hz", "connected_slaves"} == set()

    def test_its_links_lead_somewhere(self, page: Path):
        links = re.findall(r"\]\(([a-z-]+\.md)\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (RUNBOOKS / link).exists()] == []

    def test_it_says_what_users_notice_where_to_look_and_what_to_do(self, page: Path):
        text = page.read_text(encoding="utf-8")
        wanted = ["## Look first", "## Likely causes", "## Do", "## Do not, and when to call more people"]
        assert re.findall(r"^## .*$", text, re.MULTILINE) == wanted
        assert len(re.findall(r"^[123]\. ", text, re.MULTILINE)) == 3


@cache
def sources() -> str:
    """All code of the services, as one text."""
    files = [path for folder in ("services", "shared") for path in sorted((ROOT / folder).rglob("*.py"))]
    return "".join(path.read_text(encoding="utf-8") for path in files)
