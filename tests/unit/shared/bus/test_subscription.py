"""A Pub/Sub subscription that survives its connection, on a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.bus.subscription import Subscription
from shared.tasks import TaskGroup
from tests.support.waiting import eventually


class Listener:
    """A running subscription and what it said."""

    def __init__(self, bus: RedisBus) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.live: list[str] = []
        self.lost = 0
        self.subscription = Subscription(bus, self._on_message, self.live.append, self._on_lost)

    def _on_message(self, channel: str, data: bytes) -> None:
        self.messages.append((channel, data))

    def _on_lost(self) -> None:
        self.lost += 1
        self.live.clear()

    async def has(self, holds: Callable[["Listener"], bool]) -> None:
        await eventually(lambda: holds(self), "what the listener is to have")

    async def is_live(self, *channels: str) -> None:
        await self.has(lambda it: set(channels) <= set(it.live))

    async def hears(self, bus: RedisBus, channel: str, data: bytes) -> None:
        """Publish until it is heard: the server may have forgotten the subscription, or not yet know it."""

        async def again() -> bool:
            await bus.publish([(channel, data)])
            await asyncio.sleep(0)
            return (channel, data) in self.messages

        await eventually(again, f"{data!r} on {channel}")


async def subscribers(bus: RedisBus, channel: str) -> int:
    ((_, number),) = await bus._client.pubsub_shardnumsub(channel)
    return int(number)


async def nobody_listens(bus: RedisBus, channel: str) -> None:
    async def ask() -> bool:
        return await subscribers(bus, channel) == 0

    await eventually(ask, f"nobody on {channel}")


@pytest.fixture
async def listener(bus: RedisBus) -> AsyncIterator[Listener]:
    made = Listener(bus)
    async with TaskGroup() as tasks:
        tasks.spawn("listen", made.subscription.run())
        yield made


async def test_a_wanted_channel_goes_live_and_its_messages_come_in_order(listener: Listener, bus: RedisBus):
    listener.subscription.want("a")
    await listener.is_live("a")
    await bus.publish([("a", b"1"), ("b", b"not wanted"), ("a", b"\xff\x00")])
    await listener.has(lambda it: len(it.messages) == 2)
    assert listener.messages == [("a", b"1"), ("a", b"\xff\x00")]


async def test_more_channels_can_be_wanted_later(listener: Listener, bus: RedisBus):
    listener.subscription.want("a")
    await listener.is_live("a")
    listener.subscription.want("b")
    listener.subscription.want("c")
    await listener.is_live("b", "c")
    await bus.publish([("a", b"1"), ("c", b"2")])
    await listener.has(lambda it: it.messages == [("a", b"1"), ("c", b"2")])


async def test_an_unwanted_channel_is_left_on_the_server_too(listener: Listener, bus: RedisBus):
    for channel in ("a", "b"):
        listener.subscription.want(channel)
    await listener.is_live("a", "b")
    listener.subscription.unwant("a")
    await bus.publish([("a", b"on its way"), ("b", b"1")])
    await listener.has(lambda it: it.messages == [("b", b"1")])
    await nobody_listens(bus, "a")
    assert await subscribers(bus, "b") == 1


async def test_wanting_what_was_unwanted_makes_it_live_again(listener: Listener, bus: RedisBus):
    listener.subscription.want("a")
    await listener.is_live("a")
    listener.subscription.unwant("a")
    await nobody_listens(bus, "a")
    listener.live.clear()
    listener.subscription.want("a")
    await listener.is_live("a")
    await listener.hears(bus, "a", b"1")


async def test_leaving_the_last_channel_and_wanting_another_works(listener: Listener, bus: RedisBus):
    listener.subscription.want("a")
    await listener.is_live("a")
    listener.subscription.unwant("a")
    await nobody_listens(bus, "a")
    listener.subscription.want("b")
    await listener.is_live("b")
    await listener.hears(bus, "b", b"1")


async def test_a_channel_that_is_left_and_wanted_again_at_once_goes_live_again(listener: Listener, bus: RedisBus):
    listener.subscription.want("a")
    await listener.is_live("a")
    listener.live.clear()
    listener.subscription.unwant("a")
    listener.subscription.want("a")
    await listener.is_live("a")
    await listener.hears(bus, "a", b"1")


async def test_a_connection_that_the_server_kills_is_replaced_and_every_channel_goes_live_again(
    listener: Listener, bus: RedisBus
):
    for channel in ("a", "b"):
        listener.subscription.want(channel)
    await listener.is_live("a", "b")
    listener.live.clear()
    await bus._client.client_kill_filter(_type="pubsub")
    await listener.is_live("a", "b")
    await listener.hears(bus, "b", b"after")


async def test_a_server_that_restarts_is_subscribed_again_but_not_to_what_became_unwanted(tmp_path: Path):
    with EmbeddedValkey(directory=tmp_path) as server:
        bus = RedisBus(server.url, "test")
        listener = Listener(bus)
        async with TaskGroup() as tasks:
            tasks.spawn("listen", listener.subscription.run())
            for channel in ("keep", "leave"):
                listener.subscription.want(channel)
            await listener.is_live("keep", "leave")
            server.kill()
            await listener.has(lambda it: it.lost > 0)
            listener.subscription.unwant("leave")
            listener.subscription.want("new")
            server.start()
            await listener.is_live("keep", "new")
            assert "leave" not in listener.live
            assert await subscribers(bus, "leave") == 0
            await listener.hears(bus, "keep", b"1")
            await listener.hears(bus, "new", b"2")
        await bus.close()


async def test_it_waits_for_a_server_that_is_not_there_yet(tmp_path: Path):
    server = EmbeddedValkey(directory=tmp_path)
    bus = RedisBus(server.url, "test")
    listener = Listener(bus)
    try:
        async with TaskGroup() as tasks:
            listener.subscription.want("a")
            tasks.spawn("listen", listener.subscription.run())
            await listener.has(lambda it: it.lost > 0)
            server.start()
            await listener.is_live("a")
    finally:
        await bus.close()
        server.stop()
