"""The README says what the code does: its tables are printed from it, and what it names exists."""

import re

from tests.support.readme_tables import README, filled
from tests.support.source_tree import ROOT


def test_the_tables_are_those_that_the_code_prints() -> None:
    text = README.read_text(encoding="utf-8")
    assert filled(text) == text, "make readme"


def test_every_make_target_that_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README.read_text(encoding="utf-8")))
    assert named
    assert named <= targets


def test_every_folder_that_it_lists_exists() -> None:
    listed = re.findall(r"^\| `([a-z_/]+/)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) >= 8
    assert [folder for folder in listed if not (ROOT / folder).is_dir()] == []
