"""What tests with real services share: processes that are always ended, and bounded waiting. Holds no test itself."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 30.0
"""Longest wait for anything. Generous: a machine under load is slow, and no test waits so long unless it fails."""

T = TypeVar("T")


async def eventually(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], what: str) -> T:
    """Ask again until the answer `holds`; fail with the last answer when it does not in time."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not holds(answer := await ask()):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what}: still {answer!r} after {PATIENCE_S:.0f} s")
        await asyncio.sleep(0.02)
    return answer


class Service:
    """One service in a process of its own, logging to a file."""

    def __init__(self, module: str, url: str, log: Path, **environment: str) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**os.environ, "REDIS_URL": url, "OPS_PORT": "0", "OPS_HOST": "127.0.0.1", **environment},
                stderr=stderr,
            )

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one event; a line still being written is left out."""
        whole = self._log.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        return [line for line in lines if line["event"] == event]

    async def logged(self, event: str, times: int = 1) -> dict[str, Any]:
        """Wait for a log event to come for the n-th time."""

        async def ask() -> list[dict[str, Any]]:
            assert self.process.poll() is None, self._log.read_text()[-3000:]
            return self.lines(event)

        return (await eventually(ask, lambda lines: len(lines) >= times, f"log event {event}"))[times - 1]

    async def instance(self) -> str:
        """Its name in the cluster, once it is ready."""
        return str((await self.logged("ready"))["instance"])

    async def scrape(self) -> dict[str, float]:
        """What its `/metrics` says: series as printed -> value."""
        port = (await self.logged("ready"))["ops_port"]
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
        rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, _, value in rows}

    async def terminate(self) -> int:
        """SIGTERM, and how it ended."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end: the exit code."""
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL, and nothing left of it. Harmless when it ended."""
        self.process.kill()
        self.process.wait()


class Services:
    """Processes of one test; leaving the context ends them whatever their state."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = url
        self._directory = directory
        self._started: list[Service] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for service in self._started:
            service.kill()

    def start(self, module: str, **environment: str) -> Service:
        """Start one more; `environment` adds settings."""
        log = self._directory / f"{module}-{len(self._started)}.log"
        service = Service(module, self._url, log, **environment)
        self._started.append(service)
        return service

    async def by_instance(self, instance: str) -> Service:
        """The living one of that name."""
        for service in self._started:
            if service.process.poll() is None and await service.instance() == instance:
                return service
        raise AssertionError(f"no process is {instance}")
