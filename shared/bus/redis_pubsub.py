"""One Pub/Sub connection, sharded or ordinary.

Our own channels are sharded (SSUBSCRIBE): in a cluster a message then goes to the node of its slot alone, and on one
server the two kinds cost the same. What users publish, with PUBLISH, is subscribed to as an ordinary channel.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from math import inf
from typing import Any, Final, cast

from shared.bus.entries import PubSubEvent
from shared.bus.errors import BusRefusedError, BusUnavailableError
from shared.bus.redis_client import PubSub, answered, our_errors
from shared.bus.servers import Servers

_MESSAGES: Final = (b"smessage", b"message")
_CONFIRMED: Final = (b"ssubscribe", b"subscribe")
_LEFT: Final = (b"sunsubscribe", b"unsubscribe")


class RedisPubSub:
    """One Pub/Sub connection. It does not outlive a failure: close it and open another.

    Args:
        servers: who has the channels.
        sharded: SSUBSCRIBE instead of SUBSCRIBE. Then all channels of the connection share a slot.
    """

    def __init__(self, servers: Servers, *, sharded: bool) -> None:
        self._servers = servers
        self._sharded = sharded
        self._slot: int | None = None
        self._pubsub: PubSub | None = None
        self._leaving: set[str] = set()

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Ask for channels; each is confirmed by a `PubSubEvent` without data. The first call connects."""
        names = list(channels)
        if not names:
            return
        self._check_slot(names)
        if self._pubsub is None:
            async with self._servers.answered():
                self._pubsub = (await self._servers.serving(names[0])).pubsub()
        else:
            self._require_connection()
        self._leaving.difference_update(names)
        await self._send("ssubscribe" if self._sharded else "subscribe", names)

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Leave channels. Messages already on their way still come."""
        names = list(channels)
        self._require_connection()
        self._leaving.update(names)
        await self._send("sunsubscribe" if self._sharded else "unsubscribe", names)

    async def receive(self, timeout: float) -> PubSubEvent | None:  # noqa: ASYNC109 - None at its end is no failure
        """The next message or confirmation, or None when `timeout` s passed without one."""
        try:
            async with asyncio.timeout(timeout):
                return await self.next_event()
        except TimeoutError:
            return None

    async def next_event(self) -> PubSubEvent:
        """The next message or confirmation, however long it takes: the way for many messages a second.

        It arms no timer and makes no task step for a message that has arrived; the library's `get_message`, with two
        timers each, costs as much as ten deliveries. A connection that the system gives up on is an error.
        """
        connection = self._require_connection()
        with our_errors():
            while True:
                reply = await connection.read_response(timeout=inf, disconnect_on_error=False)
                if reply is None:  # ETIMEDOUT, which the library takes for a timeout of its own
                    raise BusUnavailableError("the Pub/Sub connection is dead")
                if reply[0] in _MESSAGES:
                    return PubSubEvent(reply[1].decode(), reply[2])
                if reply[0] in _CONFIRMED:
                    return PubSubEvent(reply[1].decode(), None)
                if reply[0] in _LEFT:
                    self._note_left(reply[1].decode())

    async def close(self) -> None:
        """Drop the connection, whatever its state."""
        if self._pubsub is not None:
            async with answered():
                await self._pubsub.aclose()  # type: ignore[no-untyped-call]  # the library left it out

    def _note_left(self, channel: str) -> None:
        if channel not in self._leaving:  # the server says it by itself when the slot moves to another node
            self._servers.doubt()
            raise BusUnavailableError(f"the server gave up the channel {channel}")
        self._leaving.discard(channel)

    def _check_slot(self, names: list[str]) -> None:
        if not self._sharded:
            return
        slots = {self._servers.slot(name) for name in names}
        self._slot = min(slots) if self._slot is None else self._slot
        if slots != {self._slot}:
            raise BusRefusedError(f"channels of several slots on one connection: {', '.join(sorted(names))}")

    def _require_connection(self) -> Any:  # noqa: ANN401 - the library's own annotation is None
        connection = cast("Any", self._pubsub.connection) if self._pubsub is not None else None
        if connection is None or not connection.is_connected:  # else the library would connect anew by itself
            raise BusUnavailableError("the Pub/Sub connection is dead")
        return connection

    async def _send(self, command: str, names: list[str]) -> None:
        async with self._servers.answered():
            send: Awaitable[None] = getattr(self._pubsub, command)(*names)
            await send
