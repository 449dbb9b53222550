"""What price-ingest costs: CPU for each tick, candles included, and how many ticks a second one core does.

`make bench-ingest` runs it: a real Valkey and one real price-ingest process on this machine. "backlog" are ticks that
stand in the stream when it starts; "live" ones come at a steady rate while it reads. The budget is 20 us a tick. The
recorded rows need the recordings beside the project, and are left out where there are none.
"""

import argparse
import asyncio
import csv
import gzip
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from services.launcher.embedded_valkey import EmbeddedValkey
from services.launcher.leash import leashed, python_module
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from tests.support.process_table import inherited
from tests.support.recording import QUOTES, RECORDED
from tests.support.waiting import eventually

BUDGET_US = 20.0
CPU_CLOCK_HZ = os.sysconf("SC_CLK_TCK")
CHUNK = 500
"""Entries that are sent at once."""

Fields = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    what: str
    ticks: int
    cpu_us: float
    valkey_us: float
    seconds: float


class Ingest:
    """One price-ingest process and what /proc says of it."""

    def __init__(self, redis_url: str, wrapper: list[str]) -> None:
        command = [*leashed(python_module("services.price_ingest"))]
        environment = {"REDIS_URL": redis_url, "OPS_PORT": "0", "LOG_LEVEL": "error"}
        if wrapper:
            command = [sys.executable, *wrapper, "-m", "services.price_ingest"]
        self.process = subprocess.Popen(command, env={**inherited(), **environment})

    def stop(self) -> None:
        """SIGTERM and wait."""
        self.process.terminate()
        self.process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CPU_CLOCK_HZ


class Feeder:
    """Appends entries that were written as bytes before: an upstream that costs next to nothing."""

    def __init__(self, redis_url: str) -> None:
        parts = urlsplit(redis_url)
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379))

    def send(self, chunks: Iterable[tuple[int, bytes]], rate: float = 0.0) -> None:
        """Send (number of entries, commands) pairs, `rate` entries a second, or as fast as Redis takes them."""
        begin, sent = time.monotonic(), 0
        for entries, commands in chunks:
            if rate:
                time.sleep(max(0.0, begin + sent / rate - time.monotonic()))
            self._socket.sendall(commands)
            sent += entries
            self._drain(entries)

    def close(self) -> None:
        """Send no more."""
        self._socket.close()

    def _drain(self, replies: int) -> None:
        """Read the ids of the new entries: `$`, length, id, two lines each."""
        lines = 0
        while lines < 2 * replies:
            lines += self._socket.recv(1 << 20).count(b"\n")


def chunks_of(entries: Iterable[tuple[str, Fields]]) -> Iterator[tuple[int, bytes]]:
    """(stream, fields) pairs as XADD commands, `CHUNK` at a time."""
    left = iter(entries)
    while chunk := list(islice(left, CHUNK)):
        yield len(chunk), b"".join(_command(stream, fields) for stream, fields in chunk)


def _command(stream: str, fields: Fields) -> bytes:
    words = ["XADD", stream, "*", *(word for pair in fields.items() for word in pair)]
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words)


