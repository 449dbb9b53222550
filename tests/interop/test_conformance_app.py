"""The conformance app as a command: what it says, how it ends."""

import signal
import socket
import subprocess
import sys
from typing import Final

import pytest

from tests.support.conformance_client import ROOT, Poller, Wire
from tests.support.waiting import PATIENCE_S

COMMAND: Final = (sys.executable, "-m", "tests.interop.conformance_app")


def test_help_shows_an_example() -> None:
    shown = subprocess.run([*COMMAND, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m tests.interop.conformance_app --port 3000" in shown.stdout


def test_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = subprocess.run(
            [*COMMAND, "--port", str(port)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_app_says_goodbye_and_ends_when_told_to(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    command = [*COMMAND, "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 - as short
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            poller = await Poller.open(port)
            async with await Wire.connect(port) as wire, await poller.parked() as parked:
                process.send_signal(number)
                assert await wire.goodbye() == 1012
                assert (await parked.answer()).text == "1"
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
