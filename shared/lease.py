"""One replica works, the others wait: a lease in Redis with a fencing token.

A lease alone does not keep a process that was frozen from waking up and writing, so each holder has a token higher than
all before it, and every script that writes compares it. The token, not the clock, is what makes a takeover safe; the
clock only says how long it takes (Kleppmann, "How to do distributed locking", 2016).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from shared.bus.errors import BusUnavailableError, FencedError
from shared.bus.redis_bus import RedisBus
from shared.log import get_logger

log = get_logger(__name__)

LIFETIME_MS: Final = 4000
RENEW_S: Final = 1.0
RETRY_S: Final = 0.5


class Lease:
    """The right to be the one that works on `key`.

    Args:
        bus: where the lease lives.
        key: from `shared.names.redis_keys`.
        owner: unique per process.
    """

    def __init__(self, bus: RedisBus, key: str, owner: str) -> None:
        self._bus = bus
        self.key = key
        self.owner = owner
        self.token = 0

    @property
    def held(self) -> bool:
        """Whether this process believes that it holds the lease; only a script can know."""
        return self.token > 0

    @property
    def stamp(self) -> str:
        """What the lease's key holds while this holder is the newest: scripts compare it."""
        return f"{self.token}:{self.owner}"

    async def hold(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, run `work` while holding it, give it back when `work` returns.

        `work` is cancelled when the lease is lost. Returns when `work` returned; when the lease was lost, waits for it
        again and starts `work` anew.

        Raises:
            BusUnavailableError: Redis is away; the lease runs out by itself.
        """
        while True:
            while not await self.take():  # noqa: ASYNC110
                await asyncio.sleep(RETRY_S)  # the other holder is in another process: nothing here could wake us
            if await self.use(work):
                return

    async def take(self) -> bool:
        """Take the lease if it is free now; whether it is held. `use` comes next, before it runs out.

        Raises:
            BusUnavailableError: Redis is away; if it was taken, it runs out by itself.
        """
        return await self._prolong()

    async def use(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Run `work` while the lease that was taken is held, then give it back; False where it was lost first.

        Raises:
            BusUnavailableError: as `hold`.
        """
        log.info("lease_acquired", lease=self.key, fence=self.token)
        try:
            finished = await self._work_while_held(work)
        finally:
            await self._release()
        if not finished:
            log.warning("lease_lost", lease=self.key)
        return finished

    async def _prolong(self) -> bool:
        keys = [self.key, f"{self.key}:token"]
        token = await self._bus.run_script("acquire_lease", keys, [self.owner, LIFETIME_MS, self.token])
        if self.token and token != self.token:
            return False
        self.token = int(token)
        return self.held

    async def _work_while_held(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Run `work`; True when it returned by itself, False when the lease was lost first."""
        working = asyncio.ensure_future(work())  # noqa: TID251 - awaited below in every case
        try:
            while True:
                done, _ = await asyncio.wait({working}, timeout=RENEW_S)
                if done:
                    break
                if not await self._prolong():
                    return False
            await working
        except FencedError:
            return False
        finally:
            working.cancel()
            await asyncio.wait({working})
            if not working.cancelled():
                working.exception()  # another error is already on its way: this one counts as seen
        return True

    async def _release(self) -> None:
        token, self.token = self.token, 0
        try:
            await self._bus.run_script("release_lease", [self.key], [self.owner, token])
        except BusUnavailableError:
            log.info("lease_left_to_expire", lease=self.key)
