"""The servers that `bench_peers` compares, each started alone on a core of its own."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.launcher.leash import leashed, python_module
from services.launcher.load.own_cluster import publisher_of
from services.launcher.load.target import Target
from services.launcher.ports import free_port
from shared.bus.redis_bus import RedisBus

PEERS: Final = Path(__file__).parent / "peers"
NODE_FOLDER: Final = PEERS / "node"
PYTHON_FOLDER: Final = PEERS / "python"
PEER_PYTHON: Final = PYTHON_FOLDER / ".venv" / "bin" / "python"
START_S: Final = 20.0
STOP_S: Final = 5.0
HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class Cores:
    """Which cores the server has, and which everything else; the same where there is only one."""

    server: frozenset[int]
    others: frozenset[int]

    @classmethod
    def split(cls) -> "Cores":
        allowed = sorted(os.sched_getaffinity(0))
        return cls(frozenset(allowed[:1]), frozenset(allowed[1:] or allowed))

    @property
    def apart(self) -> bool:
        return not self.server & self.others


@contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """What is started inside runs there: a child inherits it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@asynccontextmanager
async def process(
    words: Sequence[str], environment: Mapping[str, str], cores: frozenset[int], folder: Path | None = None
) -> AsyncIterator[int]:
    """A child on some cores, by its pid; ended in the end."""
    with on_cores(cores):
        child = await asyncio.create_subprocess_exec(
            *leashed(words),
            env={**os.environ, **environment},
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield child.pid
    finally:
        if child.returncode is None:
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), STOP_S)
        except TimeoutError:
            child.kill()
            await child.wait()


@asynccontextmanager
async def node(redis_url: str, cores: Cores) -> AsyncIterator[Target]:
    """Socket.IO for Node with its Redis adapter; its emitter publishes."""
    program = program_of("node")
    port = free_port()
    words = (program, str(NODE_FOLDER / "app.cjs"), redis_url, str(port))
    async with process(words, {"NODE_ENV": "production"}, cores.server) as pid:
        await accepts(port)
        publisher = (program, str(NODE_FOLDER / "publish.cjs"), redis_url)
        yield Target(f"http://{HOST}:{port}", HOST, port, publisher, {"node": pid})


@asynccontextmanager
async def python_socketio(redis_url: str, cores: Cores) -> AsyncIterator[Target]:
    """python-socketio with AsyncRedisManager under uvicorn and uvloop; a write-only manager publishes."""
    port = free_port()
    words = (str(PEER_PYTHON), "-m", "uvicorn", "app:app", "--host", HOST, "--port", str(port), "--loop", "uvloop")
    quiet = ("--log-level", "warning", "--no-access-log")
    async with process((*words, *quiet), {"REDIS_URL": redis_url}, cores.server, PYTHON_FOLDER) as pid:
        await accepts(port)
        publisher = (str(PEER_PYTHON), str(PYTHON_FOLDER / "publish.py"), redis_url)
        yield Target(f"http://{HOST}:{port}", HOST, port, publisher, {"python-socketio": pid})


@asynccontextmanager
async def tickwire(redis_url: str, cores: Cores) -> AsyncIterator[Target]:
    """A gateway, fed by a price-ingest on the other core, which is accounted by itself.

    Without the market's batch for everybody: no peer has it.
    """
    port = free_port()
    common = {"REDIS_URL": redis_url, "OPS_PORT": "0", "OPS_HOST": HOST, "LOG_LEVEL": "error"}
    gateway = {**common, "GATEWAY_HOST": HOST, "GATEWAY_PORT": str(port), "PRICE_BATCH_AUDIENCE": "off"}
    gateway["DRAIN_SECONDS"] = "0"
    async with (
        process(python_module("services.price_ingest"), common, cores.others) as ingest_pid,
        process(python_module("services.gateway"), gateway, cores.server) as gateway_pid,
    ):
        await accepts(port)
        watched = {"gateway": gateway_pid, "price-ingest": ingest_pid}
        yield Target(f"http://{HOST}:{port}", HOST, port, publisher_of(redis_url), watched)


@dataclass(frozen=True)
class Server:
    """One of those compared: the name of its figures, what it is for people, and how it starts."""

    name: str
    label: str
    started: Callable[[str, Cores], AbstractAsyncContextManager[Target]]


SERVERS: Final = (
    Server("node", "Socket.IO for Node, Redis adapter", node),
    Server("python-socketio", "python-socketio, AsyncRedisManager", python_socketio),
    Server("tickwire", "Tickwire", tickwire),
)


async def accepts(port: int) -> None:
    """Wait until something listens there."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def empty(redis_url: str) -> None:
    """Forget everything that the server before has left in Redis."""
    bus = RedisBus(redis_url, "bench-peers")
    await bus._client.flushall()
    await bus.close()


def program_of(name: str) -> str:
    """Absolute path of a program.

    Raises:
        FileNotFoundError: there is none.
    """
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not on PATH")
    return found
