"""A cluster of one's own for one load test (`--start`): an embedded Valkey, one gateway, one price-ingest.

Fed by the command line; feeds `run` with a target. Everything is gone at the end, its log files too.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from services.launcher.embedded_valkey import EmbeddedValkey
from services.launcher.errors import LauncherError
from services.launcher.leash import python_module
from services.launcher.load.target import Target, resolve
from services.launcher.plan import Feed, Options, make_plan
from services.launcher.processes import Child, stop
from shared.log import get_logger
from shared.tasks import TaskGroup

log = get_logger(__name__)

READY_S: Final = 30.0
NEEDED: Final = frozenset({"gateway", "price-ingest"})
_POLL_S: Final = 0.05
_OURS: Final = {
    "GATEWAY_HOST": "127.0.0.1",
    "OPS_HOST": "127.0.0.1",
    "PRICE_BATCH_AUDIENCE": "off",  # clients get what they subscribe to, and are counted by it
}
"""Unless the environment says otherwise."""


def publisher_of(redis_url: str) -> tuple[str, ...]:
    """The command line of our publisher."""
    return (*python_module("services.launcher.load.publish"), redis_url)


@asynccontextmanager
async def own_cluster(environment: Mapping[str, str]) -> AsyncIterator[Target]:
    """Start it, wait until it is ready, and stop it in the end.

    Args:
        environment: settings of the services; `REDIS_URL` is not read.

    Raises:
        LauncherError: it does not get ready, or does not stay up.
    """
    with EmbeddedValkey() as valkey, tempfile.TemporaryDirectory(prefix="tickwire-load-") as name:
        directory = Path(name)
        settings = {**_OURS, **environment, "REDIS_URL": valkey.url, "LOG_FORMAT": "json"}
        plan = make_plan(Options(feed=Feed.NONE, port=0), settings, directory)
        wanted = [command for command in plan.services if command.name in NEEDED]
        children = [Child(command, _tell) for command in wanted]
        try:
            async with TaskGroup() as tasks:
                for child in children:
                    tasks.spawn(child.command.name, child.run())
                await _ready(children)
                url = plan.gateways[0]
                host, port = resolve(url)
                pids = {child.command.name: child.pid for child in children if child.pid is not None}
                yield Target(url, host, port, publisher_of(valkey.url), {**pids, "valkey": valkey.pid})
        finally:
            await stop(children, asyncio.Event())


async def _ready(children: list[Child]) -> None:
    """Wait until each has logged that it is."""
    waiting = [child.command for child in children]
    try:
        async with asyncio.timeout(READY_S):
            while waiting:
                await asyncio.sleep(_POLL_S)
                waiting = [command for command in waiting if command.log is None or not _says_ready(command.log)]
    except TimeoutError:
        raise LauncherError(f"{waiting[0].name} is not ready within {READY_S:.0f} s") from None


def _says_ready(path: Path) -> bool:
    try:
        return '"event":"ready"' in path.read_text(encoding="utf-8").replace('": "', '":"')
    except FileNotFoundError:
        return False


def _tell(text: str) -> None:
    log.warning("child_changed", change=text)
