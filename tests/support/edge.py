"""Real nginx, HAProxy and Envoy before test gateways, run with the very files that `deploy/edge` documents.

Only addresses and the folder for temporary files are replaced. Where a program is missing, tests are skipped and told
how to get it.
"""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

import pytest

from services.launcher.ports import free_port
from tests.support.cluster import Service
from tests.support.programs import need_program, running
from tests.support.source_tree import ROOT
from tests.support.waiting import PATIENCE_S, eventually

EDGE: Final = ROOT / "deploy" / "edge"

Name = Literal["nginx", "haproxy", "envoy"]
NAMES: Final[tuple[Name, ...]] = ("nginx", "haproxy", "envoy")
FILES: Final[dict[Name, str]] = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "envoy": "envoy.yaml"}

_names_gateway: Final = re.compile(r"gateway-(\d)\b.*\b8080\b").search


class Backend(NamedTuple):
    """Where one gateway listens: its client port, and its ops port."""

    port: int
    ops_port: int

    @classmethod
    def of(cls, gateway: Service) -> Self:
        """Of a gateway that is ready."""
        return cls(gateway.port, int(gateway.lines("ready")[0]["ops_port"]))


def configuration(name: Name, backends: Sequence[Backend], port: int, directory: Path) -> str:
    """The documented file, with a test's addresses and folder: the line of its first gateway once for each of ours."""
    lines: list[str] = []
    for line in (EDGE / FILES[name]).read_text(encoding="utf-8").splitlines():
        named = _names_gateway(line)
        if named is None:
            lines.append(line)
        elif named[1] == "1":
            lines += [_gateway_line(line, number, backend) for number, backend in enumerate(backends, 1)]
    text = "\n".join(lines) + "\n"
    listening = {
        "listen 8000;": f"listen 127.0.0.1:{port};",
        "bind :8000": f"bind 127.0.0.1:{port}",
        "address: 0.0.0.0, port_value: 8000": f"address: 127.0.0.1, port_value: {port}",
    }
    for documented, ours in listening.items():
        text = text.replace(documented, ours)
    return text.replace(" /tmp/", f" {directory}/")


def _gateway_line(line: str, number: int, backend: Backend) -> str:
    """The documented line of gateway 1, as that of another."""
    addressed = line.replace("gateway-1:8080", f"127.0.0.1:{backend.port}")
    addressed = addressed.replace(
        "address: gateway-1, port_value: 8080", f"address: 127.0.0.1, port_value: {backend.port}"
    )
    return addressed.replace("9090", str(backend.ops_port)).replace("gateway-1", f"gateway-{number}")


@asynccontextmanager
async def edge(
    name: Name, backends: Sequence[Backend], directory: Path, change: Callable[[str], str] = lambda text: text
) -> AsyncIterator[int]:
    """A running proxy: its port. Its log is shown where a test fails.

    Args:
        name: which one.
        backends: as many gateways as there are; those that do not run are found out by the proxy.
        directory: an empty one for its files.
        change: made to the configuration, to show what a part of it is for.
    """
    program, port = _program(name), free_port()
    file, log = directory / FILES[name], directory / f"{name}.log"
    file.write_text(change(configuration(name, backends, port, directory)), encoding="utf-8")
    words: dict[Name, list[str]] = {
        "nginx": ["-e", "stderr", "-p", str(directory), "-c", str(file), "-g", "daemon off; master_process off;"],
        "haproxy": ["-db", "-f", str(file)],
        "envoy": ["-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"],
    }
    with running([program, *words[name]], log, directory) as process:
        await eventually(lambda: process.poll() is not None or _listens(port), f"{name} listens")
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield port


def checked(name: Name, backends: Sequence[Backend], directory: Path) -> subprocess.CompletedProcess[str]:
    """What the program says to the documented file without running it."""
    program = _program(name)
    file = directory / FILES[name]
    file.write_text(configuration(name, backends, free_port(), directory), encoding="utf-8")
    options: dict[Name, list[str]] = {
        "nginx": ["-t", "-e", "stderr", "-p", str(directory), "-c", str(file)],
        "haproxy": ["-c", "-f", str(file)],
        "envoy": ["--mode", "validate", "-c", str(file), "--log-level", "warning"],
    }
    return subprocess.run([program, *options[name]], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def _program(name: Name) -> str:
    """Its path; Envoy comes as a wheel, into the environment of this very Python."""
    if name != "envoy":
        return need_program(name)
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip("no envoy in this environment: `make .venv/.envoy` installs it")
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
