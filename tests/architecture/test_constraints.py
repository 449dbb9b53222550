"""`constraints.txt` pins versions, nothing else; how new they must be: `tests/security/test_dependencies.py`."""

import re
from typing import Final

from tests.support.source_tree import ROOT

LINES: Final = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_every_line_pins_one_version_and_names_no_place() -> None:
    assert len(LINES) > 20
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==([0-9]+!)?[0-9][A-Za-z0-9.]*", line)] == []


def test_nothing_is_pinned_twice() -> None:
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in LINES]
    assert len(names) == len(set(names))
