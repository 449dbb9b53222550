"""A Docker engine of the tests' own: in an empty folder, beside whatever other engine the machine has, ended with them.

Feeds `stand_ins`, `stack` and the tests. It makes no bridge and no firewall rule: containers reach each other through
networks of Compose, the host reaches published ports through Docker's own proxy, and a build uses the host's network.
The programs are those of Debian's package `docker.io`, whatever else is called `docker` earlier on PATH.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from services.launcher.leash import leashed
from tests.support.process_table import inherited
from tests.support.programs import SYSTEM_PATHS
from tests.support.source_tree import ROOT
from tests.support.waiting import wait_for

DOCKER: Final = "/usr/bin/docker"
DOCKERD: Final = "/usr/sbin/dockerd"
START_S: Final = 60.0
STOP_S: Final = 30.0
COMMAND_S: Final = 120.0
LOG_TAIL: Final = 3_000


def what_is_missing() -> str:
    """Why no engine can be started on this machine; empty: it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "an engine of its own needs Linux and root"
    for program in (DOCKER, DOCKERD, "mmdebstrap", "iptables"):
        if shutil.which(program, path=SYSTEM_PATHS) is None:
            return f"no {program}: `make containers` installs docker.io, mmdebstrap and iptables where apt-get is"
    return ""


class Engine:
    """A running engine.

    Attributes:
        environment: of every command that shall talk to this engine and to no other.
    """

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "docker.sock"
        self.environment: Mapping[str, str] = {
            **inherited(),
            "PATH": os.pathsep.join(["/usr/bin", SYSTEM_PATHS]),
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(directory / "client"),
            "DOCKER_BUILDKIT": "1",
        }

    def docker(self, *arguments: str, patience: float = COMMAND_S) -> str:
        """What a docker command prints.

        Raises:
            AssertionError: it failed; with its words.
        """
        return self.run([DOCKER, *arguments], patience=patience)

    def run(self, command: Sequence[str], *, patience: float = COMMAND_S, **environment: str) -> str:
        """The same for another client, such as Compose; `environment` comes on top."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command[:4])} ...: {done.stdout[-LOG_TAIL:]}{done.stderr[-LOG_TAIL:]}"
        return done.stdout.strip()

    def answers(self) -> bool:
        """Whether it is there."""
        return (
            subprocess.run([DOCKER, "version"], env=self.environment, capture_output=True, check=False).returncode == 0
        )

    @contextmanager
    def connected(self, *networks: str) -> Iterator[None]:
        """Let containers of these networks reach each other on a machine whose firewall would drop it.

        Another engine on the machine sets that policy for every bridge, ours too.
        """
        bridges = [f"br-{self.docker('network', 'inspect', '-f', '{{.Id}}', name)[:12]}" for name in networks]
        with ExitStack() as rules:
            for bridge in bridges:
                rule = ["FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT"]
                self.run(["iptables", "-w", "10", "-I", *rule])
                rules.callback(self.run, ["iptables", "-w", "10", "-D", *rule])
            yield


@contextmanager
def engine() -> Iterator[Engine]:
    """A running engine in a folder of its own; nothing is left of either."""
    directory = Path(tempfile.mkdtemp(prefix="tickwire-engine-"))
    made, log = Engine(directory), directory / "log"
    (directory / "daemon.json").write_text("{}")
    words = [
        f"--host={made.environment['DOCKER_HOST']}",
        f"--config-file={directory}/daemon.json",
        f"--data-root={directory}/data",
        f"--exec-root={directory}/exec",
        f"--pidfile={directory}/pid",
        f"--containerd-namespace={directory.name}",
        f"--containerd-plugins-namespace={directory.name}-plugins",
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            leashed([DOCKERD, *words]),
            cwd=ROOT,
            env=made.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for(lambda: process.poll() is not None or made.answers(), "the engine answers", START_S)
        assert process.poll() is None, log.read_text(errors="replace")[-LOG_TAIL:]
        yield made
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)
