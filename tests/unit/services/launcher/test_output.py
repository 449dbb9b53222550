"""A reader that leaves is noticed, once, and not complained about."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from services.launcher.output import PipeConsole


def test_a_console_tells_that_its_reader_has_left():
    reading, writing = os.pipe()
    os.close(reading)
    # Closing flushes once more what could not be written.
    with suppress(BrokenPipeError), os.fdopen(writing, "w", buffering=1) as pipe, pytest.raises(BrokenPipeError):
        PipeConsole(file=pipe).print("x")


def test_python_says_nothing_of_it_at_exit():
    program = (
        "import sys\n"
        "from services.launcher.output import let_go_of_stdout\n"
        "try:\n    print('x' * 100_000, flush=True)\n"
        "except BrokenPipeError:\n    let_go_of_stdout()\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, check=False, timeout=20
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")
