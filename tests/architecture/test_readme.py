"""The README and `.env.example` say what the code does: printed from it, and what they name exists."""

import re

from tests.support.readme_tables import EXAMPLE, README, completed, filled
from tests.support.source_tree import ROOT


def test_the_tables_are_those_that_the_code_prints() -> None:
    text = README.read_text(encoding="utf-8")
    assert filled(text) == text, "make readme"


def test_the_example_environment_names_every_setting_once_and_none_that_is_gone() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert completed(text) == text, "make readme"
    named = re.findall(r"^#?([A-Z][A-Z_]+)=", text, re.MULTILINE)
    known = re.findall(r"^\| `([A-Z_]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(known)


def test_every_make_target_that_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README.read_text(encoding="utf-8")))
    assert named
    assert named <= targets


def test_every_folder_that_it_lists_exists() -> None:
    listed = re.findall(r"^\| `([a-z_/]+/)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) >= 8
    assert [folder for folder in listed if not (ROOT / folder).is_dir()] == []
