"""Real services as processes: started on free ports against one Redis, waited for, always ended, their logs shown.

    with Cluster(redis_url, tmp_path) as cluster:
        gateway = await cluster.start("gateway", PING_INTERVAL_MS="300")
        gateway.port, await gateway.scrape(), await gateway.stop()

Leaving the context ends every process whatever its state and prints the ends of their logs, which pytest shows where
a test failed. A process cannot outlive a test run that is killed either (see `services.launcher.leash`), so start them
from the main thread.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from services.launcher.leash import leashed, python_module
from shared.bus.redis_bus import RedisBus
from shared.identity import sign_development_token
from tests.support.process_table import inherited
from tests.support.source_tree import ROOT
from tests.support.waiting import PATIENCE_S, STOP_S, eventually

SECRET: Final = "a secret of the tests, long enough for HS256"
LOG_TAIL: Final = 40

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


ISSUED: Final = {"JWT_ISSUER": "tests", "JWT_AUDIENCE": "tickwire"}
"""Settings beside `AUTH_MODE=required`; `token(..., issued=True)` has them."""


def token(
    user: str = "user-1",
    *,
    role: str | None = None,
    now_ms: int,
    lifetime_s: int = 3600,
    issued: bool = False,
    rights: Mapping[str, object] | None = None,
) -> str:
    """A token that the cluster's gateways accept; `rights` are further claims."""
    return sign_development_token(
        SECRET,
        user,
        role=role,
        lifetime_s=lifetime_s,
        now_ms=now_ms,
        issuer=ISSUED["JWT_ISSUER"] if issued else "",
        audience=ISSUED["JWT_AUDIENCE"] if issued else "",
        rights=rights,
    )


def quiet_port() -> int:
    """A free port below those that systems give to outgoing connections: nobody takes it before the service does."""
    while True:
        port = random.randrange(15_000, 31_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class Service:
    """One service in a process of its own, logging to a file.

    Args:
        name: as the command line has it, such as `price-ingest`.
        command: what runs, an absolute path first.
        files: where its log (`.log`) and its standard output (`.out`) go, without the ending.
        settings: its environment variables, beside the few that are inherited.

    Attributes:
        port: where a gateway's clients connect; 0 for the others.
        process: ended by the cluster.
    """

    def __init__(self, name: str, command: Sequence[str], files: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self.port = int(settings.get("GATEWAY_PORT", "0"))
        self.log = files.with_suffix(".log")
        self.out = files.with_suffix(".out")
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self.process = subprocess.Popen(
                leashed(command),
                cwd=ROOT,
                env={**inherited(), **settings},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )

    @property
    def url(self) -> str:
        """Where stock clients connect."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def instance(self) -> str:
        """Its name in the cluster, which it has told once it is ready."""
        return str(self.lines("ready")[0]["service.instance.id"])

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one event; a line still being written is left out."""
        whole = self.log.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        return [line for line in lines if line["event"] == event]

    async def logged(self, event: str, times: int = 1) -> dict[str, Any]:
        """Wait for a log event to come for the n-th time; that line."""

        def look() -> list[dict[str, Any]]:
            ended = self.process.poll()
            found = self.lines(event)
            assert len(found) >= times or ended is None, f"{self.name} ended with {ended}:\n{self.tail()}"
            return found

        found = await eventually(look, f"{self.name} logs {event}", lambda lines: len(lines) >= times)
        return found[times - 1]

    async def ask(self, path: str) -> tuple[int, str]:
        """What its ops port answers, once it is ready: status and body."""
        port = (await self.logged("ready"))["ops_port"]
        limit = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with (
            aiohttp.ClientSession(timeout=limit) as http,
            http.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def scrape(self) -> dict[str, float]:
        """What its `/metrics` says: series as printed -> value."""
        status, text = await self.ask("/metrics")
        assert status == 200, text
        rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, _, value in rows}

    def rss(self) -> int:
        """Resident bytes now."""
        resident = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(resident) * _PAGE_BYTES

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def terminate(self) -> None:
        """Send SIGTERM; `ended` waits."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for its end: the exit code."""
        code = await eventually(self.process.poll, f"{self.name} ends", lambda code: code is not None, patience=STOP_S)
        assert code is not None
        return code

    async def stop(self) -> int:
        """SIGTERM, and how it ended."""
        self.terminate()
        return await self.ended()

    def freeze(self) -> None:
        """SIGSTOP: it does nothing more, and nothing notices by itself."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was."""
        self.process.send_signal(signal.SIGCONT)

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

    Attributes:
        settings: environment variables of all that are started from now on.
        services: in the order of their start, also those that have ended.
    """

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._directory = directory
        self.settings = {
            "REDIS_URL": redis_url,
            "OPS_PORT": "0",
            "OPS_HOST": "127.0.0.1",
            "GATEWAY_HOST": "127.0.0.1",
            "JWT_SECRET": SECRET,
            "DRAIN_SECONDS": "0",
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
        if name == "gateway":
            settings.setdefault("GATEWAY_PORT", str(quiet_port()))
        return self.run(name, python_module(f"services.{name.replace('-', '_')}"), **settings)

    def run(self, name: str, command: Sequence[str], **settings: str) -> Service:
        """Start any command as one of the cluster and do not wait."""
        files = self._directory / f"{name}-{len(self.services)}"
        service = Service(name, command, files, {**self.settings, **settings})
        self.services.append(service)
        return service

    async def start(self, *names: str, **settings: str) -> Service:
        """Start services and wait until all are ready; the first of them."""
        started = [self.launch(name, **settings) for name in names]
        for service in started:
            await service.logged("ready")
        return started[0]

    async def holder(self, bus: RedisBus, lease: str) -> Service:
        """The living service that holds a lease, once one does: that of a killed one has yet to run out."""

        async def look() -> Service | None:
            instance = (await bus.get(lease) or b"").decode().partition(":")[2]
            for service in self.services:
                if service.process.poll() is None and any(
                    line["service.instance.id"] == instance for line in service.lines("ready")
                ):
                    return service
            return None

        found = await eventually(look, f"a living holder of {lease}")
        assert found is not None
        return found
