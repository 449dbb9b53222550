"""What a gateway costs: CPU for each delivered update, bytes for each idle connection.

`make bench` runs it: a real Valkey, one real gateway process, clients in another process, all on this machine. Figures
are ratios to a floor measured in the same run, since machines differ: one plain `send()` of a ready frame. 500 clients
watch 20 of 200 symbols each, so that every tick goes to 50 of them.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.messages import VERSION, Price, PriceBatch, encode
from shared.names import redis_keys
from tests.load.floor import microseconds_per_send

SYMBOLS = [f"SYM-{number:03}" for number in range(200)]
SHARDS = 16
CLIENTS = 500
SYMBOLS_PER_CLIENT = 20
CPU_CLOCK_HZ = os.sysconf("SC_CLK_TCK")

LOADS: tuple[tuple[str, tuple[int, float], dict[str, object]], ...] = (
    ("immediate, one message a tick", (1000, 0.0), {}),
    ("immediate, ingest's 10 ms batches", (1000, 0.01), {}),
    ("price:batch of 20, every 100 ms", (2000, 0.01), {"deliver": "batch"}),
)
"""What is measured: name, (ticks a second, seconds between publications), options of the subscriptions."""


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    what: str
    updates: int
    cpu_us: float
    floor_us: float
    note: str = ""


class Gateway:
    """One gateway process and what /proc says of it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, ops_port: int) -> None:
        self.process = process
        self.port = port
        self.ops_port = ops_port

    @classmethod
    async def start(cls, redis_url: str, **environment: str) -> "Gateway":
        """Start one and wait until it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.gateway",
            env={
                **os.environ,
                "REDIS_URL": redis_url,
                "GATEWAY_PORT": "0",
                "GATEWAY_HOST": "127.0.0.1",
                "OPS_PORT": "0",
                "MAX_ACCEPTS_PER_SECOND": "0",
                **environment,
            },
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        port = 0
        while True:
            line = json.loads(await asyncio.wait_for(process.stderr.readline(), 10))
            if line["event"] == "listening":
                port = int(line["address"].rpartition(":")[2])
            if line["event"] == "ready":
                return cls(process, port, line["ops_port"])

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CPU_CLOCK_HZ

    def resident_bytes(self) -> int:
        """Resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    async def stop(self) -> None:
        """SIGTERM and wait."""
        self.process.terminate()
        await self.process.wait()