def synthetic(ticks: int, symbols: int) -> Iterator[tuple[str, Fields]]:
    """Trades of a market in which every symbol walks."""
    chance = random.Random(1)
    cents = [chance.randrange(1_000, 9_000_000) for _ in range(symbols)]
    now = int(time.time() * 1000)  # noqa: TID251 - a script
    for number in range(ticks):
        symbol = chance.randrange(symbols)
        cents[symbol] = max(100, cents[symbol] + chance.choice((-3, -1, 0, 1, 4)))
        yield (
            redis_keys.FEED_TRADES,
            {
                "id": str(number),
                "symbol": f"S{symbol}-USD",
                "amount": f"0.{chance.randrange(1, 10_000):04d}",
                "price": f"{cents[symbol] // 100}.{cents[symbol] % 100:02d}",
                "side": chance.choice(("buy", "sell")),
                "ts": str(now + number // 50),
            },
        )


def recorded() -> Iterator[tuple[str, Fields]]:
    """The recorded Binance trades and quotes, in order of receipt."""
    rows: list[tuple[int, str, Fields]] = []
    with gzip.open(RECORDED, "rt", encoding="ascii", newline="") as lines:
        for row in csv.DictReader(lines):
            fields = {"id": row["trade_id"], "symbol": row["symbol"], "amount": row["qty"], "price": row["price"]}
            fields |= {"side": "sell" if row["buyer_is_maker"] == "1" else "buy", "ts": row["trade_ms"]}
            rows.append((int(row["recv_ns"]), redis_keys.FEED_TRADES, fields))
    with gzip.open(QUOTES, "rt", encoding="ascii", newline="") as lines:
        for row in csv.DictReader(lines):
            fields = {"symbol": row["symbol"], "bid": row["bid"], "ask": row["ask"]}
            fields["ts"] = str(int(row["recv_ns"]) // 1_000_000)
            rows.append((int(row["recv_ns"]), redis_keys.FEED_PRICES, fields))
    rows.sort(key=lambda row: row[0])
    return ((stream, fields) for _, stream, fields in rows)


async def measure(what: str, entries: list[tuple[str, Fields]], rate: float, wrapper: list[str]) -> Row:
    """CPU for each entry; `rate` 0: all of them stand there at the start."""
    chunks = list(chunks_of(entries))
    with EmbeddedValkey() as valkey:
        feeder, bus = Feeder(valkey.url), RedisBus(valkey.url, "bench")
        if not rate:
            feeder.send(chunks)
        ingest = Ingest(valkey.url, wrapper)
        try:
            begin = cpu_seconds(valkey.pid)
            await eventually(lambda: bus.get(redis_keys.PRICE_EPOCH), "price-ingest works")
            cpu, began = cpu_seconds(ingest.process.pid), time.monotonic()
            if rate:
                await asyncio.to_thread(feeder.send, chunks, rate)
            await eventually(lambda: is_read_up(bus), "read up", patience=120.0)
            took = time.monotonic() - began
            cpu = cpu_seconds(ingest.process.pid) - cpu
            return Row(
                what,
                len(entries),
                cpu / len(entries) * 1e6,
                (cpu_seconds(valkey.pid) - begin) / len(entries) * 1e6,
                took,
            )
        finally:
            ingest.stop()
            await bus.close()


async def is_read_up(bus: RedisBus) -> bool:
    """Whether both lanes of both streams are committed to their ends."""
    for stream, last in (await bus.last_ids([redis_keys.FEED_TRADES, redis_keys.FEED_PRICES])).items():
        for positions in (redis_keys.PRICE_POSITIONS, redis_keys.CHART_POSITIONS):
            at = (await bus.hash_all(positions)).get(stream.encode(), b"0-0")
            if at.decode() != last:
                return False
    await asyncio.sleep(0.05)
    return True


async def main() -> None:
    """Run every measurement and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m tests.load.bench_ingest")
    parser.add_argument("--ticks", type=int, default=300_000, help="synthetic ticks of each row (default 300000)")
    parser.add_argument("--rate", type=float, default=50_000, help="live ticks a second (default 50000)")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--wrapper", default="", help="as `-m cProfile -o FILE`: run price-ingest under it")
    arguments = parser.parse_args()
    wanted = []
    for symbols in (200, 1000):
        for name, rate in (("backlog", 0.0), ("live", arguments.rate)):
            wanted.append((f"trades of {symbols} symbols, {name}", symbols, rate))
    if RECORDED.exists():
        wanted += [("recorded trades and quotes, backlog", 0, 0.0), ("recorded trades and quotes, live", 0, 20_000.0)]
    rows = []
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=len(wanted))
        for what, symbols, rate in wanted:
            progress.update(task, description=what)
            if arguments.only in what:
                entries = list(synthetic(arguments.ticks, symbols) if symbols else recorded())
                rows.append(await measure(what, entries, rate, arguments.wrapper.split()))
            progress.advance(task)
    table = Table("", "ticks", "CPU us/tick", f"of {BUDGET_US:g} us", "ticks/s and core", "Valkey us/tick", "seconds")
    for row in rows:
        table.add_row(
            row.what,
            f"{row.ticks:,}",
            f"{row.cpu_us:.1f}",
            f"{row.cpu_us / BUDGET_US:.0%}",
            f"{1e6 / row.cpu_us:,.0f}",
            f"{row.valkey_us:.1f}",
            f"{row.seconds:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    asyncio.run(main())
