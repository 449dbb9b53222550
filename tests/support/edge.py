"""Real nginx and HAProxy before test gateways, run with the very files that `deploy/edge` documents.

Only addresses and the folder for temporary files are replaced. Where a program is missing, tests are skipped and told
how to get it.
"""

import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

from services.launcher.ports import free_port
from tests.support.cluster import Service
from tests.support.programs import need_program, running
from tests.support.source_tree import ROOT
from tests.support.waiting import PATIENCE_S, eventually

EDGE: Final = ROOT / "deploy" / "edge"

Name = Literal["nginx", "haproxy"]
NAMES: Final[tuple[Name, ...]] = ("nginx", "haproxy")


class Backend(NamedTuple):
    """Where one gateway listens: its client port, and its ops port."""

    port: int
    ops_port: int

    @classmethod
    def of(cls, gateway: Service) -> Self:
        """Of a gateway that is ready."""
        return cls(gateway.port, int(gateway.lines("ready")[0]["ops_port"]))


def configuration(name: Name, backends: Sequence[Backend], port: int, directory: Path) -> str:
    """The documented file, with a test's addresses and folder."""
    file = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[name]
    text = (EDGE / file).read_text(encoding="utf-8")
    replaced = {"listen 8000;": f"listen 127.0.0.1:{port};", "bind :8000": f"bind 127.0.0.1:{port}"}
    for number, backend in enumerate(backends, 1):
        checked = f"gateway-{number}:8080 cookie gateway-{number} check port"
        replaced[f"{checked} 9090"] = f"{checked} {backend.ops_port}"
        replaced[f"gateway-{number}:8080"] = f"127.0.0.1:{backend.port}"
    for documented, ours in replaced.items():
        text = text.replace(documented, ours)
    return text.replace(" /tmp/", f" {directory}/")


@asynccontextmanager
async def edge(
    name: Name, backends: Sequence[Backend], directory: Path, change: Callable[[str], str] = lambda text: text
) -> AsyncIterator[int]:
    """A running proxy: its port. Its log is shown where a test fails.

    Args:
        name: which one.
        backends: the two gateways of the documented file.
        directory: an empty one for its files.
        change: made to the configuration, to show what a part of it is for.
    """
    program, port = need_program(name), free_port()
    file, log = directory / f"{name}.conf", directory / f"{name}.log"
    file.write_text(change(configuration(name, backends, port, directory)), encoding="utf-8")
    commands = {
        "nginx": [
            program,
            "-e",
            "stderr",
            "-p",
            str(directory),
            "-c",
            str(file),
            "-g",
            "daemon off; master_process off;",
        ],
        "haproxy": [program, "-db", "-f", str(file)],
    }
    with running(commands[name], log, directory) as process:
        await eventually(lambda: process.poll() is not None or _listens(port), f"{name} listens")
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield port


def checked(name: Name, backends: Sequence[Backend], directory: Path) -> subprocess.CompletedProcess[str]:
    """What the program says to the documented file without running it."""
    program = need_program(name)
    file = directory / f"{name}.conf"
    file.write_text(configuration(name, backends, free_port(), directory), encoding="utf-8")
    options = {
        "nginx": ["-t", "-e", "stderr", "-p", str(directory), "-c", str(file)],
        "haproxy": ["-c", "-f", str(file)],
    }
    return subprocess.run([program, *options[name]], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
