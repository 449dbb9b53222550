"""A Pub/Sub subscription that survives its connection, on a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.bus.redis_pubsub import RedisPubSub
from shared.bus.subscription import BEAT_ANSWER_S, Silence, Subscription
from shared.tasks import TaskGroup
from tests.support.fault_proxy import PUBSUB, FaultProxy
from tests.support.waiting import PATIENCE_S, eventually


class Listener:
    """A running subscription and what it said."""

    def __init__(self, bus: RedisBus, beat_channel: str | None = None) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.live: list[str] = []
        self.lost = 0
        self.silences: list[Silence] = []
        self.subscription = Subscription(
            bus,
            self._on_message,
            self.live.append,
            self._on_lost,
            on_deaf=self.silences.append,
            beat_channel=beat_channel,
        )

    def _on_message(self, channel: str, data: bytes) -> None:
        self.messages.append((channel, data))

    def _on_lost(self) -> None:
        self.lost += 1
        self.live.clear()

    async def has(self, holds: Callable[["Listener"], object]) -> None:
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


async def test_it_is_complete_while_all_that_is_wanted_is_confirmed_and_counts_its_losses(
    listener: Listener, bus: RedisBus
):
    subscription = listener.subscription
    seen = [subscription.complete]  # nothing is wanted
    subscription.want("a")
    seen.append(subscription.complete)
    await listener.is_live("a")
    seen.append(subscription.complete)
    assert seen == [True, False, True]
    listener.live.clear()
    await bus._client.client_kill_filter(_type="pubsub")
    await listener.has(lambda it: it.subscription.losses == 1)
    await listener.has(lambda it: it.subscription.complete)
    assert listener.live == ["a"]


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


@pytest.fixture
def proxy(valkey: EmbeddedValkey) -> Iterator[FaultProxy]:
    with FaultProxy(valkey.url) as made:
        yield made


@asynccontextmanager
async def behind(proxy: FaultProxy, *channels: str, beat_channel: str | None = None) -> AsyncIterator[Listener]:
    """A live listener on the far side of a proxy."""
    bus = RedisBus(proxy.url, "test-behind")
    made = Listener(bus, beat_channel)
    async with TaskGroup() as tasks:
        tasks.spawn("listen", made.subscription.run())
        for channel in channels:
            made.subscription.want(channel)
        await made.is_live(*channels)
        yield made
    await bus.close()


async def heard_by(pubsub: RedisPubSub) -> tuple[str, bytes | None]:
    async with asyncio.timeout(PATIENCE_S):
        return await pubsub.next_event()


async def test_a_connection_that_goes_deaf_is_replaced_and_every_channel_goes_live_again(
    proxy: FaultProxy, bus: RedisBus
):
    async with behind(proxy, "a", "b") as listener:
        assert proxy.deafen(PUBSUB) == 1
        await listener.has(lambda it: set(it.subscription.doubted()) == {"a", "b"})
        assert not listener.lost
        await listener.is_live("a", "b")
        await listener.has(lambda it: it.lost > 0)
        await listener.is_live("a", "b")
        (silence,) = listener.silences
        assert silence.keys() == {"a", "b"}
        assert all(1.9 < seconds < 4 for seconds in silence.values())
        assert listener.subscription.doubted() == {}
        await listener.hears(bus, "b", b"after")


async def test_a_redis_that_does_not_answer_is_lost_and_not_deaf(proxy: FaultProxy, bus: RedisBus):
    async with behind(proxy, "a") as listener:
        proxy.blackhole()
        await listener.has(lambda it: it.lost > 0)
        proxy.heal()
        await listener.is_live("a")
        await listener.hears(bus, "a", b"after")
        assert listener.silences == []


async def test_a_slow_way_to_redis_is_not_deafness(proxy: FaultProxy, bus: RedisBus):
    async with behind(proxy, "a") as listener:
        proxy.delay(0.1)
        await asyncio.sleep(2 * BEAT_ANSWER_S)
        assert (listener.lost, listener.silences) == (0, [])
        proxy.delay(0)
        await listener.hears(bus, "a", b"after")


async def test_beats_are_heard_on_the_server_and_are_no_messages(listener: Listener, bus: RedisBus):
    listener.subscription.want("a")
    await listener.is_live("a")
    other = bus.open_pubsub()
    await other.subscribe(["a"])
    assert [await heard_by(other) for _ in range(4)] == [("a", None)] + 3 * [("a", b"")]
    await other.close()
    assert listener.messages == []
    assert listener.lost == 0


async def test_channels_of_somebody_else_are_not_beaten_and_their_empty_messages_are_messages(
    proxy: FaultProxy, bus: RedisBus
):
    others = bus.open_pubsub()
    await others.subscribe(["a", "a:beat"])
    assert {await heard_by(others), await heard_by(others)} == {("a", None), ("a:beat", None)}
    async with behind(proxy, "a", beat_channel="a:beat") as listener:
        assert [await heard_by(others) for _ in range(3)] == 3 * [("a:beat", b"")]
        await bus.publish([("a", b"")])
        await listener.has(lambda it: it.messages == [("a", b"")])
        proxy.deafen(PUBSUB)
        await listener.has(lambda it: it.silences)
        assert list(listener.silences[0]) == ["a:beat"]
        await listener.is_live("a")
        await listener.hears(bus, "a", b"after")
    await others.close()
