"""A Pub/Sub subscription that survives its connection, and notices one that is open and says nothing.

The owner says which channels it wants; this keeps the server's idea of them equal to that across reconnects. Pub/Sub
may lose messages, so every confirmation, the first and each later one, is reported: the owner then re-reads the state
that the channel carries. Beats on the channels (see `shared.bus.canary`) tell a quiet market from a deaf connection,
which is thrown away for a fresh one. Feeds `services.gateway` and the board; fed by `RedisBus.open_pubsub`.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from shared.bus.canary import BEAT, Canary
from shared.bus.errors import BusError, BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.bus.redis_pubsub import RedisPubSub
from shared.bus.retrying import keep_trying
from shared.log import get_logger
from shared.tasks import TaskGroup

log = get_logger(__name__)

TICK_S: Final = 0.1
BEAT_ANSWER_S: Final = 1.75
"""Redis that does not answer a beat for so long is away: noticed within three seconds of the last one heard."""

CLOSE_S: Final = 0.5
"""A dead connection may take so long to be closed; then it is left to the system."""

LOGGED_CHANNELS: Final = 8

Silence = Mapping[str, float]
"""Channel -> seconds for which nothing came although Redis published our beats on it."""


class Subscription:
    """Channels wanted, kept subscribed.

    Args:
        bus: opens the connections.
        on_message: gets (channel, payload) on the event loop; it must not block and must not raise.
        on_live: gets a channel each time the server confirmed it; messages before that may have been lost.
        on_lost: called when the connection is gone, before the next try.
        on_deaf: gets what was silent when a connection is thrown away for it, before `on_lost`.
        beat_channel: where the wanted channels belong to somebody else, beats go here alone, over the same connection,
            and an empty message on a wanted channel is a message like any other.
        sharded: our own channels, which share a slot; False for those that users PUBLISH to.

    Attributes:
        losses: how often the connection was gone.
    """

    def __init__(
        self,
        bus: RedisBus,
        on_message: Callable[[str, bytes], None],
        on_live: Callable[[str], None],
        on_lost: Callable[[], None] = lambda: None,
        *,
        on_deaf: Callable[[Silence], None] = lambda _: None,
        beat_channel: str | None = None,
        sharded: bool = True,
    ) -> None:
        self._sharded = sharded
        self._bus = bus
        self._on_message = on_message
        self._on_live = on_live
        self._on_lost = on_lost
        self._on_deaf = on_deaf
        self._beaten_apart = frozenset[str]() if beat_channel is None else frozenset((beat_channel,))
        self._wanted: set[str] = set()
        self._asked: set[str] = set()
        self._left: set[str] = set()
        self._confirmed: set[str] = set()
        self.losses = 0
        self._changed = asyncio.Event()
        self._canary = Canary(random.random)

    def want(self, channel: str) -> None:
        """Have a channel; `on_live` says when."""
        self._wanted.add(channel)
        self._changed.set()

    def unwant(self, channel: str) -> None:
        """Have it no more. A message on its way is dropped here."""
        self._wanted.discard(channel)
        self._left.add(channel)
        self._changed.set()

    def doubted(self) -> Silence:
        """Wanted channels that seem to be deaf; at most a second later they are heard again, or the connection goes."""
        return {channel: silent for channel, silent in self._canary.doubted().items() if self._is_beaten(channel)}

    @property
    def complete(self) -> bool:
        """Whether the server has confirmed all that is wanted, over the connection of now."""
        return self._wanted <= self._confirmed

    async def run(self) -> None:
        """Work until cancelled."""
        await keep_trying("subscription", self._connected, on_lost=self._lost)

    def _lost(self) -> None:
        self.losses += 1
        self._on_lost()

    async def _connected(self) -> None:
        while not self._wanted:
            self._changed.clear()
            await self._changed.wait()
        pubsub = self._bus.open_pubsub(sharded=self._sharded)
        self._asked = self._wanted | self._beaten_apart
        self._left.clear()
        self._canary = Canary(random.random)
        self._canary.ask(self._with_beats(self._asked))
        try:
            await pubsub.subscribe(self._asked)
            async with TaskGroup() as tasks:
                tasks.spawn("subscription-reconcile", self._reconcile(pubsub))
                tasks.spawn("subscription-beats", self._beat())
                tasks.spawn("subscription-canary", self._watch())
                await self._receive(pubsub)
        finally:
            self._confirmed.clear()
            self._canary = Canary(random.random)  # nothing is known of channels without a connection
            await _close(pubsub)

    async def _reconcile(self, pubsub: RedisPubSub) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted = self._wanted | self._beaten_apart
            # One that was left and wanted again since is asked for anew: its owner waits for the confirmation.
            missing, ended = wanted - (self._asked - self._left), self._asked - wanted
            self._asked = wanted
            self._left.clear()
            self._confirmed -= missing | ended
            self._canary.leave(ended)
            self._canary.ask(self._with_beats(missing))
            if missing:
                await pubsub.subscribe(missing)
            if ended:
                await pubsub.unsubscribe(ended)

    async def _receive(self, pubsub: RedisPubSub) -> None:
        heard = self._canary.heard
        while True:
            channel, data = await pubsub.next_event()
            heard.add(channel)
            if data is None:
                self._canary.confirm(channel)
                self._confirmed.add(channel)
            if channel not in self._wanted:
                continue
            if data is None:
                self._on_live(channel)
            elif data or self._beaten_apart:
                self._on_message(channel, data)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            due = [channel for channel in self._canary.due() if self._is_beaten(channel)]
            if not due:
                continue
            try:
                async with asyncio.timeout(BEAT_ANSWER_S):
                    await self._bus.publish(((channel, BEAT) for channel in due), sharded=self._sharded)
            except TimeoutError:
                raise BusUnavailableError(f"a beat was not answered within {BEAT_ANSWER_S:g} s") from None
            self._canary.answered(due)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            self._canary.tick(loop.time())
            deaf = {channel: silent for channel, silent in self._canary.deaf().items() if self._is_beaten(channel)}
            if deaf:
                longest = round(max(deaf.values()), 1)
                log.warning("pubsub_deaf", channels=sorted(deaf)[:LOGGED_CHANNELS], deaf=len(deaf), silent_s=longest)
                self._on_deaf(deaf)
                raise BusUnavailableError(f"the Pub/Sub connection is deaf: silent for {longest:g} s")

    def _is_beaten(self, channel: str) -> bool:
        """Whether a channel still is one to be heard on; one that became unwanted may not be known as such yet."""
        return channel in (self._beaten_apart or self._wanted)

    def _with_beats(self, channels: set[str]) -> set[str]:
        return channels & self._beaten_apart if self._beaten_apart else channels


async def _close(pubsub: RedisPubSub) -> None:
    with suppress(BusError, TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await pubsub.close()
