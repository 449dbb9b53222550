"""What a process uses, from `/proc`."""

import os
import sys

import pytest

from services.launcher.usage import read_usage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this /proc")


def test_our_own_process_uses_some_memory_and_time():
    usage = read_usage(os.getpid())
    assert usage is not None
    assert usage.memory > 1_000_000
    assert usage.cpu_s > 0


def test_a_process_that_is_gone_uses_nothing_that_could_be_told():
    assert read_usage(2**22 + 1) is None
