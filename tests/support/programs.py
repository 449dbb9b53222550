"""Programs that the system's packages bring: found or skipped, run in the foreground, always ended, their log shown."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from services.launcher.leash import leashed
from tests.support.process_table import inherited
from tests.support.source_tree import ROOT

SYSTEM_PATHS: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
GRACE_S: Final = 5.0
LOG_TAIL: Final = 4_000


def need_program(name: str) -> str:
    """The path of an installed program; skips the test where there is none."""
    found = shutil.which(name, path=SYSTEM_PATHS)
    if found is None:
        pytest.skip(f"no {name} on this machine: `make system` installs it on Debian and its like, as root")
    return found


@contextmanager
def running(command: Sequence[str], log: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program meanwhile, in a session of its own, so that nothing that it starts can be left over."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            leashed(command),
            cwd=ROOT,
            env={**inherited(), "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        sys.stderr.write(f"--- {log} ---\n{log.read_text(encoding='utf-8', errors='replace')[-LOG_TAIL:]}\n")
