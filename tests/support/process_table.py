"""What tests that start processes share with each other, whatever they start."""

import os
from pathlib import Path
from typing import Final

_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
"""The last one is how a copy of the sources is run in their place."""


def inherited() -> dict[str, str]:
    """What a started process gets of the environment: a developer's own settings must not change what tests see."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def waited_s(pid: int) -> float:
    """How long a process was ready to run so far while its core ran something else: the machine's fault, not its own.

    The second figure of `schedstat` (the kernel's Documentation/scheduler/sched-stats), in ns.

    Raises:
        OSError: it has ended, or the system has no such file.
    """
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be asked how does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
