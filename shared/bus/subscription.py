"""A Pub/Sub subscription that survives its connection.

The owner says which channels it wants; this keeps the server's idea of them equal to that across reconnects. Pub/Sub
may lose messages, so every confirmation, the first and each later one, is reported: the owner then re-reads the state
that the channel carries. Feeds `services.gateway` and the board; fed by `RedisBus.open_pubsub`.
"""

import asyncio
from collections.abc import Callable

from shared.bus.redis_bus import RedisBus
from shared.bus.redis_pubsub import RedisPubSub
from shared.bus.retrying import keep_trying
from shared.tasks import TaskGroup


class Subscription:
    """Channels wanted, kept subscribed.

    Args:
        bus: opens the connections.
        on_message: gets (channel, payload) on the event loop; it must not block and must not raise.
        on_live: gets a channel each time the server confirmed it; messages before that may have been lost.
        on_lost: called when the connection is gone, before the next try.
        sharded: our own channels, which share a slot; False for those that users PUBLISH to.
    """

    def __init__(
        self,
        bus: RedisBus,
        on_message: Callable[[str, bytes], None],
        on_live: Callable[[str], None],
        on_lost: Callable[[], None] = lambda: None,
        *,
        sharded: bool = True,
    ) -> None:
        self._sharded = sharded
        self._bus = bus
        self._on_message = on_message
        self._on_live = on_live
        self._on_lost = on_lost
        self._wanted: set[str] = set()
        self._asked: set[str] = set()
        self._left: set[str] = set()
        self._changed = asyncio.Event()

    def want(self, channel: str) -> None:
        """Have a channel; `on_live` says when."""
        self._wanted.add(channel)
        self._changed.set()

    def unwant(self, channel: str) -> None:
        """Have it no more. A message on its way is dropped here."""
        self._wanted.discard(channel)
        self._left.add(channel)
        self._changed.set()

    async def run(self) -> None:
        """Work until cancelled."""
        await keep_trying("subscription", self._connected, on_lost=self._on_lost)

    async def _connected(self) -> None:
        while not self._wanted:
            self._changed.clear()
            await self._changed.wait()
        pubsub = self._bus.open_pubsub(sharded=self._sharded)
        self._asked = set(self._wanted)
        self._left.clear()
        try:
            await pubsub.subscribe(self._asked)
            async with TaskGroup() as tasks:
                tasks.spawn("subscription-reconcile", self._reconcile(pubsub))
                await self._receive(pubsub)
        finally:
            await pubsub.close()

    async def _reconcile(self, pubsub: RedisPubSub) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted = set(self._wanted)
            # One that was left and wanted again since is asked for anew: its owner waits for the confirmation.
            missing, ended = wanted - (self._asked - self._left), self._asked - wanted
            self._asked = wanted
            self._left.clear()
            if missing:
                await pubsub.subscribe(missing)
            if ended:
                await pubsub.unsubscribe(ended)

    async def _receive(self, pubsub: RedisPubSub) -> None:
        while True:
            event = await pubsub.next_event()
            if event.channel not in self._wanted:
                continue
            if event.data is None:
                self._on_live(event.channel)
            else:
                self._on_message(event.channel, event.data)
