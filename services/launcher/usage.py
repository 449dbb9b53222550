"""Memory and processor time of a process that does not report them itself, from `/proc`; nothing elsewhere."""

import os
import resource
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_AFTER_NAME = 11
"""Index of `utime` among the fields of `/proc/PID/stat` after the program's name in brackets (`proc(5)`)."""


class Usage(NamedTuple):
    """Resident bytes, and seconds of processor time since its start."""

    memory: int
    cpu_s: float


def read_usage(pid: int) -> Usage | None:
    """What a process uses; None where it is gone, or the system has no `/proc`."""
    folder = Path("/proc") / str(pid)
    try:
        pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
        fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return Usage(
        pages * resource.getpagesize(), (int(fields[_AFTER_NAME]) + int(fields[_AFTER_NAME + 1])) / _TICKS_PER_S
    )
