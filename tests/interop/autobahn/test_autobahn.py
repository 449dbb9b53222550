"""The Autobahn suite's fuzzing client against the gateway's `WebSocket`, where somebody has installed it.

It needs a Python 2.7: `virtualenv<20.22 -p python2.7` and `autobahntestsuite==25.10.1` in it make a `wstest`, which is
looked for in `WSTEST` and on PATH. The same cases, in our own words, are always run: `tests/security/test_websocket_*`.
Groups 12 and 13 are about compression, which is off; group 9 (large messages) takes minutes: `AUTOBAHN_CASES=9.*`.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.support.echo_app import HOST, EchoServer

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(1_800)]

GROUPS: Final = os.environ.get("AUTOBAHN_CASES", "1.*,2.*,3.*,4.*,5.*,6.*,7.*,10.*").split(",")
NOT_OK: Final = {
    **{f"6.4.{number}": {"NON-STRICT"} for number in range(1, 5)},  # bad UTF-8 is found when its message is whole
    "7.1.5": {"FAILED"},  # a goodbye inside a message is a protocol error to us, and the suite wants it to be none
    "7.1.6": {"INFORMATIONAL"},
    "7.13.1": {"INFORMATIONAL"},
    "7.13.2": {"INFORMATIONAL"},
}
"""Every other case must be OK."""


@pytest.fixture(name="wstest")
def installed_suite() -> str:
    """The suite's command."""
    found = os.environ.get("WSTEST") or shutil.which("wstest")
    if not found:
        pytest.skip("no Autobahn suite (wstest) on this machine: it needs a Python 2.7; say where it is with WSTEST")
    return found


async def test_every_case_is_passed_but_those_that_are_known(wstest: str, tmp_path: Path) -> None:
    server = EchoServer(asyncio.get_running_loop())
    port = await server.start()
    spec = {
        "outdir": str(tmp_path / "report"),
        "servers": [{"agent": "tickwire", "url": f"ws://{HOST}:{port}", "options": {"version": 18}}],
        "cases": GROUPS,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    try:
        process = await asyncio.create_subprocess_exec(
            *(wstest, "-m", "fuzzingclient", "-s", str(tmp_path / "spec.json")),
            cwd=tmp_path,
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await process.wait() == 0
    finally:
        server.stop()
    report = json.loads((tmp_path / "report" / "index.json").read_text(encoding="utf-8"))["tickwire"]
    assert len(report) >= len(GROUPS)
    assert {
        case: row["behavior"] for case, row in report.items() if row["behavior"] not in NOT_OK.get(case, {"OK"})
    } == {}
    closes = {case for case, row in report.items() if row["behaviorClose"] not in {"OK", "INFORMATIONAL"}}
    assert closes <= NOT_OK.keys()
