"""The Dockerfile: what hadolint says of it, and that it agrees with the files that it is made of."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.source_tree import ROOT

DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
TEXT: Final = DOCKERFILE.read_text(encoding="utf-8")
VERSION: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
HADOLINT: Final = Path(sys.executable).with_name("hadolint")


def test_hadolint_has_nothing_to_say() -> None:
    if not HADOLINT.exists():
        pytest.skip("no hadolint: `make setup` installs it")
    done = subprocess.run([HADOLINT, "--no-color", DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_an_engine_without_a_registry_can_build_it() -> None:
    assert "syntax=" not in TEXT, "that pulls a frontend"
    assert "<<" not in TEXT, "the frontend of older engines knows no heredocs"


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    ignored, *allowed = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "**"))
    ]
    copied = {
        name.rstrip("/")
        for words in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
        for name in words.split()[:-1]
    }
    assert ignored == "*"
    assert {line.removeprefix("!") for line in allowed} == copied
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_version_is_that_of_the_project_everywhere() -> None:
    assert f'org.opencontainers.image.version="{VERSION}"' in TEXT
    named = re.findall(r"tickwire:([0-9][\w.-]*)", TEXT + (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert set(named) == {VERSION}


def test_all_that_is_installed_into_it_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines}
    assert {name for name in _closure("tickwire", set()) if name not in pinned} == set()


def _closure(name: str, seen: set[str]) -> Iterator[str]:
    """What a distribution needs on Linux, without what only extras need, by the metadata of what is installed."""
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        requirement = Requirement(line)
        found = canonicalize_name(requirement.name)
        if found in seen or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(found)
        yield found
        yield from _closure(found, seen)
