"""From upstream streams to published prices, on a real server and inside this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.price_ingest import pipeline
from services.price_ingest.book import Book
from services.price_ingest.candles import Charts
from services.price_ingest.chart_store import ChartStore
from services.price_ingest.figures import Figures
from services.price_ingest.homes import Homes
from services.price_ingest.intake import Gear
from services.price_ingest.pipeline import Pipeline
from services.price_ingest.reader import Reader
from services.price_ingest.settings import IngestSettings
from services.price_ingest.store import PriceStore
from services.price_ingest.units import unit_of
from shared.bus.redis_bus import RedisBus
from shared.bus.redis_pubsub import RedisPubSub
from shared.clock import SystemClock
from shared.dead_letters import DeadLetters
from shared.lease import Lease
from shared.messages import Price, decode_candle, decode_chart, decode_chart_batch, decode_price, decode_price_batch
from shared.names import metrics, redis_keys
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from shared.trimming import Trimmer, UpstreamTrimming
from shared.upstream import UpstreamSettings
from shared.upstream.sources import pick_sources
from tests.support.price_market import timeless
from tests.support.waiting import PATIENCE_S, eventually

FEED = redis_keys.FEED_PRICES

PARTITION = "feed:trades:3"
STREAMS = (FEED, redis_keys.FEED_TRADES, PARTITION)

Start = Callable[..., Awaitable[Figures]]


@pytest.fixture
async def start(bus: RedisBus, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Runs a pipeline of unit 0, or of the one given, until the test ends."""
    monkeypatch.setattr(pipeline, "LOOK_S", 0.05)
    monkeypatch.setattr(pipeline, "TRIM_S", 0.05)
    monkeypatch.setattr(pipeline, "LONGEST_BLOCK_MS", 50)
    clock = SystemClock()
    leases: dict[int, Lease] = {}  # a second pipeline of a unit shares it, or would fence the first
    async with TaskGroup() as tasks:

        async def run(unit: int = 0, **settings: int) -> Figures:
            made = IngestSettings(**({"price_publish_ms": 1, "chart_publish_ms": 5} | settings))  # type: ignore[arg-type]
            telemetry = Telemetry()
            figures = Figures(telemetry, clock)
            letters = DeadLetters(bus, redis_keys.DEAD_PRICES, telemetry, clock)
            trimming = UpstreamTrimming(Trimmer(bus, telemetry, clock), UpstreamSettings(upstream_keep_length=100))
            gear = Gear(bus, made, Reader(None), Homes(bus, made.price_max_symbols), letters, figures, clock, trimming)
            lease = leases.setdefault(unit, Lease(bus, redis_keys.price_lease(unit), "one"))
            assert await lease.take()
            store = PriceStore(bus, unit, lease, gear.homes, 1, clock)
            charts = ChartStore(bus, unit, lease, 1, 1000, clock)
            book = Book(made.quote_price, made.price_stale_ms)
            sources = [name for name in STREAMS if unit_of(name) == unit]
            work = Pipeline(gear, store, charts, book, Charts(1000, 500), lambda: sources)
            gear.reader.learn(pick_sources(sources, ()))
            tasks.spawn("pipeline", work.run())
            await eventually(lambda: figures.report()[metrics.OWNED_UNITS.name], "restored")
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
    return {symbol: timeless(decode_price(raw)) for symbol, raw in decode_price_batch(event.data).prices.items()}


async def snapshot(bus: RedisBus) -> dict[str, Price]:
    stored = await bus.hash_all(redis_keys.price_snapshot(0))
    return {symbol.decode(): timeless(decode_price(raw)) for symbol, raw in stored.items()}


async def feed(bus: RedisBus, *prices: str, stream: str = FEED, symbol: str = "X") -> None:
    await bus.append(stream, [{"symbol": symbol, "price": price, "ts": "5"} for price in prices], 1000)


async def feed_together(bus: RedisBus, *prices: str) -> None:
    """In one step of the server, so that they are read together."""
    append = (
        "for _, price in ipairs(ARGV) do redis.call('XADD', KEYS[1], '*', 'symbol', 'X', 'price', price, 'ts', '5') end"
    )
    await bus._client.eval(append, 1, FEED, *prices)


