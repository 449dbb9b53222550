"""price-ingest as a process, fed as upstreams feed it."""

import csv
import gzip

from shared.bus.redis_bus import RedisBus
from shared.messages import Price
from shared.names import metrics, redis_keys
from tests.support.cluster import Cluster
from tests.support.price_market import (
    FEED,
    INGEST,
    Fields,
    Market,
    feed,
    heard,
    read_up,
    snapshot,
    timeless,
    walk,
)
from tests.support.recording import RECORDED, needs_recording
from tests.support.redis_cli import redis_cli
from tests.support.reports import report_of
from tests.support.waiting import eventually

TS = "1763800000000"


async def test_one_typed_line_arrives_with_its_digits(cluster: Cluster, redis_url: str, bus: RedisBus, market: Market):
    await cluster.start(INGEST)
    redis_cli(redis_url, f"XADD {FEED} * symbol BTC-USDT price 64000.10")
    published = await heard(market, "BTC-USDT", "64000.10")
    assert (published.seq, published.n) == (1, 1)
    assert await snapshot(bus) == {"BTC-USDT": published}


async def test_a_trade_is_a_price_too(cluster: Cluster, redis_url: str, market: Market):
    await cluster.start(INGEST)
    line = (
        f"XADD {redis_keys.FEED_TRADES} * id 42 symbol BTC-USDT amount 0.5 price 64000.10 side buy ts {TS} user_id ann"
    )
    redis_cli(redis_url, line)
    published = timeless(await heard(market, "BTC-USDT", "64000.10"))
    assert published == Price("64000.10", int(TS), 1, 1, amount="0.5", side="buy")


async def test_partitions_are_read_those_that_were_there_and_those_that_appear(
    cluster: Cluster, redis_url: str, market: Market
):
    redis_cli(redis_url, "XADD feed:prices:0 * symbol A price 1")
    await cluster.start(INGEST)
    await heard(market, "A", "1")
    redis_cli(redis_url, "XADD feed:prices:1 * symbol B price 2")
    redis_cli(redis_url, "XADD feed:trades:7 * symbol C price 3")
    await heard(market, "B", "2")
    await heard(market, "C", "3")


async def test_a_burst_is_folded_to_the_newest_and_says_how_many_it_folds(
    cluster: Cluster, bus: RedisBus, market: Market
):
    await cluster.start(INGEST, PRICE_PUBLISH_MS="200")
    await feed(bus, ({"symbol": "X", "price": str(number), "ts": TS} for number in range(1, 2001)))
    last = await heard(market, "X", "2000")
    assert last.seq == market.accounted("X") == 2000
    assert len(market.prices["X"]) < 20


async def test_bad_entries_are_kept_with_their_reason_and_the_others_flow(
    cluster: Cluster, bus: RedisBus, market: Market
):
    good: Fields = {"symbol": "X", "price": "1", "ts": TS}
    bad: list[tuple[Fields, str, str]] = [
        ({"price": "1"}, "missing_field", "symbol"),
        ({"symbol": "X"}, "missing_field", "price"),
        (good | {"price": "None"}, "missing_field", "price"),
        (good | {"price": "NaN"}, "missing_field", "price"),
        (good | {"price": "sNaN"}, "bad_decimal", "price"),
        (good | {"price": "-Infinity"}, "bad_decimal", "price"),
        (good | {"price": "1e400"}, "bad_decimal", "price"),
        (good | {"price": "12,5"}, "bad_decimal", "price"),
        (good | {"price": "9" * 100_000}, "too_long", "price"),
        (good | {"price": b"\xff\x00\x81"}, "not_text", "price"),
        (good | {"symbol": b"\xf0\x28\x8c\x28"}, "not_text", "symbol"),
        (good | {"symbol": "A" * 1000}, "bad_symbol", "symbol"),
        (good | {"symbol": "None of these"}, "bad_symbol", "symbol"),
        (good | {"amount": "-0.5"}, "not_positive", "amount"),
        (good | {"side": "sideways"}, "bad_side", "side"),
        (good | {"ts": "yesterday"}, "bad_time", "ts"),
        (good | {"ts": "4102444800000"}, "time_in_the_future", "ts"),
        ({f"f{number}": "x" * 1000 for number in range(500)}, "missing_field", "symbol"),
    ]
    service = await cluster.start(INGEST)
    ts = int(TS)
    for number, (fields, _, _) in enumerate(bad):
        await feed(bus, [fields, {"symbol": "GOOD", "price": str(number), "ts": str(ts + number)}])
    await heard(market, "GOOD", str(len(bad) - 1))
    await read_up(bus)
    letters = (await bus.read({redis_keys.DEAD_PRICES: "0"}, 100, 0))[redis_keys.DEAD_PRICES]
    found = [(letter.fields[b"reason"].decode(), letter.fields[b"field"].decode()) for letter in letters]
    assert found == [(reason, field) for _, reason, field in bad]
    assert market.accounted("GOOD") == len(bad)
    assert set(await snapshot(bus)) == {"GOOD"}
    scraped = await service.scrape()
    assert scraped['tickwire_dead_letters_total{reason="bad_decimal"}'] == 4


