"""The import rules of pyproject.toml hold, and would be noticed if they did not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT, SOURCES

LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(name="copy")
def copied_tree(tmp_path: Path) -> Path:
    """The sources and their rules, to be broken."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_rules_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("path", "line", "rule"),
    [
        ("services/gateway/hub.py", "import services.metrics", "services never import each other"),
        ("protocol/errors.py", "import asyncio", "protocol is pure"),
        ("services/metrics/app.py", "import redis", "only shared.bus.redis_client imports redis"),
    ],
)
def test_a_broken_rule_is_named(copy: Path, path: str, line: str, rule: str) -> None:
    broken = copy / path
    broken.write_text(broken.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    result = lint(copy)
    assert result.returncode != 0
    assert f"{rule}" in result.stdout.partition("Broken contracts")[2]
