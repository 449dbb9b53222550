"""Publishes ticks with a write-only AsyncRedisManager: `python publish.py REDIS_URL`.

Asked on standard input as services/launcher/load/publish.py says; each price is the time of its sending, in seconds.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator

import socketio


async def publish(
    manager: socketio.AsyncRedisManager, symbols: Iterator[str], seqs: Counter[str], per_s: float, seconds: float
) -> dict[str, float]:
    began, published, late = time.monotonic(), 0, 0.0
    total = round(per_s * seconds)
    while published < total:
        elapsed = time.monotonic() - began
        due = min(int(elapsed * per_s) + 1, total)
        if due > published:
            late = max(late, elapsed - published / per_s)
        for symbol in itertools.islice(symbols, due - published):
            seqs[symbol] += 1
            us = time.time_ns() // 1000
            payload = {"symbol": symbol, "price": us / 1e6, "ts": us // 1000, "seq": seqs[symbol], "n": 1}
            await manager.emit("price:update", payload, room=f"price:{symbol}")
        published = due
        await asyncio.sleep(0.001)
    return {"published": published, "cpu_s": 0.0, "late_s": late}


async def main(redis_url: str) -> None:
    manager = socketio.AsyncRedisManager(redis_url, write_only=True)
    seqs: Counter[str] = Counter()
    turns: dict[tuple[str, ...], Iterator[str]] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        symbols = turns.setdefault(tuple(asked["symbols"]), itertools.cycle(asked["symbols"]))
        said = await publish(manager, symbols, seqs, asked["per_s"], asked["seconds"])
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
