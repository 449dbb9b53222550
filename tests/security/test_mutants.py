"""The list of mutants does not rot: every threat has one, every text stands in its file, every test exists."""

import ast
from collections.abc import Iterator

import pytest

from tests.security.mutant import Mutant
from tests.security.mutants import MUTANTS
from tests.support.source_tree import ROOT, functions
from tests.support.threat_table import THREATS


def names_in(path: str) -> Iterator[str]:
    """The tests of a file as pytest names them, without parameters."""
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield from (f"{path}::{node.name}::{test.name}" for test in functions(node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path}::{node.name}"


def test_every_threat_has_a_mutant():
    assert {mutant.threat for mutant in MUTANTS} == {threat.number for threat in THREATS}


def test_no_mutant_comes_twice():
    assert len({(mutant.path, mutant.old) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.threat} {mutant.title}")
def test_a_mutant_s_text_stands_once_in_its_file_and_what_it_becomes_can_be_read(mutant: Mutant):
    text = (ROOT / mutant.path).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    assert mutant.old != mutant.new
    if mutant.path.endswith(".py"):
        ast.parse(text.replace(mutant.old, mutant.new))


def test_every_named_test_exists():
    named = {test.partition("[")[0] for mutant in MUTANTS for test in mutant.tests}
    files = {test.partition("::")[0] for test in named}
    assert named <= files | {test for path in files for test in names_in(path)}