async def position(bus: RedisBus, stream: str = FEED) -> str:
    return (await bus.hash_all(redis_keys.PRICE_POSITIONS)).get(stream.encode(), b"").decode()


async def is_read_up(bus: RedisBus, stream: str = FEED) -> bool:
    last = (await bus.last_ids([stream]))[stream]
    charted = (await bus.hash_all(redis_keys.CHART_POSITIONS)).get(stream.encode(), b"").decode()
    return await position(bus, stream) == charted == last


async def test_single_changes_go_at_once(start: Start, bus: RedisBus, listener: RedisPubSub):
    await start(price_publish_ms=1000)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for price in ("1", "2", "3"):
        await feed(bus, price)
        assert (await heard(listener))["X"].price == price
    assert loop.time() - begun < 1


async def test_each_publication_tells_how_long_its_prices_waited(
    start: Start, bus: RedisBus, listener: RedisPubSub, monkeypatch: pytest.MonkeyPatch
):
    told: list[float] = []
    monkeypatch.setattr(Figures, "observe_publication", lambda _figures, read_at: told.append(read_at))
    began = SystemClock().monotonic()
    await start()
    await feed(bus, "1")
    assert (await heard(listener))["X"].price == "1"
    await eventually(lambda: told, "one publication told")
    assert began < told[0] <= SystemClock().monotonic()
    await feed(bus, "1")  # changes nothing, so nothing is published
    await eventually(lambda: is_read_up(bus), "read")
    assert len(told) == 1


async def test_after_many_changes_the_next_ones_wait_and_fold(start: Start, bus: RedisBus, listener: RedisPubSub):
    await start(price_publish_ms=1000)
    loop = asyncio.get_running_loop()
    await feed_together(bus, *(str(price) for price in range(1, 7)))
    assert await heard(listener) == {"X": Price("6", 5000, 6, 6)}
    first = loop.time()
    await feed(bus, "7")
    await feed(bus, "8")
    assert await heard(listener) == {"X": Price("8", 5000, 8, 2)}
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
    figures = await start(price_max_symbols=1)
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
    await eventually(lambda: figures.report()[metrics.SYMBOLS.name], "shown", lambda shown: shown == 1)


async def test_a_stream_that_begins_anew_is_noticed_and_read(start: Start, bus: RedisBus):
    figures = await start()
    await bus._client.xadd(FEED, {"symbol": "X", "price": "1", "ts": "5"}, id="7999999999999-0")
    await eventually(lambda: is_read_up(bus), "read up")
    await bus._client.delete(FEED)
    await feed(bus, "2")
    await eventually(lambda: is_read_up(bus), "read up")
    assert (await snapshot(bus))["X"] == Price("2", 5000, 2, 1)
    assert figures.report()[metrics.INGEST_GAPS.name] >= 1


async def test_entries_trimmed_while_nobody_read_are_counted_as_a_gap(start: Start, bus: RedisBus):
    await feed(bus, "1", "2", "3", "4")
    first, *_, last = (await bus.read({FEED: "0"}, 10, 0))[FEED]
    for positions in (redis_keys.PRICE_POSITIONS, redis_keys.CHART_POSITIONS):
        await bus.hash_set(positions, {FEED: first.id.encode()})
    await bus._client.xtrim(FEED, maxlen=1, approximate=False)
    figures = await start()
    await eventually(lambda: is_read_up(bus), "read up")
    assert await position(bus) == last.id
    assert (await snapshot(bus))["X"].price == "4"
    assert figures.report()[metrics.INGEST_GAPS.name] == 1


async def charted(bus: RedisBus) -> dict[str, tuple[str, int]]:
    """Symbol -> the day's volume and number of trades."""
    found = {}
    for symbol, raw in (await bus.hash_all(redis_keys.chart_snapshot(0))).items():
        (day,) = decode_chart(raw).candles["1d"]
        found[symbol.decode()] = (day.volume, day.trades)
    return found


