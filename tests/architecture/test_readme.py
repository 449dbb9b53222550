"""The README and `.env.example` say what the code does: printed from it, and what they name exists."""

import re

from tests.support.readme_tables import EXAMPLE, NAMES, README, completed, filled, listed
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


def test_every_service_knows_the_names_of_all_settings() -> None:
    text = NAMES.read_text(encoding="utf-8")
    assert listed(text) == text, "make readme"


def test_every_make_target_that_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", README.read_text(encoding="utf-8")))
    assert named
    assert named <= targets


def test_every_folder_that_it_lists_exists() -> None:
    listed = re.findall(r"^\| `([a-z_/]+/)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) >= 8
    assert [folder for folder in listed if not (ROOT / folder).is_dir()] == []


def test_every_promise_names_its_tests_and_they_exist() -> None:
    text = README.read_text(encoding="utf-8")
    section = text.partition("## What is promised")[2].partition("\n## ")[0]
    promises = re.split(r"^- ", section, flags=re.MULTILINE)[1:]
    assert len(promises) >= 8
    for promise in promises:
        named = re.findall(r"^  - `(\S+)::(\w+)`", promise, re.MULTILINE)
        assert named, promise
        missing = [test for path, test in named if f"def {test}(" not in (ROOT / path).read_text(encoding="utf-8")]
        assert missing == []
