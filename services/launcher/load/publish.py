"""Publishes ticks at a steady pace, as an upstream would: XADD to `feed:prices`, each price the time of its sending.

Started as `python -m services.launcher.load.publish REDIS_URL`, then asked as `helper` says: `{"symbols": [...],
"per_s": ticks a second, "seconds": how long}`; the answer is `{"published", "cpu_s", "late_s"}`. A price is seconds
since the epoch with six decimals, which JSON and a float64 carry unharmed: whoever receives it knows how old it is.
Publishers of other servers (`tickwire load --publisher`) speak the same.
"""

import asyncio
import sys
import time
from typing import Any, Final

import uvloop

from services.launcher.errors import LauncherError
from services.launcher.load.answering import answer_questions
from services.launcher.redis_url import open_bus
from shared.bus.errors import BusError
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys

SLICE_S: Final = 0.001
MOST_AT_ONCE: Final = 1000
MAX_STREAM_LENGTH: Final = 100_000


class Publisher:
    """Ticks for each symbol in turn."""

    def __init__(self, bus: RedisBus) -> None:
        self._bus = bus
        self._turn = 0
        self._last: dict[str, int] = {}

    async def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Publish for a while.

        Raises:
            LauncherError: Redis does not take them.
        """
        cpu = time.process_time()
        try:
            published, late_s = await self._publish(question["symbols"], question["per_s"], question["seconds"])
        except BusError as error:
            raise LauncherError(str(error), "check --redis-url") from error
        return {"published": published, "cpu_s": time.process_time() - cpu, "late_s": late_s}

    async def _publish(self, symbols: list[str], per_s: float, seconds: float) -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        began, published, late_s = loop.time(), 0, 0.0
        total = round(per_s * seconds)
        while published < total:
            elapsed = loop.time() - began
            due = min(int(elapsed * per_s) + 1, total, published + MOST_AT_ONCE)
            if due > published:
                late_s = max(late_s, elapsed - published / per_s)
                entries = [self._tick(symbols) for _ in range(due - published)]
                await self._bus.append(redis_keys.FEED_PRICES, entries, MAX_STREAM_LENGTH)
                published = due
            await asyncio.sleep(SLICE_S)
        return published, late_s

    def _tick(self, symbols: list[str]) -> dict[str, str]:
        symbol = symbols[self._turn % len(symbols)]
        self._turn += 1
        now_us = max(time.time_ns() // 1000, self._last.get(symbol, 0) + 1)  # never the same price twice
        self._last[symbol] = now_us
        return {"symbol": symbol, "price": f"{now_us // 1_000_000}.{now_us % 1_000_000:06}", "ts": str(now_us // 1000)}


async def main(redis_url: str) -> None:
    """Work until standard input ends."""
    bus = open_bus(redis_url, "tickwire-load")
    try:
        await answer_questions(Publisher(bus).answer)
    finally:
        await bus.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