async def trade(bus: RedisBus, *ids: int, stream: str = redis_keys.FEED_TRADES) -> None:
    fields = ({"id": str(number), "symbol": "X", "price": str(number), "amount": "1", "ts": "5"} for number in ids)
    await bus.append(stream, fields, 1000)


async def test_what_it_alone_reads_is_trimmed_when_both_lanes_have_it_and_nothing_else_is(start: Start, bus: RedisBus):
    both = [stream for stream in STREAMS if unit_of(stream) == 0]
    assert {FEED, redis_keys.FEED_TRADES} <= {*both}
    for stream in (FEED, redis_keys.FEED_TRADES):
        await bus.append(stream, [{"symbol": "X", "price": str(n), "amount": "1"} for n in range(1000)], 10_000)
    await start(chart_publish_ms=300)
    await eventually(lambda: bus.length(FEED), "trimmed", lambda length: length < 300)
    assert await is_read_up(bus)
    assert await bus.length(FEED) >= 100
    assert await bus.length(redis_keys.FEED_TRADES) == 1000


async def test_what_only_the_prices_had_is_folded_into_candles_alone_and_the_other_way_round(
    start: Start, bus: RedisBus
):
    await trade(bus, 1, 2, 3, 4)
    *_, second, third, _ = (await bus.read({redis_keys.FEED_TRADES: "0"}, 10, 0))[redis_keys.FEED_TRADES]
    await bus.hash_set(redis_keys.PRICE_POSITIONS, {redis_keys.FEED_TRADES: third.id.encode()})
    await bus.hash_set(redis_keys.CHART_POSITIONS, {redis_keys.FEED_TRADES: second.id.encode()})
    await start()
    await eventually(lambda: is_read_up(bus, redis_keys.FEED_TRADES), "read up")
    assert (await snapshot(bus))["X"].seq == 1
    assert await charted(bus) == {"X": ("2", 2)}


async def test_candles_are_published_as_they_change(start: Start, bus: RedisBus):
    pubsub = bus.open_pubsub()
    await pubsub.subscribe([redis_keys.chart_channel(0)])
    assert await pubsub.receive(PATIENCE_S)
    await start()
    await trade(bus, 1, 2)
    event = await pubsub.receive(PATIENCE_S)
    assert event is not None
    assert event.data is not None
    assert set(decode_chart_batch(event.data).charts) == {"X"}
    await pubsub.close()


async def test_a_late_trade_revises_the_closed_candle_in_history(start: Start, bus: RedisBus):
    await start()
    late = {"symbol": "X", "amount": "1", "price": "3", "ts": "1763800000500"}
    await bus.append(redis_keys.FEED_TRADES, [late | {"ts": str(1_763_800_000_000 + ms)} for ms in (100, 5000)], 100)
    history = redis_keys.candle_history("X", "1s")
    await eventually(lambda: bus.scored([(history, 1_763_800_000_000)]), "closed", lambda found: found[0] is not None)
    await bus.append(redis_keys.FEED_TRADES, [late], 100)
    await eventually(lambda: bus.scored([(history, 1_763_800_000_000)]), "revised", is_of_two)


def is_of_two(found: list[bytes | None]) -> bool:
    return found[0] is not None and decode_candle(found[0]).trades == 2


async def test_a_symbol_at_home_elsewhere_is_handed_on_and_trimmed_when_done(start: Start, bus: RedisBus):
    home = await start(unit_of(PARTITION))
    await trade(bus, 1, stream=PARTITION)
    await eventually(lambda: is_read_up(bus, PARTITION), "read up")
    away = await start()
    await trade(bus, 2, 3)
    await eventually(lambda: is_read_up(bus, redis_keys.FEED_TRADES), "read up")
    await eventually(lambda: is_read_up(bus, redis_keys.price_forward(unit_of(PARTITION))), "handed on")
    assert (await snapshot(bus))["X"].seq == 3
    assert await charted(bus) == {"X": ("3", 3)}
    assert (away.report()[metrics.FORWARDED.name], away.report()[metrics.TICKS_ACCEPTED.name]) == (2, 0)
    assert home.report()[metrics.TICKS_ACCEPTED.name] == 3
