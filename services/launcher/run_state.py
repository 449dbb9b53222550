"""Where a running `tickwire up` can be found: one private file each, for `watch`, `token` and `feed` to read.

The file is locked (flock) for as long as its writer lives, and the kernel lets go of the lock with the process however
that ends, so a file without a lock belongs to nobody: whoever reads it removes it, with the run's private directory. A
pid alone would not do: the next process may get the same one.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

RUN_DIRECTORY_PREFIX: Final = "tickwire-up-"
"""Private directories of runs: only one so called is ever removed for a dead run."""


class RunState(msgspec.Struct, frozen=True):
    """One running cluster.

    Attributes:
        pid: of the launcher.
        started: ms since the epoch.
        redis_url: of its Redis.
        gateways: URLs that clients connect to.
        jwt_secret: what it checks tokens with; empty where it has a public key.
        jwt_issuer, jwt_audience: what its tokens must name; empty where nothing is checked.
        directory: the run's private directory.
    """

    pid: int
    started: int
    redis_url: str
    gateways: tuple[str, ...]
    jwt_secret: str = ""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    directory: str = ""


def state_directory(environment: Mapping[str, str]) -> Path:
    """Where the files lie: `$XDG_RUNTIME_DIR`, else the user's state directory, else a temporary one of this user."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "tickwire"
    home = environment.get("HOME", "")
    if home and Path(home).is_dir():
        return Path(home) / ".local" / "state" / "tickwire"
    return Path(tempfile.gettempdir()) / f"tickwire-{os.getuid()}"


@contextmanager
def published(state: RunState, directory: Path) -> Iterator[None]:
    """Let others find this run until the block ends.

    Raises:
        PermissionError: the directory belongs to somebody else, who could read the secret.
    """
    _make_private(directory)
    path = directory / f"up-{state.pid}.json"
    fresh = directory / f".up-{state.pid}.new"
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(msgspec.json.encode(state))
        file.flush()
        fresh.replace(path)  # complete and locked before anybody can find it
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def find_running(directory: Path) -> RunState | None:
    """The newest run that still lives, None where there is none; what dead ones left is removed."""
    living = [state for path in directory.glob("up-*.json") if (state := _read_living(path)) is not None]
    return max(living, key=lambda state: state.started, default=None)


def _read_living(path: Path) -> RunState | None:
    try:
        with path.open("rb") as file:
            text = file.read()
            dead = _lock(file.fileno())
    except OSError:
        return None  # it ended while we looked, or is another user's
    try:
        state = msgspec.json.decode(text, type=RunState)
    except msgspec.DecodeError:
        state = None
    if not dead:
        return state
    path.unlink(missing_ok=True)
    if state is not None:
        _remove_leftovers(Path(state.directory))
    return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_leftovers(directory: Path) -> None:
    if directory.name.startswith(RUN_DIRECTORY_PREFIX) and directory.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(directory, ignore_errors=True)


def _make_private(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if directory.stat().st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to another user")
    with suppress(PermissionError):
        directory.chmod(0o700)
