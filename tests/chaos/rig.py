"""The cluster of a fault run: real processes under a supervisor, a balancer, stock clients, an upstream, and a ledger.

    upstream (feeder) ──► Redis ──► services, each in a `Post` ──► balancer ──► stock clients in Node ──► ledger

`faults` act on it; `trial` judges. A process that dies is started again, as Kubernetes or systemd would; one that ends
without having been killed is a finding.
"""

import asyncio
import json
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from services.launcher.leash import python_module
from services.launcher.ports import free_port
from shared.clock import SystemClock
from shared.tasks import TaskGroup
from tests.chaos.clients import StockClients, Wanted
from tests.chaos.feeder import Feeder
from tests.chaos.ledger import Ledger
from tests.chaos.stores import Store, open_store
from tests.support.cluster import Cluster, Service, token
from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import eventually

GATEWAY: Final = "gateway"
NOTIFIER: Final = "trade-notifier"
INGEST: Final = "price-ingest"
METRICS: Final = "metrics"
REPLICAS: Final = {GATEWAY: 2, NOTIFIER: 2, INGEST: 2, METRICS: 1}

RESTART_S: Final = 1.0
"""From a death to the next start, as a supervisor has it."""

LOOK_S: Final = 0.05
WEBSOCKET: Final = ("websocket",)
TRANSPORTS: Final = (WEBSOCKET, WEBSOCKET, None, ("polling",))
"""Of clients by fours: both parsers at both gateways. None: the library's default, which begins with polling."""

