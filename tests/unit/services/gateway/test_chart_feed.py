"""Charts from a real Redis: only what is watched, all that is held or published of it, and no harm from bad input."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec import Raw

from services.gateway import chart_feed
from services.gateway.chart_feed import ChartFeed, ChartRules
from services.gateway.charts import Series
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.messages import VERSION, Candle, Chart, decode_chart, encode
from shared.names import redis_keys
from shared.tasks import TaskGroup
from tests.support.chart_ingest import ChartIngest
from tests.support.fakes_gateway import GatewayParts
from tests.support.waiting import eventually

SHARDS = 4
MINUTE = 60_000
T0 = 30_000_000 * MINUTE
A = "BTC-USDT"
B = next(name for name in ("B1", "B2", "B3", "B4") if redis_keys.shard_of(name, 4) != redis_keys.shard_of(A, 4))
SAME_SHARD = next(
    f"S{number}" for number in range(99) if redis_keys.shard_of(f"S{number}", 4) == redis_keys.shard_of(A, 4)
)


class Sink:
    """Stands where the fan-out stands."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Candle]] = []

    def send(self, series: Series, bars: list[Candle]) -> None:
        self.sent += [(series.symbol, series.interval, bar) for bar in bars]

    def closes(self) -> list[str]:
        return [bar.close for _, _, bar in self.sent]


class Running:
    def __init__(self, bus: RedisBus, *, fill: bool = False, most: int = 100) -> None:
        self.clock = GatewayParts().clock
        self.ingest = ChartIngest(bus, SHARDS)
        self.sink = Sink()
        self.ready: list[Series] = []
        rules = ChartRules(most, fill, grace_ms=500)
        self.feed = ChartFeed(bus, self.clock, self.sink, self.ready.append, shards=SHARDS, rules=rules)  # type: ignore[arg-type]  # a stand-in

    def watch(self, symbol: str = A, interval: str = "1m") -> Series:
        series = self.feed.watch(symbol, interval)
        assert series is not None
        return series

    async def known(self, symbol: str = A, interval: str = "1m") -> Series:
        """Watch a chart until it is ready; what was sent by then is dropped."""
        series = self.watch(symbol, interval)
        await eventually(lambda: series.ready, "the chart was read")
        self.sink.sent.clear()
        return series

    async def publish(self, minute: int, close: str, symbol: str = A, *, closed: bool = False) -> None:
        self.ingest.put(symbol, "1m", T0 + minute * MINUTE, close, closed=closed)
        await self.ingest.commit()


@pytest.fixture(name="start")
async def starter(bus: RedisBus) -> AsyncIterator[Callable[..., Running]]:
    async with TaskGroup() as tasks:

        def start(**options: Any) -> Running:
            running = Running(bus, **options)
            tasks.spawn("chart-feed", running.feed.run())
            return running

        yield start


Start = Callable[..., Running]


async def subscribers(bus: RedisBus) -> dict[str, int]:
    channels = [redis_keys.chart_channel(shard) for shard in range(SHARDS)]
    reply = await bus._client.pubsub_shardnumsub(*channels)
    return {str(name, "ascii") if isinstance(name, bytes) else name: count for name, count in reply}


async def test_a_watched_chart_begins_with_what_redis_holds_and_goes_on_with_the_news(start: Start) -> None:
    running = start()
    for minute in range(3):
        await running.publish(minute, f"{minute}.00", closed=True)
    await running.publish(3, "3.00")
    series = await running.known()
    assert running.ready == [series]
    assert [(bar.close, bar.closed) for bar in series.bars()] == [
        ("0.00", True),
        ("1.00", True),
        ("2.00", True),
        ("3.00", False),
    ]
    await running.publish(3, "3.50")
    await eventually(lambda: running.sink.closes() == ["3.50"], "the news")


async def test_a_chart_of_a_symbol_that_nobody_trades_is_ready_and_empty(start: Start) -> None:
    running = start()
    series = await running.known()
    assert (series.bars(), series.rev) == ([], 0)
    await running.publish(0, "1.00")
    await eventually(lambda: running.sink.closes() == ["1.00"], "the first candle")


