"""Appends entries to the upstream streams as an outside publisher would: by XADD, and by nothing else.

Fed by `feeds.simulate` and `feeds.replay`; feeds `feed:prices` and `feed:trades`. An outage of Redis is waited out, and
a slice whose reply was lost is written again: trades carry ids, so the cluster drops the second copy.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import uvloop

from services.launcher.errors import LauncherError
from services.launcher.redis_url import open_bus
from shared.bus.errors import BusError, BusRefusedError, GroupMissingError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.clock import Clock
from shared.log import get_logger
from shared.names import redis_keys

log = get_logger(__name__)

MAX_STREAM_LENGTH: Final = 100_000
"""As the contract with upstreams says: `MAXLEN ~ 100000`."""

LAG_LIMIT: Final = 50_000
"""Unread trades above which a publisher waits: at `MAX_STREAM_LENGTH` Redis would trim what nobody has read."""

_LAG_POLL_S: Final = 0.1

Entry = Mapping[str, str]


class Publisher:
    """Writes slices of entries.

    Args:
        bus: of the cluster's Redis.
        clock: for the age of pending entries.
        stopping: ends a wait for back-pressure.
    """

    def __init__(self, bus: RedisBus, clock: Clock, stopping: asyncio.Event) -> None:
        self._bus = bus
        self._clock = clock
        self._stopping = stopping

    async def prices(self, entries: Sequence[Entry]) -> None:
        """Append to `feed:prices`, in one round trip."""
        await self._append(redis_keys.FEED_PRICES, entries)

    async def trades(self, entries: Sequence[Entry]) -> None:
        """Append to `feed:trades`, in one round trip."""
        await self._append(redis_keys.FEED_TRADES, entries)

    async def wait_for_readers(self) -> float:
        """Wait while the trade notifiers are more than `LAG_LIMIT` behind; return the seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        told = False
        while not self._stopping.is_set() and (lag := await self._lag()) > LAG_LIMIT:
            if not told:
                log.warning("waiting_for_trade_notifier", entries=lag, limit=LAG_LIMIT)
                told = True
            await asyncio.sleep(_LAG_POLL_S)
        waited = loop.time() - began
        if told:
            log.info("trade_notifier_caught_up", waited_s=round(waited, 1))
        return waited if told else 0.0

    async def _append(self, stream: str, entries: Sequence[Entry]) -> None:
        if entries:
            await keep_trying("publish", partial(self._bus.append, stream, entries, MAX_STREAM_LENGTH))

    async def _lag(self) -> int:
        """Trades that the notifiers have not read; 0 where there is no notifier, or Redis cannot say."""
        found = 0

        async def look() -> None:
            nonlocal found
            try:
                info = await self._bus.group_info(redis_keys.FEED_TRADES, redis_keys.TRADE_GROUP, self._clock.now_ms())
            except GroupMissingError:
                found = 0
            else:
                found = info.lag or 0

        await keep_trying("lag", look)
        return found


def run_feed(redis_url: str, work: Callable[[RedisBus, asyncio.Event], Awaitable[None]]) -> None:
    """Run a feed until it ends or SIGINT or SIGTERM sets the event that it is given.

    Raises:
        LauncherError: Redis refuses us.
    """
    uvloop.run(_run(redis_url, work))


async def _run(redis_url: str, work: Callable[[RedisBus, asyncio.Event], Awaitable[None]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    bus = open_bus(redis_url, "tickwire-feed")
    working = loop.create_task(_connected(bus, work, stopping))
    stop_wanted = loop.create_task(stopping.wait())
    try:
        await asyncio.wait({working, stop_wanted}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await asyncio.wait({working}, timeout=1.0)  # a feed that waits for Redis does not see the event
        working.cancel()
        await working
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    except BusRefusedError as error:
        raise LauncherError(
            f"Redis refuses: {error}", "check the URL, its password and the user's permissions"
        ) from error
    finally:
        stop_wanted.cancel()
        try:
            await bus.close()
        except BusError as error:
            log.debug("redis_close_failed", error=error)


async def _connected(
    bus: RedisBus, work: Callable[[RedisBus, asyncio.Event], Awaitable[None]], stopping: asyncio.Event
) -> None:
    await keep_trying("connect", bus.ping)
    await work(bus, stopping)


def say(text: str) -> None:
    """One line on standard output, at once: `tickwire up` reads it, and shows the newest."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