_EXPECTED_ENDS: Final = (0, -signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run needs.

    Attributes:
        redis: kind of store.
        clients: how many, half of them with each parser.
        symbols: how many there are.
        symbols_each: how many of them one client subscribes to; None: all.
        rate: trades a second.
        gathered: a crowd: every client belongs to the first gateway, over WebSocket.
        proxied: the first gateway reaches Redis through a `FaultProxy`.
        prices: whether clients are sent prices, and whether those are judged.
        confirmed: whether upstream and trade-notifier wait for replicas, where there are some, as they should.
        settings: of the gateways.
    """

    redis: str = "plain"
    clients: int = 16
    symbols: int = 20
    symbols_each: int | None = None
    rate: float = 500.0
    gathered: bool = False
    proxied: bool = False
    prices: bool = True
    confirmed: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)


class Post:
    """A place that one process at a time fills.

    Attributes:
        service: who fills it, or has.
        vacant: whether nobody is to fill it any more.
    """

    def __init__(self, cluster: Cluster, name: str, settings: Mapping[str, str]) -> None:
        self.name = name
        self.vacant = False
        self._cluster = cluster
        self._settings = settings
        self.service = self._fill()

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.service.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether its process has told that it is ready, and runs."""
        return self.alive and bool(self.service.lines("ready"))

    def fill_again(self) -> None:
        """Start the next process."""
        self.service = self._fill()

    def _fill(self) -> Service:
        return self._cluster.launch(self.name, **self._settings)


class Rig:
    """One running cluster with its clients.

    Attributes:
        setup: what it is made for.
        store: its Redis.
        clients: its stock clients.
        posts: every service.
        proxy: between the first gateway and Redis, where the setup asks for it.
        crashes: processes that ended by themselves.
        directory: of logs.
    """

    def __init__(self, setup: Setup, store: Store, cluster: Cluster, clients: StockClients, directory: Path) -> None:
        self.setup = setup
        self.store = store
        self.clients = clients
        self.posts: list[Post] = []
        self.proxy: FaultProxy | None = None
        self.crashes: list[str] = []
        self.directory = directory
        self._cluster = cluster
        self._numbers_used = 0

    def of(self, name: str) -> list[Post]:
        """The posts of one service."""
        return [post for post in self.posts if post.name == name]

    async def start(self, tasks: TaskGroup) -> None:
        """Start everything and wait until every client is subscribed."""
        for name, replicas in REPLICAS.items():
            for index in range(replicas):
                self.posts.append(Post(self._cluster, name, self._settings(name, index)))
        await asyncio.gather(*(post.service.logged("ready") for post in self.posts))
        tasks.spawn("supervisor", self._supervise())
        ports = await self._balance()
        crew = self._crew([f"http://127.0.0.1:{port}" for port in ports])
        for parser in ("json", "msgpack"):
            await self.clients.start([wanted for wanted in crew if wanted.parser == parser])
        await self.clients.all_subscribed()

    def turn_page(self) -> tuple[Ledger, Feeder]:
        """A new account, to which all clients belong from now on, and its upstream; both are the caller's to use."""
        ledger, now = Ledger(), monotonic()
        for name, life in self.clients.lives.items():
            ledger.join(name, life.symbols, now)
        self.clients.ledger = ledger
        feeder = Feeder(self.store.upstream, ledger, self._symbols(), self.setup.rate, after=self._numbers_used)
        return ledger, feeder

    def close_page(self, feeder: Feeder) -> None:
        """Numbers go on from here: an old trade can never pass for a new one."""
        self._numbers_used = feeder.sent

    async def whole(self) -> None:
        """Wait until every post that is to be filled is ready."""
        for post in self.posts:
            await eventually(lambda post=post: post.vacant or post.ready, f"{post.name} is ready")  # type: ignore[misc]

    async def _supervise(self) -> None:
        """Fill posts again, and note who ended without having been killed."""
        died: dict[Post, float] = {}
        while True:
            for post in self.posts:
                code = post.service.process.poll()
                if code is None:
                    continue
                if post not in died:
                    died[post] = monotonic()
                    if code not in _EXPECTED_ENDS:
                        self.crashes.append(f"{post.service.log.name} ended with {code}")
                if not post.vacant and monotonic() - died[post] >= RESTART_S:
                    del died[post]
                    post.fill_again()
            await asyncio.sleep(LOOK_S)

    def _settings(self, name: str, index: int) -> dict[str, str]:
        settings = {"OPS_PORT": str(free_port())}
        if name == GATEWAY:
            audience = "everyone" if self.setup.prices else "off"
            settings |= {"GATEWAY_PORT": str(free_port()), "PRICE_BATCH_AUDIENCE": audience, **self.setup.settings}
            if self.proxy is not None and index == 0:
                settings["REDIS_URL"] = self.proxy.url
        elif name == NOTIFIER:
            settings["LOG_REPLICAS"] = str(self.store.upstream.replicas)
        return settings

    async def _balance(self) -> list[int]:
        """Start the balancer: one port for each gateway."""
        gateways = self.of(GATEWAY)
        ports = [free_port() for _ in gateways]
        backends = [(post.service.port, (await post.service.logged("ready"))["ops_port"]) for post in gateways]
        configuration = json.dumps({"backends": backends, "ports": ports})
        balancer = self._cluster.run("balancer", [*python_module("tests.chaos.balancer"), configuration])
        await balancer.logged("ready")
        return ports

    def _crew(self, urls: Sequence[str]) -> list[Wanted]:
        """Parsers and gateways alternate, so that each gateway has clients of each parser and transport."""
        crew, symbols, now_ms = [], self._symbols(), SystemClock().now_ms()
        for number in range(self.setup.clients):
            parser = ("json", "msgpack")[number // 2 % 2]
            transports = WEBSOCKET if self.setup.gathered else TRANSPORTS[number // 4 % len(TRANSPORTS)]
            wanted = symbols
            if self.setup.symbols_each is not None:
                wanted = [symbols[(number + step) % len(symbols)] for step in range(self.setup.symbols_each)]
            crew.append(
                Wanted(
                    name=f"{parser}-{(transports or ('default',))[0]}-{number}",
                    url=urls[0 if self.setup.gathered else number % len(urls)],
                    parser=parser,
                    transports=transports,
                    symbols=tuple(wanted),
                    token=token(f"user-{number}", now_ms=now_ms),
                    prices=self.setup.prices,
                )
            )
        return crew

    def _symbols(self) -> list[str]:
        return [f"CHAOS{number}-USDT" for number in range(self.setup.symbols)]


class _SilentCluster(Cluster):
    """Shows no logs as it ends: there are dozens of them, and they are kept where something went wrong."""

    def __exit__(self, *_: object) -> None:
        for service in self.services:
            service.kill()


@asynccontextmanager
async def open_rig(setup: Setup) -> AsyncIterator[Rig]:
    """A running rig; everything is ended whatever happens, logs are removed unless a caller has moved them."""
    directory = Path(tempfile.mkdtemp(prefix="tickwire-chaos-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        store = await stack.enter_async_context(open_store(setup.redis, confirmed=setup.confirmed))
        tasks = await stack.enter_async_context(TaskGroup())
        clients = StockClients(tasks, Ledger(), directory / "clients.log")
        stack.push_async_callback(clients.close)
        cluster = stack.enter_context(_SilentCluster(store.url, directory))
        rig = Rig(setup, store, cluster, clients, directory)
        if setup.proxied:
            rig.proxy = stack.enter_context(FaultProxy(store.url))
        # Entered last, so that the supervisor ends first: it would start again what is ended after it.
        await rig.start(await stack.enter_async_context(TaskGroup()))
        yield rig
