"""Two relays of one channel: one works, and what it held goes over when it lets go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.price_ingest.relay import Relay
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.health import Health
from shared.lifecycle import Runtime
from shared.names import redis_keys
from shared.settings import CommonSettings
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from tests.support.waiting import eventually

FEED = redis_keys.FEED_PRICES
RELAYED = b'tickwire_relay_messages_total{feed="feed:prices"}'


@asynccontextmanager
async def relaying(bus: RedisBus, name: str) -> AsyncIterator[Telemetry]:
    telemetry = Telemetry()
    async with TaskGroup() as tasks:
        runtime = Runtime(
            "price-ingest", name, CommonSettings(), bus, SystemClock(), telemetry, Health(telemetry), tasks
        )
        tasks.spawn("relay", Relay(runtime, FEED).run())
        yield telemetry


async def owner(bus: RedisBus) -> str:
    stamp = await bus.get(redis_keys.relay_lease(FEED))
    subscribed = (await bus._client.pubsub_numsub(FEED))[0][1]
    return stamp.decode().partition(":")[2] if stamp and subscribed == 1 else ""


async def publish_until(bus: RedisBus, text: str, wanted: int) -> None:
    await bus.publish([(FEED, text.encode())], sharded=False)
    await eventually(lambda: bus.length(FEED), "appended", lambda length: length >= wanted)


async def test_of_two_replicas_one_appends_and_the_other_follows_at_once_when_it_stops(bus: RedisBus) -> None:
    async with relaying(bus, "second") as second:
        await eventually(lambda: owner(bus), "an owner", lambda name: name == "second")
        async with relaying(bus, "third"):
            await publish_until(bus, "one", 1)
        await publish_until(bus, "two", 2)
        await eventually(
            lambda: second.exposition("")[0], "counted", lambda text: RELAYED + b" 2.0" in text
        )  # counted behind the append
    assert await bus.get(redis_keys.relay_lease(FEED)) is None, "given back, not left to run out"
    async with relaying(bus, "fourth"):
        await eventually(lambda: owner(bus), "an owner", lambda name: name == "fourth")
        await publish_until(bus, "three", 3)
    entries = (await bus.read({FEED: "0"}, 100, 0))[FEED]
    assert [entry.fields for entry in entries] == [{b"data": text} for text in (b"one", b"two", b"three")]


async def test_who_lost_the_lease_unknowingly_appends_nothing_and_stands_by(bus: RedisBus) -> None:
    async with relaying(bus, "frozen") as telemetry:
        await eventually(lambda: owner(bus), "an owner", lambda name: name == "frozen")
        await bus._client.set(redis_keys.relay_lease(FEED), "99:other", px=60_000)
        await bus.publish([(FEED, b"told twice")], sharded=False)

        async def unsubscribed() -> bool:
            return bool((await bus._client.pubsub_numsub(FEED))[0][1] == 0)

        await eventually(unsubscribed, "it has let go")
        assert await bus.length(FEED) == 0
        assert RELAYED + b" 0.0" in telemetry.exposition("")[0]
