"""What is pinned is new enough: below these versions there are known defects that a client could reach."""

import re
from typing import Final

import pytest
from packaging.specifiers import SpecifierSet

from tests.support.source_tree import ROOT

AT_LEAST: Final = {
    "websockets": "==17.4",  # the Sans-I/O core is driven by hand: every version is looked at before it is taken
    "redis": ">=8.1,<9",
    "msgpack": ">=1.2.3",
    "PyJWT": ">=2.15.1",
    "python-socketio": ">=5.16.2",
    "python-engineio": ">=4.13.2",
}
LINES: Final = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS: Final = dict(line.split("==") for line in LINES if line.count("==") == 1)


def test_every_line_pins_one_version_and_names_no_place() -> None:
    assert len(LINES) > 20
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []


def test_nothing_is_pinned_twice() -> None:
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in LINES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("name", "versions"), AT_LEAST.items())
def test_what_clients_can_reach_is_new_enough(name: str, versions: str) -> None:
    assert SpecifierSet(versions).contains(PINS[name])
