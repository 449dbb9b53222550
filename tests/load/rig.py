"""What the load measurements stand on: one gateway process, clients in others, a publisher of prices in this one.

`bench_gateway.py` drives it. Figures come from /proc, so that nothing is added to what is measured.
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from shared.bus.redis_bus import RedisBus
from shared.messages import VERSION, Price, PriceBatch, encode
from shared.names import redis_keys
from tests.load.swarm import AT_ONCE, CLOCK, Subscription

SHARDS = 16
CPU_CLOCK_HZ = os.sysconf("SC_CLK_TCK")
ANSWER_S = 120.0


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
                "MAX_HALF_OPEN": "0",
                "DRAIN_SECONDS": "0",
                "MAX_MESSAGES_PER_SECOND": "1000000",
                "MAX_MESSAGES_BURST": "1000000",
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
    """Clients in processes of their own.

    Attributes:
        ready_s: until the last one was subscribed.
    """

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._processes = processes
        self.ready_s = 0.0

    @classmethod
    async def start(
        cls, port: int, subscriptions: list[Subscription], processes: int = 1, at_once: int = AT_ONCE
    ) -> "Swarm":
        """Connect one client for each entry."""
        swarm = cls([await _start_clients(port) for _ in range(processes)])
        for number, process in enumerate(swarm._processes):
            order = {"subscriptions": subscriptions[number::processes], "at_once": at_once}
            _tell(process, json.dumps(order))
        for process in swarm._processes:
            swarm.ready_s = max(swarm.ready_s, (await _answer(process))["ready_s"])
        return swarm

    async def counted(self) -> tuple[int, float, list[tuple[float, int]]]:
        """Updates and CPU seconds so far, and ages since the last time."""
        updates, cpu, ages = 0, 0.0, []
        for process in self._processes:
            _tell(process, "?")
        for process in self._processes:
            answer = await _answer(process)
            updates += answer["updates"]
            cpu += answer["cpu"]
            ages += answer["ages"]
        return updates, cpu, ages

    async def stop(self) -> None:
        """Let all clients go."""
        for process in self._processes:
            process.kill()
            await process.wait()


class Publisher:
    """Publishes ticks as price-ingest does, at a steady rate, each symbol in its turn.

    Args:
        bus: where to.
        symbols: all that tick.
        interval: seconds between publications; 0 makes every tick a message of its own, the dearest case.
    """

    def __init__(self, bus: RedisBus, symbols: list[str], interval: float) -> None:
        self._bus = bus
        self._symbols = symbols
        self._interval = interval
        self._seq = dict.fromkeys(symbols, 0)
        self._shard = {symbol: redis_keys.shard_of(symbol, SHARDS) for symbol in symbols}
        random.Random(1).shuffle(self._symbols)
        self._next = 0

    async def run(self, ticks_per_second: int, seconds: float) -> int:
        """Publish for a while; returns how many ticks."""
        begin = time.monotonic()
        published = 0
        while (elapsed := time.monotonic() - begin) < seconds:
            due = int(elapsed * ticks_per_second) - published
            if due > 0:
                await self._publish(due)
                published += due
            await asyncio.sleep(max(self._interval, 0.001))
        return published

    async def forever(self, ticks_per_second: int) -> None:
        """Publish until cancelled."""
        while True:
            await self.run(ticks_per_second, 1.0)

    async def _publish(self, count: int) -> None:
        now = int(time.time() * 1000)  # noqa: TID251 - a script
        by_shard: dict[int, dict[str, msgspec.Raw]] = {}
        messages = []
        for _ in range(count):
            symbol = self._symbols[self._next]
            self._next = (self._next + 1) % len(self._symbols)
            self._seq[symbol] += 1
            encoded = msgspec.Raw(encode(Price(f"{now % CLOCK}.00", now, self._seq[symbol])))
            shard = self._shard[symbol]
            if self._interval:
                by_shard.setdefault(shard, {})[symbol] = encoded
            else:
                messages.append((redis_keys.price_channel(shard), _batch(now, {symbol: encoded})))
        messages += [(redis_keys.price_channel(shard), _batch(now, prices)) for shard, prices in by_shard.items()]
        await self._bus.publish(messages)


def _batch(now: int, prices: dict[str, msgspec.Raw]) -> bytes:
    return encode(PriceBatch(VERSION, "bench", now, prices))


async def _start_clients(port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.load.swarm",
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )


def _tell(process: asyncio.subprocess.Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line.encode() + b"\n")


async def _answer(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(await asyncio.wait_for(process.stdout.readline(), ANSWER_S))
    return answer
