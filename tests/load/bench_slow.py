"""What clients that stop reading cost a gateway: bytes for each of them, and delay for the others.

One real gateway; good clients, which show how old prices are when they come, and clients that subscribe and then never
read again, each with symbols of its own so that nobody shares a frame. Their receive buffers are small, so that what
they do not read waits in the gateway. The delay is taken in turn without and with stalled clients, as a ratio in one
run. Then `WRITE_TIMEOUT_MS` passes and they are cut off: the last column is what is left of them.
"""

import argparse
import asyncio
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
from rich.console import Console
from rich.table import Table

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.tasks import TaskGroup
from tests.load.bench_gateway import BATCH, WATCHED, symbol_names
from tests.load.rig import Gateway, Publisher, Swarm
from tests.load.swarm import LightClient, Subscription
from tests.support.waiting import eventually

GOOD = 200
SYMBOLS_PER_CLIENT = 20
TICKS = 2_000
RECEIVE_BUFFER = 4_096
AT_ONCE = 100
PATIENCE_S = 180.0


@dataclass(frozen=True)
class Row:
    """One line: memory in bytes, delays in ms."""

    stalled: int
    each: float
    left: int
    alone: float
    beside: float
    cut_off: int

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        ratio = f"{self.beside / self.alone:.2f}"
        delays = (f"{self.alone:.0f}", f"{self.beside:.0f}", ratio)
        return (f"{self.stalled:,}", f"{self.each:,.0f}", f"{self.left / 1e6:,.1f}", *delays, f"{self.cut_off:,}")


class Stalled(LightClient):
    """Stops reading once it is subscribed."""

    def stall(self) -> None:
        """Read no more."""
        self._transport.pause_reading()

    def leave(self) -> None:
        """Drop the connection."""
        self._transport.abort()


def wanted(count: int, seed: int) -> list[Subscription]:
    """Batches of symbols at random, but the same in every run."""
    names, chance = symbol_names(WATCHED), random.Random(seed)
    return [[chance.sample(names, SYMBOLS_PER_CLIENT), BATCH] for _ in range(count)]


async def stall(port: int, subscriptions: Sequence[Subscription]) -> list[Stalled]:
    """Connect a client for each, which then reads no more."""
    loop = asyncio.get_running_loop()

    async def one(subscription: Subscription) -> Stalled:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        raw.setblocking(False)  # noqa: FBT003 - its own interface
        await loop.sock_connect(raw, ("127.0.0.1", port))
        _, client = await loop.create_connection(lambda: Stalled(subscription), sock=raw)
        await asyncio.wait_for(client.subscribed, PATIENCE_S)
        client.stall()
        return client

    clients: list[Stalled] = []
    for start in range(0, len(subscriptions), AT_ONCE):
        clients += await asyncio.gather(*map(one, subscriptions[start : start + AT_ONCE]))
    return clients


async def p99(swarm: Swarm, seconds: float) -> float:
    """How late the good clients are served from now on, in ms."""
    await swarm.counted()
    await asyncio.sleep(seconds)
    _, _, ages = await swarm.counted()
    pace = 1000 * WATCHED / TICKS
    oldest = sorted(newest + (n - 1) * pace for newest, n in ages)
    return oldest[int(len(oldest) * 0.99)]


async def figure(gateway: Gateway, name: str) -> int:
    """A figure of its `/metrics`."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{gateway.ops_port}/metrics") as answer:
        rows = (line.rpartition(" ") for line in (await answer.text()).splitlines())
        return int(sum(float(value) for series, _, value in rows if series == name))


async def until(gateway: Gateway, name: str, value: int) -> None:
    """Wait for a figure to get there."""
    await eventually(lambda: figure(gateway, name), name, lambda found: found >= value, patience=PATIENCE_S)


async def measure(redis_url: str, stalled: int, seconds: float, write_timeout_s: float) -> Row:
    """One gateway beside so many stalled clients."""
    limits = {
        "WRITE_TIMEOUT_MS": str(int(write_timeout_s * 1000)),
        "PING_INTERVAL_MS": "600000",
    }  # nobody answers pings
    gateway = await Gateway.start(redis_url, PRICE_BATCH_AUDIENCE="off", **limits)
    bus = RedisBus(redis_url, "bench")
    try:
        async with TaskGroup() as tasks:
            swarm = await Swarm.start(gateway.port, wanted(GOOD, 7))
            tasks.spawn("publish", Publisher(bus, symbol_names(WATCHED), 0.01).forever(TICKS))
            await asyncio.sleep(1.0)  # warm
            before = gateway.resident_bytes()
            alone = await p99(swarm, seconds)
            clients = await stall(gateway.port, wanted(stalled, 11))
            await until(gateway, "tickwire_conflated_passes_total", stalled)
            beside = await p99(swarm, seconds)
            each = (gateway.resident_bytes() - before) / stalled
            ended = 'tickwire_disconnects_total{reason="slow_consumer"}'
            await until(gateway, ended, len(clients))
            await asyncio.sleep(1.0)
            left, cut_off = gateway.resident_bytes() - before, await figure(gateway, ended)
            await swarm.stop()
    finally:
        await bus.close()
        await gateway.stop()
    return Row(stalled, each, left, alone, beside, cut_off)


async def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m tests.load.bench_slow")
    parser.add_argument("--stalled", type=int, nargs="+", default=[1, 1_000, 10_000], help="clients that stop reading")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement of delays (default 8)")
    parser.add_argument("--write-timeout", type=float, default=60.0, help="seconds until they are cut off (default 60)")
    arguments = parser.parse_args()
    console = Console()
    table = Table("stalled", "bytes each", "MB left", "p99 ms without", "with", "ratio", "cut off")
    with EmbeddedValkey() as valkey:
        for stalled in arguments.stalled:
            with console.status(f"{stalled:,} stalled"):
                row = await measure(valkey.url, stalled, arguments.seconds, arguments.write_timeout)
            table.add_row(*row.cells())
    console.print(table)


if __name__ == "__main__":
    asyncio.run(main())
