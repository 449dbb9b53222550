"""Starts a command that cannot outlive its starter: `python -m services.launcher.leash STARTER COMMAND...`.

On Linux a process may ask to be signalled when the thread that started it ends, however it ends (`prctl(2)`,
PR_SET_PDEATHSIG), and the wish survives `execve`. So a small process asks, makes sure that its starter still lives,
and becomes the command: same pid, nothing in between. The signal is SIGKILL, because it is sent only when the starter
itself was killed, and by then the Valkey that a service would say goodbye to is gone too.

Two things follow. A leashed command must be started from a thread that lives as long as its process: the main thread.
And elsewhere than on Linux there is nothing to ask: a launcher that is killed with SIGKILL leaves its children behind.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def leashed(command: Sequence[str]) -> list[str]:
    """The command line that runs `command`, an absolute path and its arguments, on a leash of this process."""
    return [*python_module("services.launcher.leash"), str(os.getpid()), *command]


def python_module(name: str) -> list[str]:
    """The command line that runs one of our modules.

    `-P` keeps the current directory off the module path: the user's own may well hold a package called `services`.
    """
    return [sys.executable, "-P", "-m", name]


def main() -> None:
    """Ask, check, become the command."""
    starter, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(starter):  # it died before we asked: nothing would ever be sent
            sys.exit(f"{command[0]}: its launcher is gone")
    os.execv(command[0], command)  # noqa: S606 - the command line comes from `leashed`


if __name__ == "__main__":
    main()
