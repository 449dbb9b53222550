"""Several price-ingest replicas share the source streams, and lose nothing when one of them dies, freezes or comes."""

import asyncio
from collections import Counter

import pytest

from services.price_ingest.units import unit_of
from shared.bus.redis_bus import RedisBus
from shared.messages import Price
from shared.names import redis_keys
from tests.support.cluster import Cluster, Service
from tests.support.price_market import (
    FEED,
    INGEST,
    Fields,
    Market,
    candles,
    feed,
    forget_prices,
    heard,
    read_up,
    snapshot,
    walk,
)
from tests.support.waiting import eventually

PARTITIONS = 6
TRADES = redis_keys.FEED_TRADES
QUOTED = [f"{FEED}:{number}" for number in range(PARTITIONS)]
UNITS = {unit_of(stream) for stream in (*QUOTED, TRADES)}
SYMBOLS = 30
OWNED = "tickwire_ingest_units_owned"
TS = 1_763_800_000_000


def trades(numbers: range) -> list[Fields]:
    """Trades of all symbols in turn, each at a new price."""
    return [
        {
            "id": str(number),
            "symbol": f"S{number % SYMBOLS}",
            "price": str(number + 1),
            "amount": "0.5",
            "ts": str(TS + number),
        }
        for number in numbers
    ]


def quotes(numbers: range) -> dict[str, list[Fields]]:
    """Partition -> quotes, each with a new bid, of the symbols that are in it."""
    found: dict[str, list[Fields]] = {stream: [] for stream in QUOTED}
    for number in numbers:
        symbol = number % SYMBOLS
        found[QUOTED[symbol % PARTITIONS]].append(
            {"symbol": f"S{symbol}", "bid": str(number + 1), "ask": "999999999", "ts": str(TS + number)}
        )
    return found


async def feed_both(bus: RedisBus, numbers: range) -> None:
    """As many trades in the one stream of trades as quotes in partitions, so that most symbols meet away from home."""
    await asyncio.gather(
        feed(bus, trades(numbers), TRADES),
        *(feed(bus, entries, stream) for stream, entries in quotes(numbers).items()),
    )


async def all_counted(bus: RedisBus, market: Market, numbers: int) -> None:
    """Wait until every tick of both kinds is numbered once, and heard once."""
    for stream in (TRADES, *QUOTED):
        await read_up(bus, stream)

    async def total() -> int:
        return sum(price.seq for price in (await snapshot(bus)).values())

    await eventually(total, "all ticks are numbered", lambda seen: seen >= 2 * numbers)
    stored = await snapshot(bus)
    await eventually(lambda: {symbol: market.last(symbol) for symbol in stored}, "heard", lambda now: now == stored)
    for symbol, price in stored.items():
        assert market.accounted(symbol) == price.seq == 2 * numbers // SYMBOLS, symbol
        last = numbers - SYMBOLS + int(symbol[1:])
        assert (price.price, price.bid) == (str(last + 1), str(last + 1))
    found = await eventually(lambda: candles(bus), "candles", lambda now: trade_counts(now)["1d"] >= numbers)
    assert set(trade_counts(found).values()) == {numbers}


def trade_counts(found: dict[tuple[str, str, int], tuple[str, ...]]) -> Counter[str]:
    """Interval -> trades in all of its candles."""
    counts: Counter[str] = Counter()
    for (_, interval, _), (*_, folded) in found.items():
        counts[interval] += int(folded)
    return counts


async def owned(services: list[Service]) -> list[int]:
    """How many units each one owns."""
    return [int((await service.scrape())[OWNED]) for service in services]


