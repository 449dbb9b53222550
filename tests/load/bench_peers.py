"""Tickwire beside its peers, in one run on one machine: what a delivered price, a connection and a storm cost.

`make bench-peers` runs it: the floor (one plain `send()` a price), Socket.IO for Node with the Redis adapter,
python-socketio with AsyncRedisManager, Tickwire; the same clients, payload and embedded Valkey for all. Servers take
turns within a round, so that whatever else the machine does hits all of them; figures are medians over the rounds. The
server has a core to itself where there are two; Valkey, publisher and clients share the other.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from services.launcher.embedded_valkey import EmbeddedValkey
from services.launcher.errors import LauncherError
from services.launcher.load.results import Result
from services.launcher.load.run import run_scenario
from services.launcher.load.scenario import Scenario
from services.launcher.load.show import show_on
from shared.clock import SystemClock
from tests.load.comparison import Comparison, as_json, as_page, remarks, tables
from tests.load.floor import microseconds_per_send
from tests.load.servers import NODE_FOLDER, PEER_PYTHON, SERVERS, Cores, Server, empty, on_cores

RESULTS = Path(__file__).parent / "results"
WIDTH = 130
"""Columns of the widest table."""

DELIVERIES_PER_TICK = 50
"""500 clients watch 20 of 200 symbols each: every tick goes to 50 of them."""


@dataclass(frozen=True)
class Plan:
    """How much is measured: prices delivered a second, s of each measurement, rounds, clients of idle and storm."""

    rates: tuple[int, ...]
    seconds: float
    rounds: int
    idle_clients: int
    storm_clients: int


FULL = Plan((10_000, 30_000, 50_000), 8.0, 3, 2000, 2000)
QUICK = Plan((10_000, 50_000), 3.0, 1, 800, 800)


@dataclass(frozen=True)
class Run:
    """One measurement: which line of the comparison it belongs to, whose, and what is done."""

    line: str
    server: Server
    scenario: Scenario


def runs(plan: Plan) -> Iterator[Run]:
    """All of them, in the order in which they are made."""
    for _ in range(plan.rounds):
        for rate in plan.rates:
            ticks = rate / DELIVERIES_PER_TICK
            fanout = Scenario(name="fanout", ticks_per_s=ticks, seconds=plan.seconds)
            yield from (Run(f"{rate:,}/s", server, fanout) for server in SERVERS)
        batch = Scenario(name="batch", ticks_per_s=2000, seconds=plan.seconds, deliver="batch")
        yield from (Run("batch, 100,000/s", server, batch) for server in SERVERS if server.name == "tickwire")
    idle = Scenario(
        name="idle", kind="idle", clients=plan.idle_clients, symbols_per_client=0, ticks_per_s=0, seconds=2.0
    )
    storm = Scenario(name="storm", kind="storm", clients=plan.storm_clients, ticks_per_s=100, patience_s=60)
    for name, scenario in (("idle", idle), ("storm", storm)):
        yield from (Run(name, server, scenario) for server in SERVERS)


async def measure(run: Run, redis_url: str, cores: Cores, console: Console) -> Result | None:
    """One measurement; None, and said so, where the server could not take it."""
    await empty(redis_url)
    try:
        async with run.server.started(redis_url, cores) as target:
            with show_on(console) as show:
                return await run_scenario(run.scenario, target, SystemClock(), show)
    except LauncherError as error:
        console.print(f"{run.server.name}, {run.line}: {error.message}", style="yellow")
        return None


async def main() -> int:
    """Measure everything, print the tables, write JSON and HTML."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m tests.load.bench_peers --quick")
    parser.add_argument("--quick", action="store_true", help="fewer rates, shorter, one round: under three minutes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of peers-TIME.json and .html")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    if not PEER_PYTHON.exists() or not (NODE_FOLDER / "node_modules").is_dir():
        console.print("The peers are not installed: make bench-peers does it.")
        return 1
    cores = Cores.split()
    planned = list(runs(QUICK if arguments.quick else FULL))
    comparison = Comparison(datetime.now(UTC), pinned=cores.apart)
    floors = {index * len(planned) // 4 for index in range(4)}
    with on_cores(cores.others), EmbeddedValkey() as valkey:
        for number, run in enumerate(planned):
            if number in floors:
                comparison.floors.append(floor())
            console.print(f"[{number + 1}/{len(planned)}] {run.line}: {run.server.label}", markup=False)
            result = await measure(run, valkey.url, cores, console)
            if result is not None:
                comparison.add(run.line, run.server.name, result)
    wide = Console(highlight=False, width=max(console.width, WIDTH))
    for table in tables(comparison):
        wide.print(table)
    for remark in remarks(comparison):
        console.print(remark, style="yellow")
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"peers-{comparison.started:%Y%m%d-%H%M%S}"
    stem.with_suffix(".json").write_bytes(as_json(comparison))
    stem.with_suffix(".html").write_text(as_page(comparison), encoding="utf-8")
    console.print(f"written: {stem}.json, {stem}.html", soft_wrap=True)
    return 0


def floor() -> float:
    """µs of a plain `send()`; its receivers are threads of ours, so it may use every core."""
    with on_cores(frozenset(range(os.cpu_count() or 1))):
        return microseconds_per_send(1.5)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
