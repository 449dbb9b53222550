"""`tickwire up`: everything around a running `cluster`: private directory, run state, signals, where output goes."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from services.launcher.board import Captions
from services.launcher.cluster import Cluster
from services.launcher.errors import LauncherError
from services.launcher.plan import Feed, Options, Plan, make_plan
from services.launcher.run_state import RUN_DIRECTORY_PREFIX, RunState, find_running, published, state_directory
from shared.clock import Clock
from shared.log import configure_logging
from shared.settings import CommonSettings, SettingsError, load


async def up(options: Options, environment: Mapping[str, str], clock: Clock) -> None:
    """Run a cluster until it is told to stop.

    Raises:
        LauncherError: it cannot start, or does not stay up.
    """
    states = state_directory(environment)
    find_running(states)  # clears away what runs that were killed have left
    with tempfile.TemporaryDirectory(prefix=RUN_DIRECTORY_PREFIX, ignore_cleanup_errors=True) as name:
        directory = Path(name)
        plan = make_plan(options, environment, directory)
        captions = None if options.plain else _captions(options, plan)
        with (
            _logging(plan, directory / "launcher.log" if captions else None),
            _findable(plan, clock, directory, states),
        ):
            cluster = Cluster(plan, captions, clock, Console())
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, cluster.interrupt)
            await cluster.run()


@contextlib.contextmanager
def _findable(plan: Plan, clock: Clock, directory: Path, states: Path) -> Iterator[None]:
    """Let `watch`, `token` and `feed` find this run."""
    state = RunState(
        pid=os.getpid(),
        started=clock.now_ms(),
        redis_url=plan.redis_url,
        gateways=plan.gateways,
        jwt_secret=plan.setting("JWT_SECRET"),
        jwt_issuer=plan.setting("JWT_ISSUER"),
        jwt_audience=plan.setting("JWT_AUDIENCE"),
        directory=str(directory),
    )
    try:
        with published(state, states):
            yield
    except PermissionError as error:
        raise LauncherError(f"cannot note this run: {error}", "set XDG_RUNTIME_DIR to a directory of yours") from error


@contextlib.contextmanager
def _logging(plan: Plan, file: Path | None) -> Iterator[None]:
    """Send the launcher's own log to a file while a board is on the screen, else to standard error."""
    try:
        common = load(CommonSettings, plan.environment)
    except SettingsError as error:
        raise LauncherError("wrong settings", "\n".join(error.problems)) from error
    with contextlib.ExitStack() as stack:
        if file is not None:
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(file.open("a", encoding="utf-8"))))
        configure_logging(common.log_level, common.log_format, service="launcher")
        yield


def _captions(options: Options, plan: Plan) -> Captions:
    us = _our_name()
    hints = [
        ("watch", f"{us} watch {{symbol}}"),
        ("publish", f"{plan.redis_cli} XADD feed:prices '*' symbol {{symbol}} price 64000.10"),
        ("log in", f"{us} token --sub demo-1"),
    ]
    source = "no feed: publish a price by hand" if options.feed is Feed.NONE else f"feed: {options.feed}"
    return Captions(version("tickwire"), source, plan.gateways, hints)


def _our_name() -> str:
    """How the user can call us from another terminal in this directory."""
    if shutil.which("tickwire"):
        return "tickwire"
    ours = Path(sys.argv[0])
    if ours.name != "tickwire":
        return f"{sys.executable} -m services.launcher"
    return os.path.relpath(ours) if ours.is_relative_to(Path.cwd()) else str(ours)
