"""A real server with the users of `deploy/redis/users.acl`, each with a password of its own.

with AclServer(server_binary()) as redis:
    redis.url("gateway"), redis.ask("gateway", "KEYS", "*"), redis.denied()
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from services.launcher.leash import leashed
from services.launcher.ports import free_port
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.bus.redis_client import command
from tests.support.programs import SYSTEM_PATHS
from tests.support.source_tree import ROOT
from tests.support.waiting import eventually

FOLDER: Final = ROOT / "deploy" / "redis"
LINES: Final = (FOLDER / "users.acl").read_text(encoding="utf-8").splitlines()
USERS: Final = tuple(line.split()[1] for line in LINES[1:])


def password(user: str) -> str:
    return f"the password of {user}"


class AclServer:
    """One server; ends with the context.

    Args:
        binary: Redis or Valkey.
        settings: further lines of its configuration.
    """

    def __init__(self, binary: Path, settings: Sequence[str] = ()) -> None:
        self._binary = binary
        self._settings = settings
        self._directory = tempfile.TemporaryDirectory(prefix="tickwire-acl-")
        self._process: subprocess.Popen[bytes] | None = None
        self._buses: dict[str, RedisBus] = {}
        self.port = free_port()

    def __enter__(self) -> Self:
        folder = Path(self._directory.name)
        filled = subprocess.run(
            [FOLDER / "with-passwords.sh"],
            env={
                "PATH": SYSTEM_PATHS,
                **{f"REDIS_PASSWORD_{user.upper().replace('-', '_')}": password(user) for user in USERS},
            },
            capture_output=True,
            timeout=20,
            check=True,
        )
        (folder / "users.acl").write_bytes(filled.stdout)
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {folder}", f"aclfile {folder}/users.acl", 'save ""']
        (folder / "server.conf").write_text("\n".join([*lines, *self._settings, "acllog-max-len 1000"]) + "\n")
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                leashed([str(self._binary), str(folder / "server.conf")]), stdout=log, stderr=log
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()

    def url(self, user: str) -> str:
        """`REDIS_URL` of one user."""
        return f"redis://{user}:{password(user).replace(' ', '%20')}@127.0.0.1:{self.port}"

    def bus(self, user: str) -> RedisBus:
        """A bus of one user."""
        if user not in self._buses:
            self._buses[user] = RedisBus(self.url(user), f"test-{user}")
        return self._buses[user]

    async def up(self) -> None:
        """Wait until it answers."""

        async def answers() -> bool:
            assert self._process is not None
            log = Path(self._directory.name) / "server.log"
            assert self._process.poll() is None, log.read_text(errors="replace")
            try:
                await self.bus("probe").ping()
            except BusUnavailableError:
                return False
            return True

        await eventually(answers, "the server answers")

    async def ask(self, user: str, *words: str | bytes | int) -> Any:
        """What it answers to a command of a user.

        Raises:
            the library's own error.
        """
        return await command(self.bus(user)._client, *words)

    async def denied(self) -> list[str]:
        """Everything that was refused to anybody since the last look: user, why, what."""
        found = await self.ask("operator", "ACL", "LOG")
        await self.ask("operator", "ACL", "LOG", "RESET")
        rows = [row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True)) for row in found]
        return [" ".join(_text(_of(row, key)) for key in ("username", "reason", "context", "object")) for row in rows]

    async def close(self) -> None:
        for bus in self._buses.values():
            await bus.close()


def _of(row: dict[Any, Any], key: str) -> object:
    return row.get(key, row.get(key.encode()))


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
