"""How a service starts, runs and stops: a tiny one, in a process of its own, with real signals."""

import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from tests.support.cluster import Cluster, Service
from tests.support.reports import report_of
from tests.support.waiting import eventually

TINY: Final = """
import asyncio
import atexit
import sys
import time
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

class DrainingApp(TinyApp):
    def __init__(self, runtime, settings):
        super().__init__(runtime, settings)
        self.stop_deadline_s = float(settings.tiny_size)

    async def drain(self):
        await asyncio.Event().wait()

def linger():
    print("lingers", flush=True)
    time.sleep(2)

if "linger" in sys.argv:
    atexit.register(linger)
if "hurry" in sys.argv:
    import shared.lifecycle
    shared.lifecycle.STOP_DEADLINE_S = 0.2
run_service("tiny", (TinySettings,), DrainingApp if "drain" in sys.argv else TinyApp)
"""


Start = Callable[..., Service]


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Start:
    script = tmp_path / "tiny.py"
    script.write_text(TINY)
    return lambda *arguments, **settings: cluster.run("tiny", [sys.executable, str(script), *arguments], **settings)


def said(tiny: Service) -> str:
    return tiny.log.read_text()


async def finish(tiny: Service) -> tuple[int, str]:
    """Wait for its end: exit code, standard output."""
    return await tiny.ended(), tiny.out.read_text()


async def stop(tiny: Service, number: int = signal.SIGTERM) -> tuple[int, str]:
    tiny.process.send_signal(number)
    return await finish(tiny)


async def test_it_serves_its_ops_port_and_reports_itself(start: Start, bus: RedisBus):
    tiny = start(TINY_SIZE="3")
    assert await tiny.ask("/livez") == (200, '{"live": true}')
    assert await tiny.ask("/readyz") == (200, '{"ready": true, "failing": {}}')
    status, text = await tiny.ask("/metrics")
    assert status == 200
    assert 'tickwire_build_info{service="tiny",version="' in text
    report = await eventually(lambda: report_of(bus, tiny.instance), "a report")
    assert report is not None
    assert (report.service, report.figures) == ("tiny", {"tiny_size": 3.0})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_finishes_says_goodbye_and_exits_with_0(start: Start, bus: RedisBus, number: int):
    tiny = start()
    await tiny.logged("ready")
    assert await stop(tiny, number) == (0, "finished what was in hand\n")
    assert [line["event"] for line in map(json.loads, said(tiny).splitlines())] == ["ready", "stopping", "stopped"]
    assert await bus.hash_all(redis_keys.SERVICE_REPORTS) == {}


async def test_a_stop_that_hangs_is_cut_at_its_deadline(start: Start):
    tiny = start("hurry", TINY_FAULT="stop")
    await tiny.logged("ready")
    assert (await stop(tiny))[0] == 0
    assert tiny.lines("stop_deadline_passed")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_a_drain_and_what_is_in_hand_is_finished(start: Start, second: int):
    tiny = start("drain", TINY_SIZE="3000")
    await tiny.logged("ready")
    tiny.terminate()
    await tiny.logged("stopping")
    assert (await tiny.ask("/readyz"))[0] == 503
    assert await stop(tiny, second) == (0, "finished what was in hand\n")
    assert tiny.lines("stop_hurried")


async def test_a_signal_that_comes_when_all_is_done_changes_nothing(start: Start):
    tiny = start("linger")
    await tiny.logged("ready")
    tiny.terminate()
    await eventually(lambda: "lingers" in tiny.out.read_text(), "only the interpreter is left")
    assert (await stop(tiny))[0] == 0


async def test_a_drain_that_hangs_is_cut_at_the_deadline_that_the_app_says(start: Start):
    tiny = start("drain", TINY_SIZE="1")
    await tiny.logged("ready")
    assert (await stop(tiny))[0] == 0
    assert (await tiny.logged("stop_deadline_passed"))["deadline_s"] == 1.0


async def test_it_waits_for_redis_says_so_and_begins_when_redis_is_there(start: Start, tmp_path: Path):
    server = EmbeddedValkey(directory=tmp_path)
    tiny = start(REDIS_URL=server.url)
    waiting = await tiny.logged("redis_unavailable")
    assert waiting["task"] == "start"
    assert str(server.port) in waiting["exception.message"]
    assert not tiny.lines("ready")
    with server:
        await tiny.logged("ready")
        assert (await stop(tiny))[0] == 0


async def test_told_to_stop_while_it_waits_for_redis_it_exits_with_0(start: Start, tmp_path: Path):
    tiny = start(REDIS_URL=EmbeddedValkey(directory=tmp_path).url)
    await tiny.logged("redis_unavailable")
    assert await stop(tiny) == (0, "")


async def test_redis_going_away_neither_ends_it_nor_makes_it_unready_at_once(start: Start, tmp_path: Path):
    with EmbeddedValkey(directory=tmp_path) as server:
        tiny = start(REDIS_URL=server.url)
        await tiny.logged("ready")
        server.kill()

        async def disconnected() -> bool:
            return "tickwire_redis_connected 0.0" in (await tiny.ask("/metrics"))[1]

        await eventually(disconnected, "the metric says so")
        assert (await tiny.ask("/livez"))[0] == (await tiny.ask("/readyz"))[0] == 200
        assert (await stop(tiny))[0] == 0


async def test_every_wrong_setting_is_told_at_once_with_its_name(start: Start):
    tiny = start(OPS_PORT="70000", TINY_SIZE="0", LOG_LEVEL="chatty", PRICE_SHARDS="many")
    assert await finish(tiny) == (2, "")
    told = said(tiny).splitlines()
    assert told[0] == "tickwire tiny: wrong settings"
    assert [line.strip().split("=")[0] for line in told[1:]] == ["OPS_PORT", "PRICE_SHARDS", "LOG_LEVEL", "TINY_SIZE"]


async def test_asked_for_its_settings_it_prints_them_as_json_and_needs_nothing(start: Start):
    code, out = await finish(start("--settings", REDIS_URL="redis://127.0.0.1:1", TINY_SIZE="0"))
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
    assert await finish(tiny) == (1, "")
    (line,) = tiny.lines("redis_refused")
    assert "REDIS_URL" in line["hint"]
    assert "Traceback" not in said(tiny)
    assert "hunter2" not in said(tiny)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1:port"])
async def test_an_address_that_is_none_ends_it_with_the_settings_name(start: Start, url: str):
    tiny = start(REDIS_URL=url)
    assert await finish(tiny) == (2, "")
    assert "REDIS_URL" in said(tiny)
    assert "Traceback" not in said(tiny)


async def test_a_taken_ops_port_ends_it_with_a_message_that_says_what_to_do(start: Start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tiny = start(OPS_PORT=str(port))
        assert await finish(tiny) == (1, "")
    (line,) = tiny.lines("ops_port_taken")
    assert (line["ops_port"], "OPS_PORT" in line["hint"]) == (port, True)


async def test_a_defect_in_a_task_ends_it_and_is_told(start: Start):
    tiny = start(TINY_FAULT="task")
    code, _ = await finish(tiny)
    assert code == 1
    assert "LookupError: a defect" in said(tiny)
