"""Finding a running cluster, and clearing away what a killed one has left."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from services.launcher.run_state import RUN_DIRECTORY_PREFIX, RunState, find_running, published, state_directory
from tests.support.waiting import wait_for

HOLDER = """
import sys, time
from pathlib import Path
from services.launcher.run_state import RunState, published
import os
state = RunState(os.getpid(), int(sys.argv[2]), "redis://x", ("http://localhost:1",), directory=sys.argv[3])
with published(state, Path(sys.argv[1])):
    time.sleep(60)
"""


def state(pid: int = 1, started: int = 1, secret: str = "") -> RunState:
    return RunState(pid, started, "redis://127.0.0.1:6379", ("http://localhost:8080",), jwt_secret=secret)


def test_a_run_is_found_while_it_lasts_and_not_after(tmp_path):
    assert find_running(tmp_path) is None
    with published(state(secret="s3cret"), tmp_path):
        assert find_running(tmp_path) == state(secret="s3cret")
    assert find_running(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_newest_of_several_runs_wins(tmp_path):
    with published(state(1, started=5), tmp_path), published(state(2, started=9), tmp_path):
        found = find_running(tmp_path)
        assert found is not None
        assert found.pid == 2


def test_nobody_else_may_read_the_secret(tmp_path):
    directory = tmp_path / "deep" / "down"
    with published(state(), directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "up-1.json").stat().st_mode) == 0o600


def test_a_killed_run_is_not_found_and_its_leftovers_go(tmp_path):
    leftovers = Path(tempfile.mkdtemp(prefix=RUN_DIRECTORY_PREFIX))
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), "7", str(leftovers)])
    try:
        wait_for(lambda: find_running(tmp_path), "the run is found")
    finally:
        process.kill()
        process.wait()
    assert find_running(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert not leftovers.exists()


def test_only_a_private_directory_of_ours_is_ever_removed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    for directory in (precious, Path(tempfile.gettempdir()) / "precious"):
        path = tmp_path / "up-3.json"
        path.write_bytes(b'{"pid":3,"started":1,"redis_url":"","gateways":[],"directory":"%s"}' % bytes(directory))
        assert find_running(tmp_path) is None
        assert not path.exists()
    assert precious.exists()


def test_a_file_of_rubbish_is_removed(tmp_path):
    (tmp_path / "up-3.json").write_bytes(b"\xff no json")
    assert find_running(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a directory somebody else's")
def test_a_directory_of_somebody_else_is_not_written_to(tmp_path):
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(PermissionError), published(state(), tmp_path):
        pass


def test_the_runtime_directory_is_preferred_then_home_then_a_temporary_one(tmp_path):
    assert state_directory({"XDG_RUNTIME_DIR": str(tmp_path), "HOME": "/"}) == tmp_path / "tickwire"
    assert state_directory({"XDG_RUNTIME_DIR": "/nowhere", "HOME": str(tmp_path)}) == tmp_path / ".local/state/tickwire"
    assert state_directory({}) == Path(tempfile.gettempdir()) / f"tickwire-{os.getuid()}"
