"""How a service starts, runs and stops: a tiny one, in a process of its own, with real signals."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.messages import decode_report
from shared.names import redis_keys
from tests.support.waiting import PATIENCE_S, eventually, eventually_told

ROOT: Final = Path(__file__).parents[2]

TINY: Final = """
import asyncio
import sys
from dataclasses import dataclass
from shared.lifecycle import run_service
from shared.settings import Positive, setting

@dataclass(frozen=True, slots=True)
class TinySettings:
    tiny_size: Positive = setting(1, "how tiny", "mm")
    tiny_fault: str = setting("", "what goes wrong")

class TinyApp:
    def __init__(self, runtime, settings):
        self.runtime, self.settings = runtime, settings

    async def start(self):
        self.runtime.tasks.spawn("ticks", self.tick())

    async def tick(self):
        if self.settings.tiny_fault == "task":
            raise LookupError("a defect")
        await asyncio.Event().wait()

    async def stop(self):
        print("finished what was in hand", flush=True)
        if self.settings.tiny_fault == "stop":
            await asyncio.Event().wait()

    def fill_report(self, report):
        report["figures"] = {"tiny_size": self.settings.tiny_size}

if "hurry" in sys.argv:
    import shared.lifecycle
    shared.lifecycle.STOP_DEADLINE_S = 0.2
run_service("tiny", (TinySettings,), TinyApp)
"""


class Tiny:
    """The service as a process."""

    def __init__(self, directory: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self._log = directory / "tiny.log"
        script = directory / "tiny.py"
        script.write_text(TINY)
        with self._log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(script), *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OPS_PORT": "0", "OPS_HOST": "127.0.0.1", **environment},
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    def said(self) -> str:
        return self._log.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        whole = [json.loads(line) for line in self.said().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in whole if line["event"] == event]

    async def logged(self, event: str) -> dict[str, Any]:
        def look() -> list[dict[str, Any]]:
            found = self.lines(event)
            assert found or self.process.poll() is None, self.said()
            return found

        return (await eventually(look, f"log event {event}"))[0]

    async def ask(self, path: str) -> tuple[int, str]:
        port = (await self.logged("ready"))["ops_port"]
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()

    def finish(self) -> tuple[int, str]:
        """Wait for its end: exit code, standard output."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out.decode()

    def terminate(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.finish()


Start = Callable[..., Tiny]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Tiny] = []

    def run(*arguments: str, **environment: str) -> Tiny:
        directory = tmp_path / str(len(started))
        directory.mkdir()
        started.append(Tiny(directory, arguments, environment))
        return started[-1]

    yield run
    for tiny in started:
        tiny.process.kill()
        tiny.process.communicate()


async def test_it_serves_its_ops_port_and_reports_itself(start: Start, redis_url: str, bus: RedisBus):
    tiny = start(REDIS_URL=redis_url, TINY_SIZE="3")
    assert await tiny.ask("/livez") == (200, '{"live": true}')
    assert await tiny.ask("/readyz") == (200, '{"ready": true, "failing": {}}')
    status, text = await tiny.ask("/metrics")
    assert status == 200
    assert 'tickwire_build_info{service="tiny",version="' in text
    instance = (await tiny.logged("ready"))["instance"]

    async def reported() -> bytes:
        return (await bus.hash_all(redis_keys.SERVICE_REPORTS)).get(instance.encode(), b"")

    report = decode_report(await eventually_told(reported, "a report"))
    assert (report.service, report.figures) == ("tiny", {"tiny_size": 3.0})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_finishes_says_goodbye_and_exits_with_0(
    start: Start, redis_url: str, bus: RedisBus, number: int
):
    tiny = start(REDIS_URL=redis_url)
    await tiny.logged("ready")
    assert tiny.terminate(number) == (0, "finished what was in hand\n")
    assert [line["event"] for line in map(json.loads, tiny.said().splitlines())] == ["ready", "stopping", "stopped"]
    assert await bus.hash_all(redis_keys.SERVICE_REPORTS) == {}