async def test_exponents_signs_and_words_for_nothing_are_understood(cluster: Cluster, bus: RedisBus, market: Market):
    await cluster.start(INGEST)
    nothing = {"bid": "None", "ask": "", "amount": "nan", "side": "null", "venue": "None"}
    await feed(
        bus,
        [
            {"symbol": "TINY", "price": "6.38e-06", "ts": TS, **nothing},
            {"symbol": "OIL", "price": "-37.630", "ts": TS},
            {"symbol": "SECONDS", "price": "1", "ts": "1763800000.25"},
            {"symbol": "ISO", "price": "1", "ts": "2025-11-22T08:26:40.5Z"},
        ],
    )
    assert timeless(await heard(market, "TINY", "0.00000638")) == Price("0.00000638", int(TS), 1)
    await heard(market, "OIL", "-37.630")
    assert (await heard(market, "SECONDS", "1")).ts == 1_763_800_000_250
    assert (await heard(market, "ISO", "1")).ts == 1_763_800_000_500


async def test_a_bad_trade_is_counted_and_left_to_the_trade_notifier_to_keep(cluster: Cluster, bus: RedisBus):
    service = await cluster.start(INGEST)
    await feed(bus, [{"symbol": "X", "amount": "1"}, {"symbol": "X", "price": "?"}], redis_keys.FEED_TRADES)
    await read_up(bus, redis_keys.FEED_TRADES)
    scraped = await service.scrape()
    assert scraped['tickwire_ingest_dropped_total{reason="missing_field"}'] == 1
    assert scraped['tickwire_ingest_dropped_total{reason="bad_decimal"}'] == 1
    assert await bus.length(redis_keys.DEAD_PRICES) == 0


async def test_what_it_counts_stands_in_its_metrics_and_in_its_report(cluster: Cluster, bus: RedisBus):
    service = await cluster.start(INGEST)
    ticks = walk(3000)
    await feed(bus, ticks)
    await read_up(bus)

    async def figures_now() -> dict[str, float]:
        report = await report_of(bus, service.instance)
        return report.figures if report else {}

    figures = await eventually(figures_now, "report", lambda now: now.get(metrics.TICKS.name) == 3000)
    accepted = sum(price.seq for price in (await snapshot(bus)).values())
    assert figures[metrics.TICKS_ACCEPTED.name] == accepted
    assert figures[metrics.TICKS_DROPPED.name] == 3000 - accepted > 0
    assert figures[metrics.SYMBOLS.name] == 40
    assert figures[metrics.OWNED_UNITS.name] == 1
    scraped = await service.scrape()
    assert scraped['tickwire_ingest_ticks_total{feed="prices"}'] == 3000
    assert scraped["tickwire_ingest_accepted_total"] == accepted
    assert scraped["tickwire_ingest_published_total"] == figures[metrics.PUBLISHED.name]


@needs_recording
async def test_recorded_trades_end_at_the_recordings_last_prices(cluster: Cluster, bus: RedisBus, market: Market):
    last: dict[str, tuple[str, int]] = {}
    entries: list[Fields] = []
    with gzip.open(RECORDED, "rt", encoding="ascii", newline="") as lines:
        for row in csv.DictReader(lines):
            last[row["symbol"]] = (row["price"], int(row["trade_ms"]))
            side = "sell" if row["buyer_is_maker"] == "1" else "buy"
            entries.append(
                {
                    "id": row["trade_id"],
                    "symbol": row["symbol"],
                    "amount": row["qty"],
                    "price": row["price"],
                    "side": side,
                    "ts": row["trade_ms"],
                }
            )
    await cluster.start(INGEST)
    await feed(bus, entries, redis_keys.FEED_TRADES)
    await read_up(bus, redis_keys.FEED_TRADES)
    stored = await snapshot(bus)
    assert set(stored) == set(last)
    for symbol, (price, ts) in last.items():
        await heard(market, symbol, stored[symbol].price)
        assert market.accounted(symbol) == stored[symbol].seq
        assert (stored[symbol].price, stored[symbol].ts) == (price, ts)
