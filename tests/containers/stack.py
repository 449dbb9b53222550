"""The cluster of docker-compose.yml, the very file, run by the real Compose on the tests' own engine.

Feeds the tests. It runs in a folder that holds links to the project's files and a `.env` made of `.env.example`, so a
developer's own `.env` changes nothing, and the example is seen to work.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal

from services.launcher.ports import free_port
from tests.containers.engine import Engine
from tests.support.cluster import SECRET
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually

COMPOSE: Final = Path(sys.executable).with_name("docker-compose")
PROJECT: Final = "tickwire-test"
UP_S: Final = 240.0
HEALTH_S: Final = 90.0
READINESS: Final = """
import http.client
asked = http.client.HTTPConnection("127.0.0.1", 9090, timeout=10)
asked.request("GET", "/readyz")
print(asked.getresponse().status)
"""

Port = Literal["EDGE_PORT", "REDIS_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT"]


class Stack:
    """One running cluster.

    Attributes:
        engine: where it runs.
        ports: of this machine.
        took_s: to start, until all was healthy.
    """

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine = engine
        self.ports: dict[Port, int] = {
            name: free_port() for name in ("EDGE_PORT", "REDIS_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
        }
        self.took_s = 0.0
        self._directory = directory

    @property
    def url(self) -> str:
        """Where clients connect. By name: clients built on aiohttp drop the cookies of IP addresses."""
        return f"http://localhost:{self.ports['EDGE_PORT']}"

    @property
    def redis_url(self) -> str:
        """Where upstreams publish."""
        return f"redis://127.0.0.1:{self.ports['REDIS_PORT']}"

    def lay_out(self) -> None:
        """Fill the folder."""
        for name in ("docker-compose.yml", "deploy"):
            (self._directory / name).symlink_to(ROOT / name)
        example = (ROOT / ".env.example").read_text(encoding="utf-8")
        (self._directory / ".env").write_text(f"{example}\nJWT_SECRET={SECRET}\n", encoding="utf-8")

    def compose(self, *arguments: str, patience: float = UP_S) -> str:
        """What a command of Compose prints."""
        folder = ["--project-directory", str(self._directory), "--project-name", PROJECT]
        ports = {name: str(port) for name, port in self.ports.items()}
        return self.engine.run([str(COMPOSE), *folder, *arguments], patience=patience, **ports)

    def up(self, *services: str) -> None:
        """Start services, or all that belong to no profile, and wait until they are healthy."""
        self.compose("up", "-d", "--wait", "--no-build", "--pull", "never", *services)

    def containers(self, service: str) -> list[str]:
        """Names of a service's containers, in order, also of those that have ended."""
        said = self.compose("ps", "--all", "--format", "json", service)
        return sorted(json.loads(line)["Name"] for line in said.splitlines())

    def inspect(self, container: str) -> dict[str, Any]:
        """All that the engine says of a container."""
        (found,) = json.loads(self.engine.docker("inspect", container))
        return dict(found)

    def health(self, container: str) -> str:
        """What a container's health check came to last."""
        return str(self.inspect(container)["State"].get("Health", {}).get("Status", "none"))

    async def healthy(self, *containers: str) -> None:
        """Wait until the health checks of containers say so."""
        for name in containers:
            await eventually(
                lambda name=name: asyncio.to_thread(self.health, name),  # type: ignore[misc]
                f"health of {name}",
                lambda seen: seen == "healthy",
                patience=HEALTH_S,
            )

    def readiness(self, container: str) -> int:
        """What one of our containers answers at /readyz, asked inside of it: no ops port is published."""
        return int(self.engine.docker("exec", container, "python", "-c", READINESS))


@contextmanager
def stack(engine: Engine, directory: Path) -> Iterator[Stack]:
    """The cluster, all of it healthy; ended with everything that it stored, the ends of its logs shown."""
    made = Stack(engine, directory)
    made.lay_out()
    began = monotonic()
    with ExitStack() as ending:
        ending.callback(made.compose, "--profile", "*", "down", "--volumes", "--timeout", "0")
        made.compose("create", "--no-build", "--pull", "never")
        ending.enter_context(engine.connected(f"{PROJECT}_front", f"{PROJECT}_back"))
        made.up()
        made.took_s = monotonic() - began
        yield made
        sys.stderr.write(made.compose("--profile", "*", "logs", "--no-color", "--tail", "15"))
