"""Children: started again when they die, given up when they die at once, stopped in time."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from services.launcher import processes
from services.launcher.errors import LauncherError
from services.launcher.processes import Child, Command, State, stop
from tests.support.waiting import eventually

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PATIENT = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def told() -> list[str]:
    return []


def child(tmp_path, told, script, **options) -> Child:
    command = Command("it", (sys.executable, "-c", script), dict(os.environ), tmp_path / "it.log", **options)
    return Child(command, told.append)


@contextlib.asynccontextmanager
async def running(one: Child) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.get_running_loop().create_task(one.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        one.signal(signal.SIGKILL)
        await one.gone()


async def test_a_killed_child_is_started_again_and_told_of(tmp_path, told):
    one = child(tmp_path, told, PATIENT)
    async with running(one):
        first = await eventually(lambda: one.pid, "it starts")
        one.signal(signal.SIGKILL)
        await eventually(lambda: one.restarts == 1 and one.state is State.RUNNING, "it starts again")
        assert one.pid != first
    assert told[0].startswith("it died (killed by SIGKILL); starting it again in")


async def test_one_that_dies_at_once_again_and_again_ends_with_its_last_words(tmp_path, told, monkeypatch):
    monkeypatch.setattr(processes, "MOST_QUICK_DEATHS", 2)
    one = child(tmp_path, told, "import sys; print('what went wrong', file=sys.stderr); sys.exit(3)")
    with pytest.raises(LauncherError, match="it does not stay up: exit status 3") as caught:
        await one.run()
    assert "what went wrong" in caught.value.hint
    assert one.restarts == 1


async def test_one_that_refuses_its_settings_is_not_tried_again(tmp_path, told):
    one = child(tmp_path, told, "import sys; sys.exit('GATEWAY_PORT=x: no port') if 0 else sys.exit(2)")
    with pytest.raises(LauncherError, match="exit status 2"):
        await one.run()
    assert one.restarts == 0


async def test_a_finite_one_may_finish(tmp_path, told):
    one = child(tmp_path, told, "print('done')", finite=True, speaks=True)
    await one.run()
    assert (one.state, one.said) == (State.FINISHED, "done")
    assert told == ["it finished"]


async def test_stopping_asks_and_waits(tmp_path, told):
    one = child(tmp_path, told, PATIENT)
    async with running(one) as task:
        await eventually(lambda: one.pid, "it starts")
        task.cancel()
        await stop([one], asyncio.Event())
        assert one.state is State.STOPPED
    assert told == []


async def test_one_that_does_not_listen_is_killed_at_the_deadline(tmp_path, told, monkeypatch):
    monkeypatch.setattr(processes, "STOP_S", 0.3)
    one = child(tmp_path, told, STUBBORN, speaks=True)
    async with running(one) as task:
        await eventually(lambda: one.said == "up", "it starts")
        task.cancel()
        await stop([one], asyncio.Event())
        assert one.state is State.STOPPED


async def test_hurry_kills_at_once(tmp_path, told):
    one = child(tmp_path, told, STUBBORN, speaks=True)
    hurry = asyncio.Event()
    async with running(one) as task:
        await eventually(lambda: one.said == "up", "it starts")
        task.cancel()
        hurry.set()
        async with asyncio.timeout(processes.STOP_S / 2):
            await stop([one], hurry)


async def test_ctrl_c_does_not_reach_a_child(tmp_path, told):
    one = child(tmp_path, told, PATIENT)
    async with running(one):
        pid = await eventually(lambda: one.pid, "it starts")
        assert pid is not None
        assert os.getpgid(pid) != os.getpgrp()


async def test_what_a_service_writes_goes_to_its_log(tmp_path, told):
    one = child(tmp_path, told, "import sys; print('out'); print('err', file=sys.stderr)", finite=True)
    await one.run()
    assert sorted((tmp_path / "it.log").read_text().split()) == ["err", "out"]
