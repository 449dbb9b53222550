"""From upstream streams to published prices, on a real server and inside this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.price_ingest import pipeline
from services.price_ingest.book import Book
from services.price_ingest.figures import Figures
from services.price_ingest.pipeline import Pipeline
from services.price_ingest.store import PriceStore
from shared.bus.redis_bus import RedisBus, RedisPubSub
from shared.clock import SystemClock
from shared.dead_letters import DeadLetters
from shared.lease import Lease
from shared.messages import Price, decode_price, decode_price_batch
from shared.names import metrics, redis_keys
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from tests.support.waiting import PATIENCE_S, eventually

FEED = redis_keys.FEED_PRICES

Start = Callable[..., Awaitable[Figures]]


@pytest.fixture
async def start(bus: RedisBus, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Runs a pipeline until the test ends."""
    monkeypatch.setattr(pipeline, "LOOK_S", 0.05)
    monkeypatch.setattr(pipeline, "LONGEST_BLOCK_MS", 50)
    lease = Lease(bus, redis_keys.PRICE_LEASE, "one")
    assert await lease._prolong()
    clock = SystemClock()
    async with TaskGroup() as tasks:

        async def run(publish_s: float = 0.001, max_symbols: int = 100) -> Figures:
            telemetry = Telemetry()
            figures = Figures(telemetry, clock)
            letters = DeadLetters(bus, redis_keys.DEAD_PRICES, telemetry, clock)
            store = PriceStore(bus, lease, 1, clock)
            tasks.spawn("pipeline", Pipeline(bus, store, letters, figures, clock, publish_s, Book(max_symbols)).run())
            await eventually(lambda: _is_there(bus, redis_keys.PRICE_EPOCH), "an epoch")
            return figures

        yield run


@pytest.fixture
async def listener(bus: RedisBus) -> AsyncIterator[RedisPubSub]:
    pubsub = bus.open_pubsub()
    await pubsub.subscribe([redis_keys.price_channel(0)])
    assert await pubsub.receive(PATIENCE_S)
    yield pubsub
    await pubsub.close()


async def _is_there(bus: RedisBus, key: str) -> bool:
    return await bus.get(key) is not None


async def heard(listener: RedisPubSub) -> dict[str, Price]:
    event = await listener.receive(PATIENCE_S)
    assert event is not None
    assert event.data is not None
    return {symbol: decode_price(raw) for symbol, raw in decode_price_batch(event.data).prices.items()}


async def snapshot(bus: RedisBus) -> dict[str, Price]:
    stored = await bus.hash_all(redis_keys.price_snapshot(0))
    return {symbol.decode(): decode_price(raw) for symbol, raw in stored.items()}


async def feed(bus: RedisBus, *prices: str, stream: str = FEED, symbol: str = "X") -> None:
    await bus.append(stream, [{"symbol": symbol, "price": price, "ts": "5"} for price in prices], 1000)


async def position(bus: RedisBus, stream: str = FEED) -> str:
    return (await bus.hash_all(redis_keys.PRICE_POSITIONS)).get(stream.encode(), b"").decode()


async def is_read_up(bus: RedisBus, stream: str = FEED) -> bool:
    return await position(bus, stream) == (await bus.last_ids([stream]))[stream]


async def test_the_first_change_goes_at_once_and_later_ones_wait_and_fold(
    start: Start, bus: RedisBus, listener: RedisPubSub
):
    await start(publish_s=1.0)
    loop = asyncio.get_running_loop()
    await feed(bus, "1")
    assert (await heard(listener))["X"].price == "1"
    first = loop.time()
    await feed(bus, "2")
    await feed(bus, "3")
    assert await heard(listener) == {"X": Price("3", 5000, 3, 2)}
    assert loop.time() - first > 0.6


async def test_what_is_published_already_stands_in_the_snapshot(start: Start, bus: RedisBus, listener: RedisPubSub):
    await start()
    await feed(bus, "1.50")
    published = await heard(listener)
    assert await snapshot(bus) == published