async def test_only_the_shards_and_symbols_that_are_watched_are_listened_to(
    start: Start, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    await running.known()
    await running.known(A, "5m")
    counts = await subscribers(bus)
    assert counts.pop(redis_keys.chart_channel(redis_keys.shard_of(A, SHARDS))) == 1
    assert set(counts.values()) == {0}
    decoded: list[object] = []

    def decode(encoded: Raw) -> Chart:
        decoded.append(encoded)
        return decode_chart(encoded)

    monkeypatch.setattr(chart_feed, "decode_chart", decode)
    await running.publish(0, "1.00", B)
    await running.publish(0, "2.00", SAME_SHARD)
    await running.publish(0, "3.00")
    await eventually(lambda: running.sink.closes() == ["3.00"], "the candle of the watched symbol")
    assert len(decoded) == 1


async def test_all_intervals_of_a_symbol_are_told_apart(start: Start) -> None:
    running = start()
    minutes, hours = await running.known(A, "1m"), await running.known(A, "1h")
    running.ingest.put(A, "1m", T0, "1.00")
    running.ingest.put(A, "1h", T0, "2.00")
    await running.ingest.commit()
    await eventually(lambda: len(running.sink.sent) == 2, "both")
    assert [bar.close for bar in minutes.bars()] == ["1.00"]
    assert [bar.close for bar in hours.bars()] == ["2.00"]


async def test_what_comes_between_the_confirmation_and_the_reading_is_merged(
    start: Start, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    await running.publish(0, "1.00", closed=True)
    run_script = bus.run_script

    async def slow_script(*args: Any) -> Any:
        reply = await run_script(*args)
        if not running.ready:  # read, but not yet here, while the next is published
            await running.publish(1, "2.00")
            await asyncio.sleep(0.1)
        return reply

    monkeypatch.setattr(bus, "run_script", slow_script)
    series = await running.known()
    assert [bar.close for bar in series.bars()] == ["1.00", "2.00"]


async def test_a_chart_is_dropped_some_time_after_its_last_watcher(
    start: Start, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart_feed, "LINGER_S", 0.05)
    running = start()
    series = await running.known()
    assert running.watch() is series
    other = await running.known(SAME_SHARD)
    channel = redis_keys.chart_channel(redis_keys.shard_of(A, SHARDS))
    running.feed.unwatch(series)
    await asyncio.sleep(0.1)
    assert len(running.feed) == 2, "somebody still watches it"
    running.feed.unwatch(series)
    await eventually(lambda: len(running.feed) == 1, "the chart was dropped")
    assert (await subscribers(bus))[channel] == 1, "another chart of the shard is watched"
    running.feed.unwatch(other)

    async def is_left() -> bool:
        return (await subscribers(bus))[channel] == 0

    await eventually(is_left, "the shard was left")
    assert running.feed._shards == [{}] * SHARDS
    await running.publish(0, "5.00", closed=True)
    again = await running.known()
    assert again is not series
    assert [bar.close for bar in again.bars()] == ["5.00"]


async def test_a_chart_that_is_dropped_and_wanted_again_at_once_is_read(start: Start) -> None:
    running = start()
    series = await running.known()
    running.feed.unwatch(series)
    running.feed._drop_if_unwatched(series)
    await running.known()


async def test_who_comes_back_while_a_chart_lingers_finds_it_ready(start: Start) -> None:
    running = start()
    series = await running.known()
    running.feed.unwatch(series)
    assert running.watch() is series
    assert series.ready


async def test_only_so_many_charts_are_kept(start: Start) -> None:
    running = start(most=2)
    running.watch(A, "1m")
    running.watch(A, "5m")
    assert running.feed.watch(A, "1h") is None
    assert running.feed.watch(A, "5m") is not None


async def test_what_was_lost_on_the_way_is_found_by_a_regular_look(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart_feed, "RESYNC_S", 0.05)
    running = start()
    await running.publish(0, "1.00", closed=True)
    await running.known()
    running.ingest.put(A, "1m", T0 + MINUTE, "2.00")
    await running.ingest.commit(publish=False)
    await eventually(lambda: running.sink.closes() == ["2.00"], "what was lost")


async def test_after_a_lost_connection_all_is_read_again(start: Start, bus: RedisBus) -> None:
    running = start()
    await running.publish(0, "1.00", closed=True)
    await running.known()
    await bus._client.client_kill_filter(_type="pubsub")
    await eventually(lambda: not running.feed._live, "the loss was noticed")
    for minute in range(1, 60):  # more than a regular look reads
        running.ingest.put(A, "1m", T0 + minute * MINUTE, f"{minute}.00", closed=True)
    await running.ingest.commit(publish=False)
    await eventually(lambda: len(running.sink.sent) == 59, "what was missed")
    assert running.sink.closes() == [f"{minute}.00" for minute in range(1, 60)]


async def test_a_new_epoch_forgets_what_redis_lost_and_tells_what_differs(start: Start) -> None:
    running = start()
    await running.publish(0, "1.00", closed=True)
    await running.publish(0, "1.00", SAME_SHARD, closed=True)
    series, other = await running.known(), await running.known(SAME_SHARD)
    await running.ingest.forget()
    running.ingest.epoch = "e2"
    await running.publish(7, "7.00")
    await eventually(lambda: series.ready and bool(running.sink.sent), "the new epoch")
    await eventually(lambda: other.ready and other.bars() == [], "the other chart was read again")
    assert [bar.close for bar in series.bars()] == ["7.00"]
    assert running.sink.closes() == ["7.00"]


async def test_an_idle_chart_gets_its_flat_bars_by_the_clock(start: Start) -> None:
    running = start(fill=True)
    running.ingest.lag = running.clock.now_ms() - T0 - MINUTE  # its clock stands at the end of the first minute
    await running.publish(0, "1.00", closed=True)
    await running.known()
    running.clock.seconds += MINUTE / 1000 + 0.4
    await asyncio.sleep(2 * chart_feed.TICK_S)
    assert running.sink.sent == [], "within the grace"
    running.clock.seconds += 0.2
    await eventually(lambda: bool(running.sink.sent), "the flat bar")
    ((_, _, bar),) = running.sink.sent
    assert (bar.start, bar.close, bar.trades, bar.closed) == (T0 + MINUTE, "1.00", 0, True)
    running.clock.seconds += 2 * MINUTE / 1000
    await eventually(lambda: len(running.sink.sent) == 3, "two more")


@pytest.mark.parametrize("payload", [b"\x00", b"nonsense", b"\xc0", encode([1, 2]), encode([VERSION + 1, "e", 0, {}])])
async def test_a_batch_that_cannot_be_read_is_counted_and_the_next_one_taken(
    start: Start, bus: RedisBus, payload: bytes
) -> None:
    running = start()
    await running.known()
    await bus.publish([(redis_keys.chart_channel(redis_keys.shard_of(A, SHARDS)), payload)])
    await running.publish(0, "1.00")
    await eventually(lambda: running.sink.closes() == ["1.00"], "the next one")
    assert running.feed.rejected == 1


async def test_one_bad_candle_loses_no_other(start: Start, bus: RedisBus) -> None:
    running = start()
    await running.publish(0, "1.00", closed=True)
    await bus._client.zadd(redis_keys.candle_history(A, "1m"), {b"\xc1": T0 + MINUTE})
    await bus.hash_set(redis_keys.chart_snapshot(redis_keys.shard_of(SAME_SHARD, SHARDS)), {SAME_SHARD: b"\xc1"})
    series, other = await running.known(), await running.known(SAME_SHARD)
    assert [bar.close for bar in series.bars()] == ["1.00"]
    assert other.bars() == []
    assert running.feed.rejected == 2


async def test_nothing_is_read_twice_and_other_charts_are_where_redis_fails_once(
    start: Start, bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    await running.publish(0, "1.00", closed=True)
    run_script = bus.run_script
    failures = iter([True, True])

    async def failing(*args: Any) -> Any:
        if next(failures, False):
            raise BusUnavailableError("away")
        return await run_script(*args)

    monkeypatch.setattr(bus, "run_script", failing)
    series = await running.known()
    assert [bar.close for bar in series.bars()] == ["1.00"]
    assert running.feed._unread == {}
