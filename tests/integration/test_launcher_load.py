"""`tickwire load` as a user runs it: real processes, a real cluster of its own, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.process_table import alive, inherited
from tests.support.waiting import PATIENCE_S, wait_for

TICKWIRE: Final = (sys.executable, "-P", "-m", "services.launcher")
RUN_S: Final = 90.0
SMALL: Final = ("--clients", "20", "--symbols", "40", "--ticks", "100", "--seconds", "1")


def environment(directory: Path) -> dict[str, str]:
    return {**inherited(), "XDG_RUNTIME_DIR": str(directory), "TMPDIR": str(directory), "COLUMNS": "100"}


def load(directory: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*TICKWIRE, "load", *words, "--out", str(directory)],
        env={**environment(directory), **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def written(directory: Path, result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = directory.glob("load-*.json")
    plain: dict[str, Any] = json.loads(path.read_bytes())
    return plain


def test_every_price_arrives_and_is_timed_in_both_formats(tmp_path):
    result = load(tmp_path, "fanout", "--start", *SMALL, "--seconds", "2", "--parser", "both")
    figures = written(tmp_path, result)
    counts = figures["counts"]
    assert counts["served"] == 20
    assert figures["published"] == 200
    assert figures["expected"] == 200 * 20 * 20 // 40
    represented = figures["delivered"] * counts["represented"] / counts["sampled"]
    assert represented == pytest.approx(figures["expected"], rel=0.02)
    assert counts["gaps"] == counts["unreadable"] == counts["rejected"] == 0
    assert 0 < figures["latency"]["p50_ms"] <= figures["latency"]["p99_ms"] < RUN_S * 1e3
    assert [process["name"] for process in figures["processes"]] == ["gateway", "price-ingest", "valkey"]
    assert all(process["memory_after"] > 0 for process in figures["processes"])
    assert "prices delivered" in result.stdout
    assert "measuring" in result.stderr

    (path,) = tmp_path.glob("load-fanout-*.html")
    page = path.read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert page.count("<svg") >= 5
    assert page.count("http") == page.count(figures["url"]) == 1, "the server's is the only address"


def test_all_clients_come_back_after_a_storm(tmp_path):
    figures = written(tmp_path, load(tmp_path, "storm", "--start", *SMALL, "--no-html", "--workers", "2"))
    assert figures["storm"]["unserved"] == 0
    assert 0 < figures["storm"]["all_served_s"] < RUN_S
    assert figures["counts"]["served"] == 20
    assert figures["connecting"]["count"] == 20
    assert list(tmp_path.glob("*.html")) == []


def test_clients_come_and_go_in_churn(tmp_path):
    figures = written(tmp_path, load(tmp_path, "churn", "--start", *SMALL, "--churn", "40", "--no-html"))
    assert figures["answers"]["count"] == pytest.approx(2 * 40, rel=0.5)
    assert figures["counts"]["rejected"] == figures["counts"]["gaps"] == 0


def test_stalled_readers_are_compared_with_the_time_before(tmp_path):
    figures = written(tmp_path, load(tmp_path, "slow", "--start", *SMALL, "--slow-share", "0.5", "--symbols-per-client", "20", "--no-html"))  # fmt: skip # noqa: E501 - one command line
    assert figures["before"]["count"] > 0
    everything = figures["published"] * 20 * 20 / 40
    assert everything * 0.4 < figures["delivered"] < everything * 0.75


def test_an_idle_connection_has_a_cost_in_memory(tmp_path):
    figures = written(tmp_path, load(tmp_path, "idle", "--start", "--clients", "300", "--seconds", "1", "--no-html"))
    assert figures["published"] == figures["delivered"] == 0
    assert 500 < figures["bytes_per_connection"] < 100_000


def test_a_server_that_is_not_there_is_said_to_be_missing(tmp_path):
    path = tmp_path / "hasty.toml"
    path.write_text("clients = 2\npatience_s = 1\n")
    result = load(tmp_path, str(path), "--url", "http://127.0.0.1:9", "--redis-url", "redis://127.0.0.1:9")
    assert result.returncode == 1
    assert "no client was served at http://127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr


def children_of(pid: int) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.add(int(path.parent.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_that_it_started(tmp_path, number):
    words = [*TICKWIRE, "load", "fanout", "--start", *SMALL, "--seconds", "600", "--out", str(tmp_path)]
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            words, env=environment(tmp_path), stdin=subprocess.DEVNULL, stdout=err, stderr=err, start_new_session=True
        )
    try:
        wait_for(lambda: "measuring" in (tmp_path / "err").read_text(), "it measures")
        started = children_of(process.pid)
        assert len(started) == 5, "valkey, gateway, price-ingest, publisher, worker"
        os.kill(process.pid, number)
        assert process.wait(PATIENCE_S) == 130
        wait_for(lambda: not any(alive(pid) for pid in started), "all of them are gone")
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in (tmp_path / "err").read_text()
