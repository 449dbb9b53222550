"""`tickwire up` as a user runs it: real processes, real signals, a real terminal where it matters."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from services.launcher.run_state import RunState, find_running, state_directory
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from tests.support.process_table import alive, inherited
from tests.support.waiting import PATIENCE_S, STOP_S, wait_for

TICKWIRE: Final = (sys.executable, "-P", "-m", "services.launcher")
START_S: Final = 40.0
"""The longest that a whole cluster may take to be ready."""

SERVICES: Final = ("gateway", "price-ingest", "trade-notifier", "metrics")
QUIET: Final = ("--plain", "--feed", "none", "--redis-port", "0", "--port", "0")
IN_A_TERMINAL: Final = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the controlling terminal, so that Ctrl-C typed there becomes a signal."""


class Up:
    """A running `tickwire up`; everything that it starts is found by asking the kernel for its children."""

    def __init__(self, directory: Path, *words: str, **settings: str) -> None:
        self.directory = directory
        self.environment = {
            **inherited(),
            "XDG_RUNTIME_DIR": str(directory),
            "TMPDIR": str(directory),
            "GATEWAY_HOST": "127.0.0.1",
            "LOG_FORMAT": "json",
            **settings,
        }
        self.out, self.err = directory / "out", directory / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [*TICKWIRE, "up", *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.seen: set[int] = set()

    def children(self) -> dict[str, int]:
        """Name -> pid of what runs now, remembered for the end."""
        found = {}
        for pid in children_of(self.process.pid):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                found[name_of(words)] = pid
                self.seen.add(pid)
        return found

    def figures(self) -> dict[str, Any]:
        """The last line of figures; empty before the first."""
        whole = self.out.read_text().rpartition("\n")[0] if self.process.poll() is None else self.fail()
        return json.loads(whole.splitlines()[-1]) if whole else {}

    def fail(self) -> str:
        raise AssertionError(f"it ended with {self.process.returncode}:\n{self.err.read_text()[-3000:]}")

    def wait_ready(self) -> dict[str, Any]:
        """Wait for a new line in which every service is ready."""
        told = len(self.out.read_text().splitlines())

        def ask() -> dict[str, Any]:
            figures = self.figures() if len(self.out.read_text().splitlines()) > told else {}
            states = figures.get("services", {})
            return figures if all(states.get(name) == "ready" for name in SERVICES) else {}

        figures = wait_for(ask, "every service is ready", START_S)
        self.children()
        return figures

    def state(self) -> RunState:
        found = find_running(state_directory(self.environment))
        assert found is not None
        return found

    def interrupt(self) -> int:
        """Ctrl-C: SIGINT to its whole process group; how it ended."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(STOP_S)

    def nothing_left(self, patience: float) -> None:
        assert self.seen
        wait_for(lambda: not [pid for pid in self.seen if alive(pid)], "no process is left", patience)


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def name_of(words: list[str]) -> str:
    """`gateway` for `python -m services.gateway`, `valkey` for the one that is none of ours."""
    module = next((word for word in words if word.startswith("services.") and not word.endswith("leash")), "")
    return module.removeprefix("services.") or "valkey"


async def publish(redis_url: str, **fields: str) -> None:
    """What `redis-cli XADD feed:prices * ...` does."""
    bus = RedisBus(redis_url, "test")
    await bus.append(redis_keys.FEED_PRICES, [fields], 1000)
    await bus.close()


@contextlib.contextmanager
def up(directory: Path, *words: str, **settings: str) -> Iterator[Up]:
    running = Up(directory, *(words or QUIET), **settings)
    try:
        yield running
    finally:
        running.children()
        running.process.kill()
        running.process.wait()
        for pid in filter(alive, running.seen):  # none, unless the leash is broken
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        sys.stderr.write(running.err.read_text()[-3000:])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("cluster")) as running:
        running.wait_ready()
        yield running


def test_one_line_to_redis_appears_at_tickwire_watch(cluster):
    words = [*TICKWIRE, "watch", "BTC-USDT"]
    with subprocess.Popen(words, env=cluster.environment, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        asyncio.run(publish(cluster.state().redis_url, symbol="BTC-USDT", price="64000.10"))
        assert "64000.10" in client.stdout.readline()
        client.send_signal(signal.SIGINT)
        assert client.wait(STOP_S) == 0


def test_the_lines_show_what_a_client_sees(cluster):
    wait_for(lambda: cluster.figures()["link"].startswith("price:batch"), "the launcher's own client is connected")
    asyncio.run(publish(cluster.state().redis_url, symbol="ETH-USDT", price="3120.50"))
    wait_for(lambda: cluster.figures()["prices"].get("ETH-USDT") == "3120.50", "the price is in the figures")
    assert cluster.figures()["clients"] == 0


def test_a_token_of_the_running_cluster_is_accepted_and_a_foreign_one_is_not(cluster):
    ours = subprocess.run([*TICKWIRE, "token"], env=cluster.environment, capture_output=True, text=True, check=True)
    words = [*TICKWIRE, "watch", "BTC-USDT", "--token"]
    with subprocess.Popen(
        [*words, ours.stdout.strip()], env=cluster.environment, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stderr is not None
        assert client.stderr.readline().startswith("watching BTC-USDT at http://127.0.0.1:")
        client.terminate()
    refused = subprocess.run([*words, "x.y.z"], env=cluster.environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "Authentication failed" in refused.stderr


def test_watching_nothing_valid_ends_with_the_gateways_reason(cluster):
    done = subprocess.run(
        [*TICKWIRE, "watch", "no way!"], env=cluster.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no way!: Invalid symbol (201)" in done.stderr


@pytest.mark.parametrize("name", ["metrics", "gateway", "valkey"])
def test_a_killed_child_is_started_again(cluster, name):
    first = cluster.children()[name]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: cluster.children().get(name, first) != first, f"{name} runs again")
    cluster.wait_ready()


def test_ctrl_c_leaves_no_process_and_no_file_behind(tmp_path):
    with up(tmp_path) as running:
        running.wait_ready()
        private = Path(running.state().directory)
        assert private.is_dir()
        assert running.interrupt() == 0
        running.nothing_left(1)
        assert not private.exists()
        assert find_running(state_directory(running.environment)) is None
    assert "Traceback" not in running.err.read_text()


def test_a_second_ctrl_c_hurries_and_shows_no_traceback(tmp_path):
    with up(tmp_path) as running:
        running.wait_ready()
        os.kill(running.children()["trade_notifier"], signal.SIGSTOP)  # it cannot stop by itself
        os.killpg(running.process.pid, signal.SIGINT)
        wait_for(lambda: len(running.children()) <= 2, "the others stop")
        assert running.process.poll() is None
        assert running.interrupt() == 0
        running.nothing_left(1)
    assert "Traceback" not in running.err.read_text()


def test_killing_the_launcher_leaves_nothing_behind_either(tmp_path):
    with up(tmp_path) as running:
        running.wait_ready()
        private = Path(running.state().directory)
        running.process.kill()
        running.process.wait()
        running.nothing_left(5)
        after = subprocess.run(
            [*TICKWIRE, "token"], env=running.environment, capture_output=True, text=True, check=False
        )
        assert "no `tickwire up` is running" in after.stderr
        assert not private.exists()


def test_sigterm_stops_it_as_ctrl_c_does(tmp_path):
    with up(tmp_path) as running:
        wait_for(lambda: len(running.children()) >= 3, "it starts")  # and is stopped while it does
        running.process.terminate()
        assert running.process.wait(STOP_S) == 0
        running.nothing_left(1)


def test_a_wrong_setting_ends_it_with_the_services_own_words(tmp_path):
    with up(tmp_path, PING_INTERVAL_MS="soon") as running:
        wait_for(running.children, "it starts")
        assert running.process.wait(STOP_S) == 1
    assert "PING_INTERVAL_MS='soon'" in running.err.read_text()
    assert "gateway does not stay up" in running.err.read_text()


def test_a_taken_port_ends_it_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*TICKWIRE, "up", "--plain", "--feed", "none", "--redis-port", "0", "--port", port],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "GATEWAY_HOST": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert "--port" in done.stderr


def test_settings_prints_every_setting_of_every_service():
    done = subprocess.run([*TICKWIRE, "settings", "--json"], capture_output=True, text=True, check=True)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert set(rows["REDIS_URL"]["services"]) == set(SERVICES)
    assert rows["GATEWAY_PORT"]["services"] == ["gateway"]
    assert "TICKWIRE_REDIS_SERVER" in rows
    assert all(row["meaning"] for row in rows.values())
    assert len(rows) == len(json.loads(done.stdout)), "two services disagree about a setting"


class Terminal:
    """A terminal of 120 by 40, with a command in it."""

    def __init__(self, *words: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, *words],
            env={**inherited(), "TERM": "xterm-256color", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.shown = ""

    def see(self, pattern: str, patience: float = PATIENCE_S) -> None:
        """Wait until what was written matches."""

        def ask() -> bool:
            with contextlib.suppress(OSError):  # nothing to read now, or nobody left to write
                while piece := os.read(self._master, 65_536).decode(errors="replace"):
                    self.shown += piece
            return re.search(pattern, self.shown) is not None

        wait_for(ask, f"the terminal shows {pattern!r}", patience)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_the_board_moves_in_a_terminal_and_gives_it_back(tmp_path):
    words = [*TICKWIRE, "up", "--redis-port", "0", "--port", "0", "--symbols", "30"]
    with contextlib.closing(Terminal(*words, XDG_RUNTIME_DIR=str(tmp_path), GATEWAY_HOST="127.0.0.1")) as terminal:
        terminal.see(r"\x1b\[\?1049h")  # the board takes the screen
        terminal.see("SIMULATED")
        terminal.see(r"BTC-USDT[^\n]*6\d{4}\.\d\d")
        terminal.see(r"1;32m[^\x1b]*▲")  # a price that rose is green
        terminal.see(r"1;31m[^\x1b]*▼")
        terminal.see("● ready", START_S)
        children = children_of(terminal.process.pid)
        terminal.type(b"\x03")
        terminal.see("Nothing is left running")
        assert terminal.process.wait(STOP_S) == 0
        assert "\x1b[?1049l" in terminal.shown
        assert "Traceback" not in terminal.shown
        assert not [pid for pid in children if alive(pid)]