async def test_the_snapshot_is_published_once_at_the_start(start: Start, bus: RedisBus, listener: RedisPubSub):
    figures = await start()
    await feed(bus, "1")
    first = await heard(listener)
    await start()
    assert await heard(listener) == first == {"X": Price("1", 5000, 1, 1)}
    assert figures.report()[metrics.PUBLISHED.name] == 1


async def test_what_came_while_nobody_read_is_folded_and_the_numbers_go_on(start: Start, bus: RedisBus):
    await feed(bus, "1", "2", "2.0", "3")
    await start()
    await eventually(lambda: is_read_up(bus), "read up")
    assert await snapshot(bus) == {"X": Price("3", 5000, 3, 3)}


async def test_a_partition_that_appears_later_is_read_from_its_beginning(start: Start, bus: RedisBus):
    await start()
    await feed(bus, "7", "8", stream="feed:trades:3")
    await eventually(lambda: is_read_up(bus, "feed:trades:3"), "read up")
    assert (await snapshot(bus))["X"].price == "8"


async def test_a_bad_price_is_a_dead_letter_and_a_bad_trade_is_only_counted(start: Start, bus: RedisBus):
    figures = await start()
    bad, good = {"symbol": "X", "price": "cheap"}, {"symbol": "X", "price": "1"}
    await bus.append(FEED, [bad, good], 100)  # not at once: each may be read alone
    await bus.append(redis_keys.FEED_TRADES, [bad], 100)
    await eventually(lambda: is_read_up(bus), "read up")
    await eventually(lambda: is_read_up(bus, redis_keys.FEED_TRADES), "read up")
    (letter,) = (await bus.read({redis_keys.DEAD_PRICES: "0"}, 10, 0))[redis_keys.DEAD_PRICES]
    assert (letter.fields[b"reason"], letter.fields[b"stream"]) == (b"bad_decimal", FEED.encode())
    report = figures.report()
    assert (report[metrics.TICKS.name], report[metrics.TICKS_ACCEPTED.name]) == (3, 1)
    assert report[metrics.TICKS_DROPPED.name] == 1


async def test_unchanged_late_and_surplus_ticks_are_counted_by_reason(start: Start, bus: RedisBus):
    figures = await start(max_symbols=1)
    await bus.append(
        FEED,
        [
            {"symbol": "X", "price": "1", "ts": "5"},
            {"symbol": "X", "price": "1.0", "ts": "6"},
            {"symbol": "X", "price": "2", "ts": "4"},
            {"symbol": "Y", "price": "2", "ts": "4"},
        ],
        100,
    )
    await eventually(lambda: is_read_up(bus), "read up")
    report = figures.report()
    assert (report[metrics.TICKS_ACCEPTED.name], report[metrics.TICKS_DROPPED.name]) == (1, 3)
    assert report[metrics.SYMBOLS.name] == 1


async def test_a_stream_that_begins_anew_is_noticed_and_read(start: Start, bus: RedisBus):
    figures = await start()
    await bus._client.xadd(FEED, {"symbol": "X", "price": "1", "ts": "5"}, id="9999999999999-0")
    await eventually(lambda: is_read_up(bus), "read up")
    await bus._client.delete(FEED)
    await feed(bus, "2")
    await eventually(lambda: is_read_up(bus), "read up")
    assert (await snapshot(bus))["X"] == Price("2", 5000, 2, 1)
    assert figures.report()[metrics.INGEST_GAPS.name] >= 1


async def test_entries_trimmed_while_nobody_read_are_counted_as_a_gap(start: Start, bus: RedisBus):
    await feed(bus, "1", "2", "3", "4")
    first, *_, last = (await bus.read({FEED: "0"}, 10, 0))[FEED]
    await bus.hash_set(redis_keys.PRICE_POSITIONS, {FEED: first.id.encode()})
    await bus._client.xtrim(FEED, maxlen=1, approximate=False)
    figures = await start()
    await eventually(lambda: is_read_up(bus), "read up")
    assert await position(bus) == last.id
    assert (await snapshot(bus))["X"].price == "4"
    assert figures.report()[metrics.INGEST_GAPS.name] == 1
