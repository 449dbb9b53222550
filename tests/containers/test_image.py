"""The image: what is in it, what is not, and whom its processes run as."""

import json
import tomllib
from typing import Any, Final

import pytest

from tests.containers.conftest import Image
from tests.containers.engine import Engine
from tests.support.source_tree import ROOT

MOST_BYTES: Final = 200_000_000
UNWANTED: Final = ("pip", "pip3", "gcc", "cc", "g++", "make", "ld", "strip")
HARDENED: Final = (
    "--rm",
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--network",
    "none",
)


@pytest.fixture
def about(engine: Engine, image: Image) -> dict[str, Any]:
    """What the engine says of it."""
    (found,) = json.loads(engine.docker("image", "inspect", image.name))
    return dict(found)


def test_it_is_small(about: dict[str, Any], measured: list[str]) -> None:
    measured.append(f"image of {about['Size'] / 1e6:.0f} MB")
    assert about["Size"] < MOST_BYTES


def test_it_says_what_it_is_and_how_to_run_and_stop_it(about: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    configured = about["Config"]
    assert configured["Labels"]["org.opencontainers.image.version"] == project["version"]
    assert configured["Labels"]["org.opencontainers.image.licenses"] == project["license"]
    assert (configured["User"], configured["StopSignal"]) == ("10001:10001", "SIGTERM")
    assert (configured["Entrypoint"] or [], configured["Cmd"]) == ([], ["tickwire", "gateway"])
    assert "Healthcheck" not in configured
    assert sorted(configured["ExposedPorts"]) == ["8080/tcp", "9090/tcp"]


def test_no_build_tool_and_no_pip_is_in_it(engine: Engine, image: Image) -> None:
    found = engine.docker("run", *HARDENED, image.name, "sh", "-c", f"command -v {' '.join(UNWANTED)} || true")
    assert found == ""
    look = "import importlib.util as i; print([n for n in ('pip', 'ensurepip') if i.find_spec(n)])"
    modules = engine.docker("run", *HARDENED, image.name, "python", "-c", look)
    assert "'pip'" not in modules


def test_nothing_of_the_network_that_it_was_built_in_is_left(engine: Engine, image: Image) -> None:
    history = engine.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image.name)
    assert "/opt/venv" in history
    assert "PIP_" not in history
    kept = engine.docker(
        "run", *HARDENED, image.name, "sh", "-c", "env; ls /run/secrets /root/.cache /src 2>/dev/null || true"
    )
    assert "PIP_" not in kept
    assert "ca" not in kept.splitlines()


@pytest.mark.parametrize("command", ["gateway", "price-ingest", "trade-notifier", "metrics"])
def test_each_command_is_there_and_reads_its_settings_on_a_file_system_that_nobody_can_write(
    engine: Engine, image: Image, command: str
) -> None:
    script = f"REDIS_URL=nowhere tickwire {command} 2>&1; echo ended with $?; id -u; touch /x 2>&1"
    said = engine.docker("run", *HARDENED, image.name, "sh", "-c", f"{script} || true")
    assert "REDIS_URL" in said, said
    assert "ended with 0" not in said, said
    assert "\n10001\n" in said, said
    assert "Read-only file system" in said, said
