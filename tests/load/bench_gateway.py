"""What a gateway costs: CPU for each delivered update, bytes for each idle connection, and how late a crowd is served.

`make bench` runs the first table: a real Valkey, one real gateway process, clients in others, all on this machine.
Figures are ratios to a floor measured in the same run, since machines differ: one plain `send()` of a ready frame, with
as many sockets. 500 clients watch 20 of 200 symbols each, so that every tick goes to about 50 of them. `--scaling`
shows the cost of an update by the number of clients, and of symbols that nobody watches; `--crowd` serves 10,000
clients at once, `--storm` lets them all connect at once.
"""

import argparse
import asyncio
import random
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.tasks import TaskGroup
from tests.load.floor import microseconds_per_send
from tests.load.rig import Gateway, Publisher, Swarm
from tests.load.swarm import Subscription

WATCHED = 200
SYMBOLS_PER_CLIENT = 20
BATCH: dict[str, object] = {"deliver": "batch"}
WINDOW_MS = 100


@dataclass(frozen=True)
class Load:
    """What is measured.

    Attributes:
        ticks: a second, of all symbols together.
        interval: seconds between publications.
        options: of the subscriptions.
        alike: how many clients subscribe to the same symbols.
        symbols: that tick; clients watch the first `WATCHED`.
        processes: of clients.
    """

    what: str
    ticks: int
    interval: float
    options: dict[str, object]
    clients: int = 500
    alike: int = 1
    symbols: int = WATCHED
    processes: int = 1


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        cpu_us: of the gateway for each update delivered.
        busy: share of a core that the gateway had.
        swarm_busy: the clients' shares together; near the number of their processes, they are the limit.
        ages: ms from the oldest tick in a price to its arrival, sorted; of batches alone.
    """

    what: str
    updates: int
    cpu_us: float
    floor_us: float
    rate: float
    busy: float
    swarm_busy: float
    ages: list[float]

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        ratio = f"{self.cpu_us / self.floor_us:.2f}"
        ages = f"{_quantile(self.ages, 0.5):.0f} / {_quantile(self.ages, 0.99):.0f}" if self.ages else ""
        numbers = (f"{self.cpu_us:.2f}", f"{self.floor_us:.2f}", ratio, f"{self.rate:,.0f}")
        return (self.what, *numbers, f"{self.busy:.0%}", f"{self.swarm_busy:.0%}", ages)


LOADS = (
    Load("immediate, one message a tick", 1000, 0.0, {}),
    Load("immediate, ingest's 10 ms batches", 1000, 0.01, {}),
    Load("batches of 20, every client its own symbols", 2000, 0.01, BATCH),
    Load("batches of 20, 50 clients alike", 2000, 0.01, BATCH, alike=50),
)

SCALING = (
    *(
        Load(f"immediate, {clients:,} clients", 5_000_000 // clients // 10, 0.01, {}, clients, processes=2)
        for clients in (100, 1_000, 5_000, 10_000)
    ),
    *(
        Load(f"batches of 20, {clients:,} clients", 2000, 0.01, BATCH, clients, processes=2)
        for clients in (100, 1_000, 5_000, 10_000)
    ),
    *(
        Load(f"immediate, {symbols:,} symbols tick", 5 * symbols, 0.01, {}, symbols=symbols)
        for symbols in (200, 1_000, 10_000)
    ),
)

CROWD = (Load("10,000 clients x 20, 5,000 ticks/s", 5_000, 0.01, BATCH, 10_000, processes=2),)


def subscriptions(load: Load) -> list[Subscription]:
    """20 of 200 symbols for each client, at random but the same in every run; each is watched by a tenth of them."""
    names = symbol_names(WATCHED)
    chance = random.Random(7)
    chosen: list[list[str]] = []
    for client in range(load.clients):
        chosen.append(chosen[-1] if client % load.alike else chance.sample(names, SYMBOLS_PER_CLIENT))
    return [[symbols, load.options] for symbols in chosen]


def symbol_names(count: int) -> list[str]:
    """All of one length."""
    return [f"SYM-{number:04}" for number in range(count)]


async def measure(redis_url: str, load: Load, seconds: float) -> Row:
    """CPU of one gateway for each update delivered under a steady load."""
    floor_before = microseconds_per_send(1.0, sockets=load.clients)
    gateway = await Gateway.start(redis_url, PRICE_BATCH_AUDIENCE="off")
    swarm = await Swarm.start(gateway.port, subscriptions(load), load.processes)
    bus = RedisBus(redis_url, "bench")
    publisher = Publisher(bus, symbol_names(load.symbols), load.interval)
    try:
        await publisher.run(load.ticks, 1.0)  # warm
        (before, swarm_cpu, _), cpu, begun = await swarm.counted(), gateway.cpu_seconds(), time.monotonic()
        await publisher.run(load.ticks, seconds)
        await asyncio.sleep(0.3)
        (after, swarm_cpu_after, ages), cpu = await swarm.counted(), gateway.cpu_seconds() - cpu
        took = time.monotonic() - begun
    finally:
        await bus.close()
        await swarm.stop()
        await gateway.stop()
    floor = (floor_before + microseconds_per_send(1.0, sockets=load.clients)) / 2
    pace = 1000 * load.symbols / load.ticks
    oldest = sorted(newest + (n - 1) * pace for newest, n in ages)
    updates = after - before
    busy, swarm_busy = cpu / took, (swarm_cpu_after - swarm_cpu) / took
    return Row(load.what, updates, cpu / updates * 1e6, floor, updates / took, busy, swarm_busy, oldest)


async def measure_memory(redis_url: str, clients: int) -> float:
    """Resident bytes for each idle connection."""
    gateway = await Gateway.start(redis_url)
    few = await Swarm.start(gateway.port, [None] * 200)  # what is allocated once, by the first clients
    before = gateway.resident_bytes()
    many = await Swarm.start(gateway.port, [None] * clients)
    await asyncio.sleep(1.0)
    each = (gateway.resident_bytes() - before) / clients
    await few.stop()
    await many.stop()
    await gateway.stop()
    return each


async def measure_storm(redis_url: str, clients: int) -> list[float]:
    """Seconds until the last of so many, all connecting at once, has its subscriptions and prices; then twice more.

    Meanwhile ticks come as they do when all are there: 50,000 updates a second are delivered at the end.
    """
    gateway = await Gateway.start(redis_url, PRICE_BATCH_AUDIENCE="off")
    load = Load("storm", 50_000 * WATCHED // SYMBOLS_PER_CLIENT // clients, 0.01, {}, clients)
    bus = RedisBus(redis_url, "bench")
    took = []
    async with TaskGroup() as tasks:
        tasks.spawn("publish", Publisher(bus, symbol_names(WATCHED), load.interval).forever(load.ticks))
        for _ in range(3):
            swarm = await Swarm.start(gateway.port, subscriptions(load), 2, at_once=clients)
            took.append(swarm.ready_s)
            await swarm.stop()
    await bus.close()
    await gateway.stop()
    return took


async def show_loads(console: Console, redis_url: str, loads: tuple[Load, ...], seconds: float) -> None:
    """Measure and print a table."""
    table = Table(
        "20 of 200 symbols a client", "CPU us/update", "floor", "ratio", "updates/s", "core", "clients' cores"
    )
    table.add_column("p50 / p99 ms")
    for load in loads:
        with console.status(load.what):
            table.add_row(*(await measure(redis_url, load, seconds)).cells())
    console.print(table)


async def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m tests.load.bench_gateway")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement (default 8)")
    parser.add_argument("--clients", type=int, default=2000, help="idle clients for the memory figure (default 2000)")
    parser.add_argument("--scaling", action="store_true", help="100 to 10,000 clients, 200 to 10,000 symbols")
    parser.add_argument("--crowd", action="store_true", help="10,000 clients x 20 symbols in batches, with their delay")
    parser.add_argument("--storm", action="store_true", help="10,000 clients connect at once")
    parser.add_argument("--only", default="", help="measurements whose name holds this")
    arguments = parser.parse_args()
    console = Console()
    loads = SCALING if arguments.scaling else CROWD if arguments.crowd else () if arguments.storm else LOADS
    chosen = tuple(load for load in loads if arguments.only in load.what)
    with EmbeddedValkey() as valkey:
        if chosen:
            await show_loads(console, valkey.url, chosen, arguments.seconds)
        if arguments.storm:
            took = await measure_storm(valkey.url, 10_000)
            console.print("10,000 connecting at once:", ", ".join(f"{seconds:.1f} s" for seconds in took))
        elif loads is LOADS and not arguments.only:
            each = await measure_memory(valkey.url, arguments.clients)
            console.print(f"idle connection ({arguments.clients} clients): {each:,.0f} bytes each")


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


if __name__ == "__main__":
    asyncio.run(main())
