"""From a channel to the stream of its name. How it changes hands: tests/integration/test_relay.py."""

from collections.abc import AsyncIterator

import pytest

from services.price_ingest import relay as relay_module
from services.price_ingest.relay import FEEDS, Relay
from shared.bus.entries import StreamEntry
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.health import Health
from shared.lifecycle import Runtime
from shared.names import redis_keys
from shared.settings import CommonSettings
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from shared.upstream import MAX_PAYLOAD_BYTES
from tests.support.waiting import eventually

FEED = redis_keys.FEED_TRADES


@pytest.fixture
async def runtime(bus: RedisBus) -> AsyncIterator[Runtime]:
    telemetry = Telemetry()
    async with TaskGroup() as tasks:
        yield Runtime("price-ingest", "me", CommonSettings(), bus, SystemClock(), telemetry, Health(telemetry), tasks)


async def listening(bus: RedisBus, *feeds: str) -> None:
    async def subscribers() -> int:
        return sum(count for _, count in await bus._client.pubsub_numsub(*feeds))

    await eventually(subscribers, "subscribed", lambda count: count == len(feeds))


async def entries(bus: RedisBus, stream: str) -> list[StreamEntry]:
    return (await bus.read({stream: "0"}, 100_000, 0)).get(stream, [])


async def appended(bus: RedisBus, stream: str, wanted: int) -> list[bytes]:
    found = await eventually(lambda: entries(bus, stream), f"{stream} appended", lambda found: len(found) >= wanted)
    return [entry.fields[b"data"] for entry in found]


def shown(runtime: Runtime, line: str) -> bool:
    return line.encode() in runtime.telemetry.exposition("")[0]


async def test_each_channel_goes_to_its_stream_byte_for_byte_and_in_order(bus: RedisBus, runtime: Runtime) -> None:
    for feed in FEEDS:
        runtime.tasks.spawn(feed, Relay(runtime, feed).run())
    await listening(bus, *FEEDS)
    messages = {feed: [f"{feed} \xff {number}".encode("latin-1") for number in range(1200)] for feed in FEEDS}
    await bus.publish(((feed, payload) for feed, payloads in messages.items() for payload in payloads), sharded=False)
    for feed, payloads in messages.items():
        assert await appended(bus, feed, len(payloads)) == payloads
    counted = 'tickwire_relay_messages_total{feed="feed:trades"} 1200.0'
    await eventually(lambda: shown(runtime, counted), "all are counted")  # once the reply has come


async def test_a_message_that_is_too_large_becomes_a_dead_letter_and_the_next_goes_on(
    bus: RedisBus, runtime: Runtime
) -> None:
    runtime.tasks.spawn("relay", Relay(runtime, FEED).run())
    await listening(bus, FEED)
    large = b"{" + b"x" * MAX_PAYLOAD_BYTES
    await bus.publish([(FEED, large), (FEED, b"fits"), (FEED, large[:-1])], sharded=False)
    assert await appended(bus, FEED, 2) == [b"fits", large[:-1]]
    (letter,) = await eventually(lambda: entries(bus, redis_keys.DEAD_TRADES), "a dead letter")
    assert letter.fields[b"reason"] == b"payload_too_large"
    assert letter.fields[b"limit"] == str(MAX_PAYLOAD_BYTES).encode()
    assert letter.fields[b"original:data"] == large[:512]
    assert letter.fields[b"cut"] == b"1"
    assert shown(runtime, 'tickwire_relay_dropped_total{feed="feed:trades",reason="too_large"} 1.0')


async def test_what_does_not_fit_the_waiting_room_is_dropped_and_counted(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "MAX_WAITING_BYTES", 10)
    relay = Relay(runtime, FEED)
    for payload in (b"12345", b"123456", b"12345"):
        relay._take(FEED, payload)
    assert list(relay._waiting) == [b"12345", b"12345"]
    assert shown(runtime, 'tickwire_relay_dropped_total{feed="feed:trades",reason="too_many"} 1.0')


async def test_the_stream_stays_bounded(bus: RedisBus, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MAX_STREAM_LENGTH", 100)
    runtime.tasks.spawn("relay", Relay(runtime, FEED).run())
    await listening(bus, FEED)
    await bus.publish(((FEED, b"%d" % number) for number in range(2000)), sharded=False)
    await eventually(lambda: shown(runtime, '_total{feed="feed:trades"} 2000.0'), "all relayed")
    assert 100 <= await bus.length(FEED) < 300


async def test_a_connection_that_is_lost_is_counted(bus: RedisBus, runtime: Runtime) -> None:
    runtime.tasks.spawn("relay", Relay(runtime, FEED).run())
    await listening(bus, FEED)
    assert shown(runtime, 'tickwire_pubsub_lost_total{feed="feed:trades"} 0.0')
    await bus._client.client_kill_filter(_type="pubsub")
    await eventually(lambda: shown(runtime, 'tickwire_pubsub_lost_total{feed="feed:trades"} 1.0'), "a loss")
