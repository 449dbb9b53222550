"""The engine, the image and the cluster of the container tests: one of each for all, or a reason why not."""

import os
import re
from collections.abc import Iterator
from time import monotonic
from typing import Final, NamedTuple

import pytest

from tests.containers.engine import Engine, engine, what_is_missing
from tests.containers.stack import COMPOSE, Stack, stack
from tests.containers.stand_ins import RECIPES, NotMadeError, import_stand_ins
from tests.support.source_tree import ROOT

DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
COMPOSE_FILE: Final = ROOT / "docker-compose.yml"
TIMEOUT_S: Final = 400
"""Of one test: the first one waits for stand-ins, build and start."""

NOT_RUN: Final = "not run: Grafana, which is in no package registry; its files are checked, not what it draws"

_measured: Final[list[str]] = []


class Image(NamedTuple):
    """The built image: its name, and how long building took."""

    name: str
    took_s: float


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs the cluster waits for it."""
    for item in items:
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured, and what no test here can run."""
    for line in _measured:
        terminalreporter.write_line(f"measured: {line}")
    terminalreporter.write_line(NOT_RUN)


@pytest.fixture(scope="session")
def measured() -> list[str]:
    """Lines that are printed at the end."""
    return _measured


@pytest.fixture(scope="session", name="engine")
def running_engine(measured: list[str]) -> Iterator[Engine]:
    """An engine with stand-ins for every image that has one."""
    reason = what_is_missing()
    if not COMPOSE.exists():
        reason = reason or "no docker-compose: `make containers` installs it"
    if reason:
        pytest.skip(reason)
    with engine() as made:
        began = monotonic()
        try:
            import_stand_ins(made, [image for image in named_images() if image.partition(":")[0] in RECIPES])
        except NotMadeError as error:
            pytest.skip(f"no stand-ins for images: {error}")
        measured.append(f"base images ready in {monotonic() - began:.1f} s")
        yield made


@pytest.fixture(scope="session")
def image(engine: Engine, measured: list[str]) -> Image:
    """What deploy/Dockerfile builds, under the name that the Compose file gives it."""
    (name,) = (found for found in named_images() if found.startswith("tickwire:"))
    words = ["build", "--network", "host", "--file", str(DOCKERFILE), "--tag", name]
    if index := os.environ.get("PIP_INDEX_URL"):
        words += ["--build-arg", f"PIP_INDEX_URL={index}"]
    if bundle := os.environ.get("PIP_CERT"):
        words += ["--build-arg", "PIP_CERT=/run/secrets/ca", "--secret", f"id=ca,src={bundle}"]
    began = monotonic()
    engine.docker(*words, str(ROOT), patience=300)
    built = Image(name, monotonic() - began)
    measured.append(f"image built in {built.took_s:.1f} s")
    return built


@pytest.fixture(scope="session", name="stack")
def running_stack(
    engine: Engine, image: Image, tmp_path_factory: pytest.TempPathFactory, measured: list[str]
) -> Iterator[Stack]:
    """The whole cluster."""
    with stack(engine, tmp_path_factory.mktemp("project")) as made:
        measured.append(f"cluster of {image.name} up and healthy in {made.took_s:.1f} s")
        yield made


def named_images() -> list[str]:
    """Every image that Dockerfile and Compose file name, with its tag."""
    composed = re.findall(r"^ +image: (\S+)$", COMPOSE_FILE.read_text(encoding="utf-8"), re.MULTILINE)
    base = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return [*base, *dict.fromkeys(composed)]
