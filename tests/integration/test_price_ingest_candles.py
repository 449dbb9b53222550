"""The exchange's own candles are the oracle: recorded trades through price-ingest, killed twice on the way."""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal

import pytest

from shared.bus.redis_bus import RedisBus
from shared.intervals import INTERVALS
from shared.names import redis_keys
from tests.support.cluster import Cluster
from tests.support.price_market import INGEST, Fields, candles, feed, read_up
from tests.support.recorded_market import Kline, kline, phemex_klines, phemex_trades, recorded
from tests.support.waiting import eventually

MINUTE = INTERVALS["1m"]
TRADED_MINUTES = 2121
"""Complete minutes with a trade, over ten symbols."""

pytestmark = pytest.mark.slow

Feed = dict[str, list[Fields]]


def in_event_order() -> Feed:
    """One stream, in the order in which the trades were made; prices are the exchange's scaled integers."""
    entries: list[Fields] = [
        {"symbol": tick.symbol, "price": str(tick.price), "amount": str(tick.amount), "ts": str(tick.at)}
        for tick in phemex_trades()
    ]
    return {redis_keys.FEED_TRADES: entries}


def as_cryptofeed_wrote_them() -> Feed:
    """A stream for each symbol, newest first, without ids."""
    streams: Feed = defaultdict(list)
    with gzip.open(recorded("phemex-20210703/cryptofeed-stream-entries.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["key"].startswith("trades-"):
                streams[entry["key"]].append(entry["fields"])
    return streams


def exchange_name(symbol: str) -> tuple[str, int]:
    """What the exchange calls a symbol, and by how many digits it shifts its prices."""
    if "-" not in symbol:
        return symbol, 0
    base, quote, *perpetual = symbol.split("-")
    return (f"{base}{quote}", 4) if perpetual else (f"s{base}{quote}", 8)


async def minutes(bus: RedisBus) -> dict[str, dict[int, Kline]]:
    """Exchange's symbol -> start -> candle in its own numbers."""
    found: dict[str, dict[int, Kline]] = defaultdict(dict)
    for (symbol, interval, start), (opening, high, low, close, volume, _) in (await candles(bus)).items():
        if interval == "1m":
            name, digits = exchange_name(symbol)
            prices = (str(Decimal(price).scaleb(digits)) for price in (opening, high, low, close))
            found[name][start] = kline(*prices, volume)
    return found


async def half_charted(bus: RedisBus) -> None:
    """Wait until the candles of something new are committed."""
    before = await bus.hash_all(redis_keys.CHART_POSITIONS)
    await eventually(lambda: bus.hash_all(redis_keys.CHART_POSITIONS), "charted", lambda now: now != before)


@pytest.mark.parametrize("make", [in_event_order, as_cryptofeed_wrote_them])
async def test_every_complete_minute_equals_the_exchanges(make: Callable[[], Feed], cluster: Cluster, bus: RedisBus):
    cluster.settings["CANDLE_HISTORY"] = "2000"
    streams = make()
    for third in range(3):
        service = cluster.launch(INGEST)
        await service.logged("prices_restored")
        for stream, entries in streams.items():
            size = -(-len(entries) // 3)
            await feed(bus, entries[third * size : (third + 1) * size], stream)
        if third < 2:
            await half_charted(bus)
            service.kill()
    for stream in streams:
        await read_up(bus, stream)
    made = await minutes(bus)
    traded = 0
    for symbol, klines in phemex_klines().items():
        complete = [start for start in sorted(made[symbol])[1:] if start < max(klines)]
        assert {start: made[symbol][start] for start in complete} == {start: klines[start] for start in complete}
        traded += len(complete)
    assert traded == TRADED_MINUTES
    assert len(service.lines("chart_damaged")) == 0
