"""What one unit makes of upstream entries."""

import pytest

from services.price_ingest.book import Book
from services.price_ingest.candles import Charts
from services.price_ingest.chart_store import ChartStore
from services.price_ingest.feeds import Lane, Positions
from services.price_ingest.figures import Figures
from services.price_ingest.homes import Homes
from services.price_ingest.intake import Gear, Intake
from services.price_ingest.reader import Reader
from services.price_ingest.settings import IngestSettings
from services.price_ingest.store import PriceStore
from shared.bus.entries import StreamEntry
from shared.bus.redis_bus import RedisBus
from shared.dead_letters import DeadLetters
from shared.lease import Lease
from shared.names import metrics, redis_keys
from shared.telemetry import Telemetry
from shared.trimming import Trimmer, UpstreamTrimming
from shared.upstream import UpstreamSettings
from tests.support.manual_clock import ManualClock

TRADES = redis_keys.FEED_TRADES
UNIT, OTHER = 0, 5


def trade(number: int, symbol: str = "X", at: int = 5) -> StreamEntry:
    fields = {b"symbol": symbol.encode(), b"price": b"%d" % number, b"amount": b"1", b"id": b"%d" % number}
    return StreamEntry(f"{1000 + number}-0", {**fields, b"ts": b"%d" % at})


class Desk:
    """An intake with all that it feeds."""

    def __init__(self, bus: RedisBus, most_symbols: int = 100) -> None:
        clock, telemetry = ManualClock(), Telemetry()
        self.telemetry = telemetry
        self.figures = Figures(telemetry, clock)
        self.lease = Lease(bus, redis_keys.price_lease(UNIT), "one")
        self.homes = Homes(bus, most_symbols)
        letters = DeadLetters(bus, redis_keys.DEAD_PRICES, telemetry, clock)
        trimming = UpstreamTrimming(Trimmer(bus, telemetry, clock), UpstreamSettings())
        gear = Gear(bus, IngestSettings(), Reader(None), self.homes, letters, self.figures, clock, trimming)
        self.store = PriceStore(bus, UNIT, self.lease, self.homes, 1, clock)
        self.book, self.charts = Book("mid", 0), Charts(1000, 500)
        self.positions = Positions({})
        self.positions.add([TRADES, redis_keys.FEED_PRICES])
        charts = ChartStore(bus, UNIT, self.lease, 1, 1000, clock)
        self.intake = Intake(gear, self.store, charts, self.book, self.charts, self.positions)

    async def open(self) -> "Desk":
        assert await self.lease.take()
        await self.store.load()
        return self

    def dropped(self) -> float:
        return self.figures.report()[metrics.TICKS_DROPPED.name]


@pytest.fixture
async def desk(bus: RedisBus) -> Desk:
    return await Desk(bus).open()


async def test_entries_are_folded_into_prices_and_candles_and_the_position_moves_with_them(desk: Desk):
    await desk.intake.take_in(TRADES, [trade(1), trade(2), trade(2)])
    assert [(change.symbol, change.price.seq) for change in desk.book.take()] == [("X", 2)]
    (chart,) = desk.charts.take(10**12)
    assert chart.symbol == "X"
    for lane in Lane:
        assert desk.positions.take_moved(lane) == {TRADES: "1002-0"}
    assert desk.dropped() == 1


async def test_the_oldest_tick_of_each_read_tells_its_age(desk: Desk):
    await desk.intake.take_in(TRADES, [trade(1, at=7), trade(2, at=5), trade(3, at=6)])
    text = desk.telemetry.exposition("")[0].decode()
    assert 'tickwire_ingest_tick_age_seconds_sum{feed="trades"} 995.0' in text
    assert 'tickwire_ingest_tick_age_seconds_count{feed="trades"} 1.0' in text


async def test_ticks_of_symbols_that_are_at_home_elsewhere_are_handed_on_in_order(desk: Desk, bus: RedisBus):
    await bus.hash_set(redis_keys.PRICE_HOMES, {"FAR": b"%d" % OTHER})
    await desk.intake.take_in(TRADES, [trade(1, "FAR"), trade(2), trade(3, "FAR")])
    await desk.intake.take_in(TRADES, [trade(4, "FAR")])
    (forwards,) = desk.intake.take_forwards().items()
    assert forwards[0] == OTHER
    assert [tick.price for tick in forwards[1]] == ["1", "3", "4"]
    assert desk.intake.take_forwards() == {}
    assert list(desk.book) == ["X"]
    assert len(desk.charts) == 1


async def test_a_symbol_too_many_is_dropped_and_the_known_ones_go_on(bus: RedisBus):
    desk = await Desk(bus, most_symbols=1).open()
    await desk.intake.take_in(TRADES, [trade(1, "A")])
    await desk.intake.take_in(TRADES, [trade(2, "B"), trade(3, "A")])
    assert list(desk.book) == ["A"]
    assert desk.dropped() == 1
    assert desk.intake.take_forwards() == {}


async def test_trades_remembered_from_before_a_restart_are_not_taken_again(desk: Desk):
    await desk.store.claim({"X"})
    desk.intake.remember(TRADES, [trade(1), trade(2)])
    assert len(desk.book) == 0
    again = StreamEntry("2000-0", trade(2).fields)
    await desk.intake.take_in(TRADES, [again, trade(3)])
    assert [change.price.seq for change in desk.book.take()] == [1]
    assert desk.dropped() == 1


async def test_refused_prices_are_kept_and_refused_trades_counted(desk: Desk, bus: RedisBus):
    bad = StreamEntry("1-0", {b"symbol": b"X", b"price": b"cheap"})
    await desk.intake.take_in(TRADES, [bad])
    assert (await bus.length(redis_keys.DEAD_PRICES), desk.dropped()) == (0, 1)
    await desk.intake.take_in(redis_keys.FEED_PRICES, [bad])
    assert (await bus.length(redis_keys.DEAD_PRICES), desk.dropped()) == (1, 1)


async def test_refused_entries_that_prices_had_already_are_not_kept_twice(bus: RedisBus):
    desk = await Desk(bus).open()
    desk.positions.__init__({Lane.PRICES: {redis_keys.FEED_PRICES: "9-0"}})  # type: ignore[misc]
    desk.positions.add([redis_keys.FEED_PRICES])
    await desk.intake.take_in(redis_keys.FEED_PRICES, [StreamEntry("1-0", {b"symbol": b"X", b"price": b"cheap"})])
    assert await bus.length(redis_keys.DEAD_PRICES) == 0


async def test_a_closed_candle_that_cannot_be_read_begins_anew(desk: Desk, bus: RedisBus):
    await desk.intake.take_in(TRADES, [trade(1, at=1)])
    assert desk.charts.take(10**12)  # closes it and forgets it
    damaged = {b"\xc1garbage": 1000}
    await bus._client.zadd(redis_keys.candle_history("X", "1s"), damaged)
    await desk.intake.take_in(TRADES, [trade(2, at=1)])
    assert desk.charts.take(10**12)
