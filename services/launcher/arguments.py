"""What commands are given, checked and completed: from the environment, and from a running `tickwire up`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import typer

from services.launcher.errors import LauncherError
from services.launcher.run_state import RunState, find_running, state_directory
from shared.log import configure_logging
from shared.settings import CommonSettings, SettingsError, load

T = TypeVar("T")

_MAX_SPEED: Final = 1_000_000.0
_DEFAULT_REDIS: Final = "redis://127.0.0.1:6379"
_DEFAULT_GATEWAY_PORT: Final = "8080"


def checked(option: str, parse: Callable[[str], T], text: str) -> T:
    """What an option's text means.

    Raises:
        typer.BadParameter: in the words of the `ValueError` of `parse`.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def parse_speed(text: str) -> float | None:
    """A factor, or None for `max`.

    Raises:
        typer.BadParameter: neither.
    """
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= _MAX_SPEED:
        raise typer.BadParameter(f"{text!r} is neither a positive number nor max", param_hint="--speed")
    return speed


def existing_file(path: Path | None) -> Path:
    """The file of a replay.

    Raises:
        typer.BadParameter: none is named.
        LauncherError: there is no such file.
    """
    if path is None:
        raise typer.BadParameter("--feed replay needs a file: tickwire up --feed replay FILE", param_hint="FILE")
    if not path.is_file():
        raise LauncherError(f"{path}: no such file", "give a trades CSV, plain, .gz or .zip")
    return path


def running_cluster() -> RunState | None:
    """The newest `tickwire up` of this user that still runs."""
    return find_running(state_directory(os.environ))


def find_redis(given: str) -> str:
    """Where a feed publishes: as given, else REDIS_URL, else a running cluster's, else the usual port."""
    if given or os.environ.get("REDIS_URL"):
        return given or os.environ["REDIS_URL"]
    running = running_cluster()
    return running.redis_url if running is not None else _DEFAULT_REDIS


def find_gateways(given: str) -> tuple[str, ...]:
    """Whom `watch` connects to: as given, else a running cluster's gateways, else the usual port."""
    if given:
        return (given if "://" in given else f"http://{given}",)
    running = running_cluster()
    port = os.environ.get("GATEWAY_PORT") or _DEFAULT_GATEWAY_PORT
    return running.gateways if running is not None else (f"http://localhost:{port}",)


def log_as(service: str) -> None:
    """Log as services do, by LOG_LEVEL and LOG_FORMAT.

    Raises:
        LauncherError: one of the common settings is wrong.
    """
    try:
        common = load(CommonSettings, {"LOG_FORMAT": "console", **os.environ})
    except SettingsError as error:
        raise LauncherError("wrong settings", "\n".join(error.problems)) from error
    configure_logging(common.log_level, common.log_format, service=service)
