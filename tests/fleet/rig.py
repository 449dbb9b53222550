"""A fleet: gateways behind a real proxy, the whole pipeline, clients that come back by themselves, and their account.

    Feeder ──► Valkey ──► price-ingest, trade-notifier ──► gateways ──► HAProxy or Envoy ──► stock clients ──► ledger
                                                              └───────────────────────────► probes, watch

The scenarios do something to the gateways meanwhile; `open_fleet` makes and ends all of it.
"""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

from shared.tasks import TaskGroup
from tests.chaos.feeder import Feeder
from tests.chaos.ledger import EXAMPLES, Ledger
from tests.chaos.stores import Store, open_store
from tests.chaos.trial import within
from tests.fleet.balancer import Balancer, open_balancer
from tests.fleet.clients import FleetClients, crew
from tests.fleet.travels import Travels
from tests.soak.verdict import Judged
from tests.support.cluster import Cluster, Service, quiet_port
from tests.support.edge import Backend, Name

SETTLE_S: Final = 60.0
"""Longest wait for what was accepted to have arrived."""

TELL_S: Final = 5.0
Tell = Callable[[str], None]


def silently(_line: str) -> None:
    """Tell nobody how it goes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fleet is made of.

    Attributes:
        gateways: running at first.
        places: that the balancer has, for those that come later too.
        clients: how many.
        edge: what they connect through; None: they know every gateway's address and are light ones in Python.
        settings: of the gateways.
        symbols: each client has one of them.
        rate: trades a second, over all symbols.
    """

    gateways: int
    clients: int
    places: int = 0
    edge: Name | None = "haproxy"
    settings: Mapping[str, str] = field(default_factory=dict)
    symbols: int = 10
    rate: float = 20.0


class Row(NamedTuple):
    """What a scenario comes to."""

    scenario: str
    judged: Sequence[Judged]


class Fleet:
    """A running one.

    Attributes:
        plan: what it is made of.
        gateways: by place; those that have ended too.
        clients: all of them.
        balancer: before the gateways, if there is one.
    """

    def __init__(self, plan: Plan, store: Store, cluster: Cluster, clients: FleetClients, tell: Tell) -> None:
        self.plan = plan
        self.gateways: dict[int, Service] = {}
        self.clients = clients
        self.balancer: Balancer | None = None
        self.symbols = [f"FLEET{number}-USDT" for number in range(plan.symbols)]
        self._tell = tell
        self._store = store
        self._cluster = cluster
        self._began = monotonic()

    async def add(self, *places: int) -> None:
        """Start a gateway at each of some places, at its former port if it had one, and wait until all are ready."""
        for place in places:
            former = self.gateways.get(place)
            port = former.port if former else quiet_port()
            settings = {"GATEWAY_PORT": str(port), **self.plan.settings}
            self.gateways[place] = self._cluster.launch("gateway", **settings)
        for place in places:
            await self.gateways[place].logged("ready")

    def backends(self) -> list[Backend]:
        """Where the gateways listen that are ready, by place."""
        return [Backend.of(self.gateways[place]) for place in sorted(self.gateways)]

    async def enter(self) -> None:
        """Start the clients and wait until all are served."""
        if self.balancer is not None:
            url = self.balancer.url
            members = crew(self.plan.clients, url, self.symbols)
        else:
            urls = [gateway.url for gateway in self.gateways.values()]
            turned = [" ".join(urls[index:] + urls[:index]) for index in range(len(urls))]
            members = [
                member
                for index, url in enumerate(turned)
                for member in crew(self.plan.clients // len(urls), url, self.symbols, first=index * self.plan.clients)
            ]
        await self.clients.enter(members, swarm=self.balancer is None)
        self.say(f"{len(members)} clients are served")

    @asynccontextmanager
    async def trades_flowing(self) -> AsyncIterator[None]:
        """An upstream meanwhile; afterwards all that was accepted has arrived, or the ledger says what has not.

        Begins when every client has had a trade: who has had none has nowhere to be recovered from.
        """
        ledger, began = self.clients.ledger, monotonic()
        feeder = Feeder(self._store.upstream, ledger, self.symbols, self.plan.rate)
        async with TaskGroup() as tasks:
            feeding = tasks.spawn("feeder", feeder.run())
            await within(SETTLE_S, lambda: ledger.healed_after(began) is not None)
            self.clients.travels = Travels()  # how they came is not looked at
            tasks.spawn("progress", self._tell_progress())
            yield
            feeder.stop()
            await feeding
        await within(SETTLE_S, ledger.caught_up)

    async def everyone_served(self, patience_s: float) -> bool:
        """Wait until nobody is on the way any more; whether that came."""
        return await within(patience_s, lambda: self.clients.travels.waiting == 0)

    def account(self) -> list[Judged]:
        """What every scenario owes: what became of each trade at each client."""
        verdict, owed = self.clients.ledger.verdict(), "no trade missed, doubled or out of order"
        found = (
            f"{verdict.trades:,} trades, {verdict.owed:,} owed: {verdict.lost} lost, {verdict.declared} in gaps told, "
            f"{verdict.doubled} doubled, {verdict.disordered} out of order"
        )
        for example in verdict.examples:
            self.say(example)
        often = [client for client, trips in self.clients.travels.trips.items() if len(trips) > 1]
        for client in often[:EXAMPLES]:
            self.say(f"{client} has moved more than once, after {dict(self.clients.lives[client].reasons)}")
        if self.clients.travels.failures:
            self.say(f"clients say: {dict(self.clients.travels.failures)}")
        return [Judged(owed, found, verdict.clean and verdict.owed > 0)]

    def say(self, what: str) -> None:
        """Tell how it goes."""
        self._tell(f"  {monotonic() - self._began:4.0f} s: {what}")

    def spread(self) -> Counter[str]:
        """Gateway -> how many clients are there."""
        return Counter({gateway: len(names) for gateway, names in self.clients.at().items()})

    async def _tell_progress(self) -> None:
        """Now and then, for ever."""
        while True:
            await asyncio.sleep(TELL_S)
            counts = "/".join(str(count) for count in sorted(self.spread().values(), reverse=True))
            self.say(
                f"{counts or 'no'} clients at the gateways, {self.clients.travels.waiting} on their way, "
                f"{len(self.clients.travels.returns)} have come back, {self.clients.ledger.trades:,} trades"
            )


@asynccontextmanager
async def open_fleet(plan: Plan, tell: Tell = silently) -> AsyncIterator[Fleet]:
    """A running fleet, clients served; everything is ended whatever happens."""
    directory = Path(tempfile.mkdtemp(prefix="tickwire-fleet-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        store = await stack.enter_async_context(open_store("plain", confirmed=True))
        tasks = await stack.enter_async_context(TaskGroup())
        clients = FleetClients(tasks, Ledger(), directory / "clients.log")
        stack.push_async_callback(clients.close)
        cluster = stack.enter_context(_QuietCluster(store.url, directory))
        cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"  # the account is of trades
        fleet = Fleet(plan, store, cluster, clients, tell)
        await cluster.start("price-ingest", "trade-notifier")
        await fleet.add(*range(plan.gateways))
        if plan.edge is not None:
            fleet.balancer = await stack.enter_async_context(
                open_balancer(plan.edge, fleet.backends(), directory, spare=plan.places - plan.gateways)
            )
        await fleet.enter()
        yield fleet


class _QuietCluster(Cluster):
    """Shows no logs as it ends: there are many, and the table says what was wrong."""

    def __exit__(self, *_: object) -> None:
        for service in self.services:
            service.kill()
