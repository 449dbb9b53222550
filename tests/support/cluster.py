"""Real services as processes: started on free ports against one Redis, waited for, always ended, their logs shown.

    with Cluster(redis_url, tmp_path) as cluster:
        gateway = cluster.start("gateway", PING_INTERVAL_MS="300")
        gateway.port, gateway.scrape(), gateway.stop()

Leaving the context ends every process whatever its state and prints the ends of their logs, which pytest shows where
a test failed. A process cannot outlive a test run that is killed either (see `services.launcher.leash`), so start them
from the main thread; only waiting may be done in another one.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from services.launcher.leash import leashed, python_module
from services.launcher.ports import free_port
from shared.identity import sign_development_token
from tests.support.waiting import PATIENCE_S, wait_for

ROOT: Final = Path(__file__).parents[2]
SECRET: Final = "a secret of the tests, long enough for HS256"
LOG_TAIL: Final = 40

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
"""Nothing else of the environment: a developer's own settings must not change what tests see."""


def token(user: str = "user-1", *, role: str | None = None, now_ms: int, lifetime_s: int = 3600) -> str:
    """A token that the cluster's gateways accept."""
    return sign_development_token(SECRET, user, role=role, lifetime_s=lifetime_s, now_ms=now_ms)


class Service:
    """One service in a process of its own, logging to a file.

    Attributes:
        name: as the command line has it, such as `price-ingest`.
        port: where a gateway's clients connect; 0 for the others.
        process: ended by the cluster.
    """

    def __init__(self, name: str, directory: Path, number: int, environment: dict[str, str]) -> None:
        self.name = name
        self.port = int(environment.get("GATEWAY_PORT", "0")) if name == "gateway" else 0
        self.log = directory / f"{name}-{number}.log"
        self._settings = environment
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                leashed(python_module(f"services.{name.replace('-', '_')}")),
                cwd=ROOT,
                env={**inherited, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def url(self) -> str:
        """Where stock clients connect."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def instance(self) -> str:
        """Its name in the cluster."""
        return str(self.lines("ready")[0]["instance"])

    @property
    def settings(self) -> dict[str, str]:
        """What it was started with, to start its like."""
        return dict(self._settings)

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Its log lines, those of one event if one is named; a line still being written is left out."""
        whole = self.log.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        return [line for line in lines if event is None or line["event"] == event]

    def logged(self, event: str, patience: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for a log event; the first line of it."""

        def ask() -> list[dict[str, Any]]:
            found = self.lines(event)
            if not found and self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            return found

        return wait_for(ask, f"{self.name} logs {event}", patience)[0]

    async def alogged(self, event: str, patience: float = PATIENCE_S) -> dict[str, Any]:
        """The same while the event loop goes on."""
        return await asyncio.to_thread(self.logged, event, patience)

    def scrape(self) -> dict[str, float]:
        """What its `/metrics` says: series as printed -> value."""
        port = self.logged("ready")["ops_port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
        rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, _, value in rows}

    async def ascrape(self) -> dict[str, float]:
        """The same while the event loop goes on."""
        return await asyncio.to_thread(self.scrape)

    def rss(self) -> int:
        """Resident bytes now."""
        resident = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(resident) * _PAGE_BYTES

    def cpu_s(self) -> float:
        """Seconds of CPU used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def terminate(self) -> None:
        """Send SIGTERM; `ended` waits."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Wait for its end: the exit code."""
        return self.process.wait(PATIENCE_S)

    async def stop(self) -> int:
        """SIGTERM, and how it ended."""
        self.terminate()
        return await asyncio.to_thread(self.ended)

    def kill(self) -> None:
        """SIGKILL, and nothing left of it. Harmless when it has ended."""
        self.process.kill()
        self.process.wait()

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])


class Cluster:
    """Processes of one test or module.

    Args:
        redis_url: theirs.
        directory: for their logs.
        settings: environment variables of all of them.
    """

    def __init__(self, redis_url: str, directory: Path, **settings: str) -> None:
        self._directory = directory
        self._settings = {
            "REDIS_URL": redis_url,
            "OPS_PORT": "0",
            "OPS_HOST": "127.0.0.1",
            "GATEWAY_HOST": "127.0.0.1",
            "JWT_SECRET": SECRET,
            **settings,
        }
        self.services: list[Service] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for service in self.services:
            service.kill()
        for service in self.services:
            sys.stderr.write(f"--- {service.log.name} ---\n{service.tail()}\n")

    def launch(self, name: str, **settings: str) -> Service:
        """Start a service and do not wait."""
        own = {**self._settings, **settings}
        if name == "gateway":
            own.setdefault("GATEWAY_PORT", str(free_port()))
        service = Service(name, self._directory, len(self.services), own)
        self.services.append(service)
        return service

    def start(self, *names: str, **settings: str) -> Service:
        """Start services and wait until all are ready; the first of them."""
        started = [self.launch(name, **settings) for name in names]
        for service in started:
            service.logged("ready")
        return started[0]

    async def astart(self, *names: str, **settings: str) -> Service:
        """The same while the event loop goes on."""
        started = [self.launch(name, **settings) for name in names]
        for service in started:
            await service.alogged("ready")
        return started[0]