class Swarm:
    """The clients' process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int, subscriptions: list[list[object] | None]) -> "Swarm":
        """Connect one client for each entry."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.load.swarm",
            str(port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(subscriptions).encode() + b"\n")
        assert await asyncio.wait_for(process.stdout.readline(), 120) == b"ready\n"
        return cls(process)

    async def counted(self) -> dict[str, float]:
        """Bytes, updates and CPU so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"?\n")
        counted: dict[str, float] = json.loads(await asyncio.wait_for(self._process.stdout.readline(), 30))
        return counted

    async def stop(self) -> None:
        """Let all clients go."""
        self._process.kill()
        await self._process.wait()


class Publisher:
    """Publishes ticks as price-ingest does, at a steady rate."""

    def __init__(self, bus: RedisBus) -> None:
        self._bus = bus
        self._seq = dict.fromkeys(SYMBOLS, 0)
        self._random = random.Random(1)

    async def run(self, ticks_per_second: int, seconds: float, interval: float) -> int:
        """Publish for a while, in batches of `interval` s; returns how many ticks."""
        begin = time.monotonic()
        published = 0
        while (elapsed := time.monotonic() - begin) < seconds:
            due = int(elapsed * ticks_per_second) - published
            if due > 0:
                await self._publish([SYMBOLS[(published + offset) % len(SYMBOLS)] for offset in range(due)], interval)
                published += due
            await asyncio.sleep(max(interval, 0.001))
        return published

    async def _publish(self, symbols: list[str], interval: float) -> None:
        by_shard: dict[int, dict[str, msgspec.Raw]] = {}
        messages = []
        now = int(time.time() * 1000)  # noqa: TID251 - a script
        for symbol in symbols:
            self._seq[symbol] += 1
            text = f"{64000 + self._random.random() * 100:.2f}"
            encoded = msgspec.Raw(encode(Price(text, now, self._seq[symbol])))
            shard = redis_keys.shard_of(symbol, SHARDS)
            if interval:
                by_shard.setdefault(shard, {})[symbol] = encoded
            else:  # every tick a message of its own: the dearest case
                batch = PriceBatch(VERSION, "bench", now, {symbol: encoded})
                messages.append((redis_keys.price_channel(shard), encode(batch)))
        for shard, prices in by_shard.items():
            messages.append((redis_keys.price_channel(shard), encode(PriceBatch(VERSION, "bench", now, prices))))
        await self._bus.publish(messages)


def subscriptions(options: dict[str, object]) -> list[list[object] | None]:
    """20 of 200 symbols for each client, each symbol watched by 50."""
    return [
        [
            [SYMBOLS[(client * SYMBOLS_PER_CLIENT + offset) % len(SYMBOLS)] for offset in range(SYMBOLS_PER_CLIENT)],
            options,
        ]
        for client in range(CLIENTS)
    ]


async def measure(
    redis_url: str, what: str, seconds: float, tick: tuple[int, float], options: dict[str, object]
) -> Row:
    """CPU of one gateway for each update delivered under a steady load of `tick` = (ticks a second, batch interval)."""
    floor_before = microseconds_per_send(1.0)
    gateway = await Gateway.start(redis_url, PRICE_BATCH_AUDIENCE="off")
    swarm = await Swarm.start(gateway.port, subscriptions(options))
    bus = RedisBus(redis_url, "bench")
    publisher = Publisher(bus)
    try:
        await publisher.run(tick[0], 1.0, tick[1])  # warm
        before, cpu, begun = await swarm.counted(), gateway.cpu_seconds(), time.monotonic()
        await publisher.run(tick[0], seconds, tick[1])
        await asyncio.sleep(0.3)
        after, cpu, took = await swarm.counted(), gateway.cpu_seconds() - cpu, time.monotonic() - begun
    finally:
        await bus.close()
        await swarm.stop()
        await gateway.stop()
    floor = (floor_before + microseconds_per_send(1.0)) / 2
    updates = int(after["updates"] - before["updates"])
    return Row(what, updates, cpu / updates * 1e6, floor, f"{updates / took:,.0f}/s, {cpu / took:.0%} of a core")


async def measure_memory(redis_url: str, clients: int) -> Row:
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
    return Row(f"idle connection ({clients} clients)", clients, each, 0.0)


async def main() -> None:
    """Run every measurement and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m tests.load.bench_gateway")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement (default 8)")
    parser.add_argument("--clients", type=int, default=2000, help="idle clients for the memory figure (default 2000)")
    arguments = parser.parse_args()
    console = Console()
    rows: list[Row] = []
    with EmbeddedValkey() as valkey, Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=4)
        for what, tick, options in LOADS:
            progress.update(task, description=what)
            rows.append(await measure(valkey.url, what, arguments.seconds, tick, options))
            progress.advance(task)
        progress.update(task, description="idle connections")
        memory = await measure_memory(valkey.url, arguments.clients)
        progress.advance(task)
    table = Table("500 clients x 20 of 200 symbols", "updates", "CPU us/update", "floor us", "ratio", "load")
    for row in rows:
        ratio = f"{row.cpu_us / row.floor_us:.2f}"
        table.add_row(row.what, f"{row.updates:,}", f"{row.cpu_us:.2f}", f"{row.floor_us:.2f}", ratio, row.note)
    console.print(table)
    console.print(f"{memory.what}: {memory.cpu_us:,.0f} bytes each")


if __name__ == "__main__":
    asyncio.run(main())
