"""Quotes beside trades, and whether a symbol's feed is alive: a price-ingest process, as a gateway hears it."""

from collections import Counter
from decimal import Decimal

from shared.bus.redis_bus import RedisBus
from shared.messages import Price
from shared.names import redis_keys
from tests.load.bench_ingest import recorded
from tests.support.cluster import Cluster
from tests.support.price_market import FEED, INGEST, Fields, Market, feed, heard, read_up, snapshot, timeless
from tests.support.recording import needs_recording
from tests.support.waiting import eventually

TRADES = redis_keys.FEED_TRADES
TS = 1_763_800_000_000


async def in_state(market: Market, symbol: str, state: str) -> Price:
    """Wait until a symbol's last publication says this state."""
    found = await eventually(
        lambda: market.last(symbol), f"{symbol} {state}", lambda now: now is not None and now.state == state
    )
    assert found is not None
    return found


async def test_quotes_move_bid_and_ask_by_a_clock_of_their_own(cluster: Cluster, bus: RedisBus, market: Market):
    await cluster.start(INGEST)
    await feed(bus, [{"symbol": "X", "price": "10", "amount": "1", "ts": str(TS)}], TRADES)
    await heard(market, "X", "10")
    slow = TS - 1270
    await feed(
        bus,
        [
            {"symbol": "X", "bid": "9", "ask": "11", "ts": str(slow)},
            {"symbol": "X", "bid": "9.5", "ask": "10.5", "ts": str(slow + 1)},
            {"symbol": "X", "bid": "1", "ask": "99", "ts": str(slow - 1)},
        ],
    )
    await read_up(bus)
    assert timeless((await snapshot(bus))["X"]) == Price(
        "10", TS, 3, market.prices["X"][-1].n, bid="9.5", ask="10.5", amount="1"
    )


async def test_a_symbol_without_trades_costs_what_is_set(cluster: Cluster, bus: RedisBus, market: Market):
    quote: Fields = {"symbol": "X", "bid": "0.1", "ask": "0.2000000000000000000000000000000001"}
    service = await cluster.start(INGEST)
    await feed(bus, [quote])
    await heard(market, "X", "0.15000000000000000000000000000000005")
    assert await service.stop() == 0
    await cluster.start(INGEST, QUOTE_PRICE="ask")
    await feed(bus, [quote | {"ask": "0.3"}])
    await heard(market, "X", "0.3")


async def test_a_repeated_trade_id_is_dropped_also_after_a_restart(cluster: Cluster, bus: RedisBus, market: Market):
    first: Fields = {"id": "7", "symbol": "X", "price": "1", "amount": "1", "ts": str(TS)}
    other: Fields = first | {"id": "8", "price": "2"}
    service = await cluster.start(INGEST)
    await feed(bus, [first, other, first], TRADES)
    await heard(market, "X", "2")
    await read_up(bus, TRADES)
    assert (await service.scrape())['tickwire_ingest_dropped_total{reason="duplicate"}'] == 1
    service.kill()
    following = await cluster.start(INGEST)
    await feed(bus, [first], TRADES)
    await read_up(bus, TRADES)
    assert (await following.scrape())['tickwire_ingest_dropped_total{reason="duplicate"}'] == 1
    assert (await snapshot(bus))["X"].seq == 2


async def test_silence_makes_stale_and_any_entry_makes_live_with_the_same_number(
    cluster: Cluster, bus: RedisBus, market: Market
):
    service = await cluster.start(INGEST, PRICE_STALE_MS="400")
    await feed(bus, [{"symbol": "X", "price": "1", "ts": str(TS)}])
    live = await heard(market, "X", "1")
    stale = await in_state(market, "X", "stale")
    assert (stale.seq, stale.n, stale.price, stale.ts) == (1, 0, "1", TS)
    assert stale.since > live.since
    await eventually(service.scrape, "counted", lambda now: now["tickwire_ingest_symbols_stale"] == 1)
    await feed(bus, [{"symbol": "X", "price": "1", "ts": str(TS)}])
    again = await in_state(market, "X", "live")
    assert (again.seq, again.n) == (1, 0)
    assert again.since > stale.since


