"""Files and functions stay small enough to be read at one go (the size budget of CONTRIBUTING)."""

from pathlib import Path

import pytest

from tests.support.source_tree import ROOT, SOURCES, Function, docstring, functions, parse, python_files

LONGEST_SOURCE = 400
LONGEST_TEST = 600
LONGEST_FUNCTION = 40
"""Lines from its `def` on, its docstring left out."""


def line_count(path: Path) -> int:
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def function_length(node: Function) -> int:
    described = docstring(node)
    assert node.end_lineno is not None
    length = node.end_lineno - node.lineno + 1
    if described is not None and described.end_lineno is not None:
        length -= described.end_lineno - described.lineno + 1
    return length


@pytest.mark.parametrize(
    ("folders", "longest"), [(SOURCES, LONGEST_SOURCE), (("tests",), LONGEST_TEST)], ids=["sources", "tests"]
)
def test_no_file_is_too_long(folders: tuple[str, ...], longest: int) -> None:
    lengths = {str(path): line_count(path) for path in python_files(*folders)}
    assert lengths, "nothing was found"
    assert {path: length for path, length in lengths.items() if length > longest} == {}


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{path}:{node.lineno} {node.name}": function_length(node)
        for path in python_files(*SOURCES, "tests")
        for node in functions(parse(path))
    }
    assert {where: length for where, length in lengths.items() if length > LONGEST_FUNCTION} == {}
