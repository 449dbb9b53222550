"""No version with a known defect that somebody outside could reach: what is pinned, and what the tests install."""

import json
from typing import Final

import pytest
from packaging.specifiers import SpecifierSet

from tests.support.source_tree import ROOT

AT_LEAST: Final = {
    "websockets": "==17.4",  # its core is driven by hand: every version is looked at before it is taken
    "redis": ">=8.1,<9",
    "msgpack": ">=1.2.3",
    "msgspec": ">=0.22",
    "PyJWT": ">=2.15.1",
    "aiohttp": ">=3.14.2",
    "cryptography": ">=46",
    "h11": ">=0.16",
    "python-socketio": ">=5.16.2",
    "python-engineio": ">=4.13.2",
}
PINS: Final = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
)

NPM_AT_LEAST: Final = {"socket.io-parser": ">=4.2.7", "ws": ">=8.23.0"}
NPM: Final = json.loads((ROOT / "tests" / "interop" / "package.json").read_text(encoding="utf-8"))


@pytest.mark.threat("T1", "T13", "T15", "T23", "T34")
@pytest.mark.parametrize(("name", "versions"), AT_LEAST.items())
def test_what_python_installs_is_new_enough(name: str, versions: str):
    assert SpecifierSet(versions).contains(PINS[name])


@pytest.mark.threat("T2", "T10")
@pytest.mark.parametrize(("name", "versions"), NPM_AT_LEAST.items())
def test_what_npm_installs_is_new_enough(name: str, versions: str):
    pinned = {**NPM["dependencies"], **NPM["overrides"]}
    assert SpecifierSet(versions).contains(pinned[name])


@pytest.mark.threat("T10")
def test_npm_pins_every_version_exactly():
    for version in (*NPM["dependencies"].values(), *NPM["overrides"].values()):
        assert version[0].isdigit(), version
