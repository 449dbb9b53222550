"""`make k8s-smoke`, with a stand-in for kubectl that leads to services of this machine: what it asks and says."""

import asyncio
import sys
from pathlib import Path

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from tests.deploy import smoke
from tests.deploy.manifests import SERVICES
from tests.support.cluster import Cluster
from tests.support.programs import need_program

STANDIN = """\
#!{python}
import os, subprocess, sys, time
words = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(" ".join(words) + "\\n")
if {broken!r} and {broken!r} in words:
    sys.exit("the image is not there")
if "port-forward" in words:
    print("Forwarding from 127.0.0.1:{port} -> 8080", flush=True)
    time.sleep(60)
if "exec" in words:
    typed = words[words.index("valkey-cli") + 1:]
    os.execvp("redis-cli", ["redis-cli", "-u", {redis!r}, *typed[typed.index("xadd"):]])
"""


def standin(folder: Path, port: int, redis: str, broken: str = "") -> Path:
    """A program that does what kubectl would, and writes down what it was asked."""
    program = folder / "kubectl"
    log = str(folder / "asked")
    program.write_text(STANDIN.format(python=sys.executable, log=log, port=port, redis=redis, broken=broken))
    program.chmod(0o755)
    return program


async def test_it_rolls_out_and_sees_a_price(
    cluster: Cluster,
    valkey: EmbeddedValkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    need_program("redis-cli")
    gateway = await cluster.start("gateway")
    await cluster.start("price-ingest")
    program = standin(tmp_path, gateway.port, valkey.url)
    monkeypatch.setenv("KUBECTL", str(program))
    assert await asyncio.to_thread(smoke.main, ["--context", "here"]) == 0
    said = capsys.readouterr().out
    assert ": connected over websocket, subscribed: " in said
    assert "passed: a stock client got SMOKE-TEST at 6400" in said
    assert "kubectl --context here delete namespace tickwire" in said
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert asked[0].endswith("apply -k " + str(smoke.OVERLAY))
    waited = [line.partition("rollout status ")[2].split()[0] for line in asked if "rollout status" in line]
    assert waited == ["statefulset/valkey", *(f"deployment/{service}" for service in SERVICES)]


def test_what_fails_is_said_with_what_the_pods_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECTL", str(standin(tmp_path, 0, "", broken="rollout")))
    assert smoke.main(["--context", "here", "--delete"]) == 1
    assert "the image is not there" in capsys.readouterr().err
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert [line for line in asked if "get events" in line]
    assert asked[-1].endswith("delete namespace tickwire")


def test_nothing_is_changed_until_a_cluster_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECTL", str(standin(tmp_path, 0, "")))
    assert smoke.main([]) == 2
    assert "Needs a cluster" in capsys.readouterr().out
    assert (tmp_path / "asked").read_text(encoding="utf-8").splitlines() == ["config get-contexts -o name"]