async def test_halted_lasts_until_the_upstream_says_live_or_a_trade_is_made(
    cluster: Cluster, bus: RedisBus, market: Market
):
    await cluster.start(INGEST, PRICE_STALE_MS="300")
    await feed(bus, [{"symbol": "X", "price": "1", "ts": str(TS)}, {"symbol": "Y", "price": "1", "ts": str(TS)}])
    await heard(market, "X", "1")
    await feed(bus, [{"symbol": "X", "state": "halted"}, {"symbol": "Y", "state": "halted"}])
    halted = await in_state(market, "X", "halted")
    assert (halted.price, halted.seq, halted.n) == ("1", 1, 0)
    await feed(bus, [{"symbol": "Y", "state": "live"}])
    await in_state(market, "Y", "live")
    await in_state(market, "Y", "stale")
    assert market.prices["X"][-1].state == "halted"
    await feed(bus, [{"symbol": "X", "price": "2", "amount": "1", "id": "1"}], TRADES)
    assert (await in_state(market, "X", "live")).price == "2"


async def test_a_restart_keeps_states_and_the_clock_of_quotes(cluster: Cluster, bus: RedisBus, market: Market):
    service = await cluster.start(INGEST)
    await feed(bus, [{"symbol": "X", "price": "1", "amount": "1", "ts": str(TS)}], TRADES)
    await heard(market, "X", "1")
    await feed(bus, [{"symbol": "X", "bid": "1", "ask": "2", "ts": str(TS - 1270), "state": "halted"}])
    before = await in_state(market, "X", "halted")
    assert await service.stop() == 0
    await cluster.start(INGEST)
    await feed(bus, [{"symbol": "X", "bid": "0.5", "ask": "3", "ts": str(TS - 1269)}])
    after = await eventually(lambda: market.last("X"), "a quote", lambda now: now is not None and now.bid == "0.5")
    assert after is not None
    assert (after.state, after.since, after.seq) == ("halted", before.since, before.seq + 1)


@needs_recording
async def test_recorded_quotes_and_trades_end_at_the_last_trade_and_the_last_quote(
    cluster: Cluster, bus: RedisBus, market: Market
):
    entries: dict[str, list[Fields]] = {TRADES: [], FEED: []}
    for stream, fields in recorded():
        entries[stream].append(dict(fields))
    service = await cluster.start(INGEST)
    for stream, of_stream in entries.items():
        await feed(bus, of_stream, stream)
    for stream in entries:
        await read_up(bus, stream)
    stored = await snapshot(bus)
    traded = {str(fields["symbol"]): str(fields["price"]) for fields in entries[TRADES]}
    quoted = {str(fields["symbol"]): fields for fields in entries[FEED]}
    assert set(stored) == set(traded)
    await eventually(lambda: {symbol: market.last(symbol) for symbol in stored}, "heard", lambda now: now == stored)
    for symbol, price in stored.items():
        assert price.price == traded[symbol]
        assert market.accounted(symbol) == price.seq
        if symbol in quoted:
            assert (price.bid, price.ask) == (quoted[symbol]["bid"], quoted[symbol]["ask"])
        else:
            assert price.bid is price.ask is None
    scraped = await service.scrape()
    assert sum(price.seq for price in stored.values()) == scraped["tickwire_ingest_accepted_total"] == expected(entries)


def expected(entries: dict[str, list[Fields]]) -> int:
    """How many entries differ from the one of the same kind and symbol before them."""
    last: dict[tuple[str, str], tuple[Decimal, ...]] = {}
    counts: Counter[str] = Counter()
    for stream, all_fields in entries.items():
        for fields in all_fields:
            names = ("price",) if stream == TRADES else ("bid", "ask")
            values = tuple(Decimal(str(fields[name])) for name in names)
            counts[stream] += last.get((stream, str(fields["symbol"]))) != values
            last[stream, str(fields["symbol"])] = values
    return counts.total()
