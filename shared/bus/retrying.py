"""Work that needs Redis, begun again each time Redis fails it."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from shared.backoff import Backoff
from shared.bus.errors import BusUnavailableError
from shared.log import get_logger

log = get_logger(__name__)


async def keep_trying(
    name: str,
    work: Callable[[], Awaitable[None]],
    on_lost: Callable[[], None] | None = None,
    cap: float = 2.0,
) -> None:
    """Run `work` again each time Redis fails it, after a back-off of at most `cap` s; return when it returns.

    `on_lost` is called at each failure, before the wait. Anything but `BusUnavailableError` passes through.
    """
    backoff = Backoff(base=0.1, cap=cap, random=random.random)
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await work()
        except BusUnavailableError as error:
            if on_lost is not None:
                on_lost()
            if loop.time() - started > cap:
                backoff.reset()
            delay = backoff.next_delay()
            log.warning("redis_unavailable", task=name, error=error, retry_in_s=round(delay, 2))
            await asyncio.sleep(delay)
        else:
            return