async def shared_out(services: list[Service]) -> list[int]:
    """Wait until every unit has an owner and nobody has more than its share."""
    share = -(-len(UNITS) // len(services))
    return await eventually(
        lambda: owned(services), "units are shared out", lambda now: sum(now) == len(UNITS) and max(now) <= share
    )


async def test_symbols_that_meet_in_two_units_are_numbered_by_one(cluster: Cluster, bus: RedisBus, market: Market):
    await cluster.start(INGEST)
    await feed_both(bus, range(6000))
    await all_counted(bus, market, 6000)
    homes = await bus.hash_all(redis_keys.PRICE_HOMES)
    assert len(homes) == SYMBOLS
    assert {int(home) for home in homes.values()} <= UNITS


async def test_units_are_shared_out_and_stay_where_they_are(cluster: Cluster, bus: RedisBus, market: Market):
    await feed_both(bus, range(600))
    one = await cluster.start(INGEST)
    assert await shared_out([one]) == [len(UNITS)]
    two = await cluster.start(INGEST)
    await shared_out([one, two])
    three = await cluster.start(INGEST)
    everybody = [one, two, three]
    await shared_out(everybody)
    before = [len(service.lines("lease_acquired")) for service in everybody]
    await feed_both(bus, range(600, 3000))
    await all_counted(bus, market, 3000)
    assert [len(service.lines("lease_acquired")) for service in everybody] == before
    assert await two.stop() == 0
    await shared_out([one, three])
    await feed_both(bus, range(3000, 6000))
    await all_counted(bus, market, 6000)


@pytest.mark.slow
async def test_one_of_three_is_killed_under_load_and_nothing_is_lost_or_repeated(
    cluster: Cluster, bus: RedisBus, market: Market
):
    await feed_both(bus, range(600))
    await cluster.start(INGEST, INGEST, INGEST)
    await shared_out(cluster.services)
    for number in range(1, 4):
        await feed_both(bus, range(3000 * number - 2400, 3000 * number + 600))
        if number == 2:
            killed = await cluster.holder(bus, redis_keys.price_lease(unit_of(TRADES)))
            killed.kill()
    killed_at = asyncio.get_running_loop().time()
    await shared_out([service for service in cluster.services if service is not killed])
    assert asyncio.get_running_loop().time() - killed_at < 10
    await all_counted(bus, market, 9600)


async def test_an_owner_that_froze_is_fenced_when_it_wakes_up(cluster: Cluster, bus: RedisBus, market: Market):
    await feed_both(bus, range(600))
    await cluster.start(INGEST, INGEST)
    await shared_out(cluster.services)
    frozen = await cluster.holder(bus, redis_keys.price_lease(unit_of(TRADES)))
    (other,) = (service for service in cluster.services if service is not frozen)
    await feed_both(bus, range(600, 3000))
    frozen.freeze()
    await feed_both(bus, range(3000, 6000))
    await shared_out([other])
    frozen.thaw()
    await frozen.logged("lease_lost")
    await feed_both(bus, range(6000, 9000))
    await shared_out([frozen, other])
    await all_counted(bus, market, 9000)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [TRADES, FEED])
async def test_killed_twice_it_has_the_prices_and_candles_of_an_uninterrupted_run(
    stream: str, cluster: Cluster, bus: RedisBus
):
    ticks = walk(40_000, trades=stream == TRADES)
    for number in range(3):
        service = cluster.launch(INGEST)
        await service.logged("prices_restored")
        await feed(bus, ticks[number * 10_000 : (number + 1) * 10_000], stream)
        if number < 2:
            await half_read(bus, stream)
            service.kill()
    await feed(bus, ticks[30_000:], stream)
    await read_up(bus, stream)
    assert await service.stop() == 0
    stored, drawn = numbers(await snapshot(bus)), await candles(bus)

    await forget_prices(bus)
    uninterrupted = await cluster.start(INGEST)
    await read_up(bus, stream)
    assert await uninterrupted.stop() == 0  # as above: what it had read is written by then
    assert numbers(await snapshot(bus)) == stored
    assert await candles(bus) == drawn
    if stream == TRADES:
        assert set(trade_counts(drawn).values()) == {40_000}


async def half_read(bus: RedisBus, stream: str) -> None:
    """Wait until something of a stream was read, and the candles of something are written."""

    async def charted() -> bytes | None:
        return (await bus.hash_all(redis_keys.CHART_POSITIONS)).get(stream.encode())

    before = await charted()
    await eventually(charted, f"{stream} half read", lambda now: now != before)


def numbers(prices: dict[str, Price]) -> dict[str, tuple[str, int, int]]:
    """What must not depend on when it was published."""
    return {symbol: (price.price, price.ts, price.seq) for symbol, price in prices.items()}


async def test_data_flushed_under_several_units_begin_one_new_epoch(cluster: Cluster, bus: RedisBus, market: Market):
    await cluster.start(INGEST, INGEST)
    await feed(bus, [{"symbol": "A", "price": "1"}])
    for stream in QUOTED:
        await feed(bus, [{"symbol": f"{stream}:X", "price": "1"}], stream)
    await heard(market, "A", "1")
    for stream in QUOTED:
        await heard(market, f"{stream}:X", "1")
    await bus._client.flushall()
    await feed(bus, [{"symbol": "A", "price": "2"}])
    for stream in QUOTED:
        await feed(bus, [{"symbol": f"{stream}:X", "price": "2"}], stream)
    for stream in QUOTED:
        assert (await heard(market, f"{stream}:X", "2")).seq == 1
    assert (await heard(market, "A", "2")).seq == 1
    standing = (await bus.get(redis_keys.PRICE_EPOCH) or b"").decode()
    assert market.epochs[-1] == standing != market.epochs[0]
