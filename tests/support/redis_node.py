"""One real Redis or Valkey process that tests kill, freeze and bring back, and a word with it over its port."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, TypeAlias, TypeVar

from services.launcher.leash import leashed

START_S: Final = 10.0
ASK_S: Final = 2.0
POLL_S: Final = 0.05

Reply: TypeAlias = "str | int | list[Reply] | None"

T = TypeVar("T")


class TlsMissingError(Exception):
    """No server that is installed was built with TLS."""


class NodeError(Exception):
    """The server answered with an error, or not at all."""


class RedisNode:
    """A server process with a directory and a configuration file of its own.

    Args:
        binary: what runs.
        directory: made here; its files stay when the process is killed.
        port: on 127.0.0.1. A server with TLS has it in its `settings` too, as `tls-port`, and nothing can be asked.
        settings: further lines of its configuration.
        sentinel: run it as a Sentinel.
    """

    def __init__(
        self, binary: Path, directory: Path, port: int, settings: Sequence[str], *, sentinel: bool = False
    ) -> None:
        self.port = port
        self._tls = any(line.startswith("tls-port") for line in settings)
        self._log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        directory.mkdir()
        lines = [f"port {0 if self._tls else port}", "bind 127.0.0.1", f"dir {directory}", *settings]
        if not sentinel:
            lines += ['save ""', "maxmemory-policy noeviction"]
        configuration = directory / "server.conf"
        configuration.write_text("\n".join(lines) + "\n")
        self._command = [str(binary), str(configuration), *(["--sentinel"] if sentinel else [])]

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Started, not ended; it may be frozen."""
        return self._process is not None and self._process.poll() is None

    def is_up(self) -> bool:
        """Running and not frozen."""
        return self.is_running() and not self._frozen

    def start(self) -> None:
        """Start it, or bring it back, and wait until it takes connections.

        Raises:
            RuntimeError: it ended at once, with its own words.
        """
        assert not self.is_running()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                leashed(self._command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_S
        while not self._accepts():
            if not self.is_running() or time.monotonic() > deadline:
                self.end()
                raise RuntimeError(f"the server did not start: {self._log.read_text(errors='replace')[-800:]}")
            time.sleep(0.01)

    restart = start

    def kill(self) -> None:
        """SIGKILL; its files stay, `restart` brings it back."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._frozen = False

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        self._frozen = True

    def resume(self) -> None:
        """SIGCONT: it goes on where it was."""
        os.kill(self.pid, signal.SIGCONT)
        self._frozen = False

    def end(self) -> None:
        """End it, whatever its state. Harmless when it has ended."""
        if self.is_running():
            self.kill()

    def role(self) -> str | None:
        """`master` or `slave`, None where it does not answer."""
        try:
            reply = self.ask("ROLE")
        except NodeError:
            return None
        assert isinstance(reply, list)
        return str(reply[0])

    def ask(self, *words: str) -> Reply:
        """What it answers to one command.

        Raises:
            NodeError: its error, or no answer within two seconds.
        """
        request = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        try:
            with ExitStack() as stack:
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), ASK_S))
                connection.sendall(request.encode())
                return _reply(stack.enter_context(connection.makefile("rb")))
        except OSError as error:
            raise NodeError(f"{self.port}: {error}") from error

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def free_ports(number: int) -> list[int]:
    """As many ports on 127.0.0.1 that nobody listens on, no two the same."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def until(look: Callable[[], T | None], what: str, patience: float = 20.0) -> T:
    """Look until there is something true to see; that. A server that does not answer yet is looked at again."""
    deadline = time.monotonic() + patience
    while True:
        try:
            seen = look()
        except NodeError as error:
            seen, failure = None, str(error)
        else:
            failure = repr(seen)
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: still {failure} after {patience:g} s")
        time.sleep(POLL_S)


def _reply(source: IO[bytes]) -> Reply:
    line = source.readline().decode().rstrip("\r\n")
    kind, rest = line[:1], line[1:]
    if kind == "-" or not kind:
        raise NodeError(rest or "the connection was closed")
    if kind == ":":
        return int(rest)
    if kind == "$":
        if rest == "-1":
            return None
        data = source.read(int(rest) + 2)[:-2]
        return data.decode(errors="replace")
    if kind == "*":
        return None if rest == "-1" else [_reply(source) for _ in range(int(rest))]
    return rest