async def test_a_stop_that_hangs_is_cut_at_its_deadline(start: Start, redis_url: str):
    tiny = start("hurry", REDIS_URL=redis_url, TINY_FAULT="stop")
    await tiny.logged("ready")
    assert tiny.terminate()[0] == 0
    assert tiny.lines("stop_deadline_passed")


async def test_it_waits_for_redis_says_so_and_begins_when_redis_is_there(start: Start, tmp_path: Path):
    server = EmbeddedValkey(directory=tmp_path)
    tiny = start(REDIS_URL=server.url)
    waiting = await tiny.logged("redis_unavailable")
    assert waiting["task"] == "start"
    assert str(server.port) in waiting["error"]
    assert not tiny.lines("ready")
    with server:
        await tiny.logged("ready")
        assert tiny.terminate()[0] == 0


async def test_told_to_stop_while_it_waits_for_redis_it_exits_with_0(start: Start, tmp_path: Path):
    tiny = start(REDIS_URL=EmbeddedValkey(directory=tmp_path).url)
    await tiny.logged("redis_unavailable")
    assert tiny.terminate() == (0, "")


async def test_redis_going_away_neither_ends_it_nor_makes_it_unready_at_once(start: Start, tmp_path: Path):
    with EmbeddedValkey(directory=tmp_path) as server:
        tiny = start(REDIS_URL=server.url)
        await tiny.logged("ready")
        server.kill()

        async def disconnected() -> bool:
            return "tickwire_redis_connected 0.0" in (await tiny.ask("/metrics"))[1]

        await eventually_told(disconnected, "the metric says so")
        assert (await tiny.ask("/livez"))[0] == (await tiny.ask("/readyz"))[0] == 200
        assert tiny.terminate()[0] == 0


def test_every_wrong_setting_is_told_at_once_with_its_name(start: Start):
    tiny = start(OPS_PORT="70000", TINY_SIZE="0", LOG_LEVEL="chatty", PRICE_SHARDS="many")
    assert tiny.finish() == (2, "")
    said = tiny.said().splitlines()
    assert said[0] == "tickwire tiny: wrong settings"
    assert [line.strip().split("=")[0] for line in said[1:]] == ["OPS_PORT", "PRICE_SHARDS", "LOG_LEVEL", "TINY_SIZE"]


def test_asked_for_its_settings_it_prints_them_as_json_and_needs_nothing(start: Start):
    code, out = start("--settings", REDIS_URL="redis://127.0.0.1:1", TINY_SIZE="0").finish()
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["TINY_SIZE"] == {
        "name": "TINY_SIZE",
        "default": "1",
        "unit": "mm",
        "meaning": "how tiny",
        "services": [],
    }
    assert {"REDIS_URL", "OPS_PORT", "LOG_LEVEL"} <= set(rows)


async def test_a_wrong_password_ends_it_with_a_message_that_says_what_to_do(start: Start, redis_url: str):
    tiny = start(REDIS_URL=redis_url.replace("redis://", "redis://nobody:hunter2@"))
    assert tiny.finish() == (1, "")
    (line,) = tiny.lines("redis_refused")
    assert "REDIS_URL" in line["hint"]
    assert "Traceback" not in tiny.said()
    assert "hunter2" not in tiny.said()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1:port"])
def test_an_address_that_is_none_ends_it_with_the_settings_name(start: Start, url: str):
    tiny = start(REDIS_URL=url)
    assert tiny.finish() == (2, "")
    assert "REDIS_URL" in tiny.said()
    assert "Traceback" not in tiny.said()


def test_a_taken_ops_port_ends_it_with_a_message_that_says_what_to_do(start: Start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tiny = start(OPS_PORT=str(port))
        assert tiny.finish() == (1, "")
    (line,) = tiny.lines("ops_port_taken")
    assert (line["port"], "OPS_PORT" in line["hint"]) == (port, True)


def test_a_defect_in_a_task_ends_it_and_is_told(start: Start, redis_url: str):
    tiny = start(REDIS_URL=redis_url, TINY_FAULT="task")
    code, _ = tiny.finish()
    assert code == 1
    assert "LookupError: a defect" in tiny.said()
