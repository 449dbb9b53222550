"""An exchange's own candles against those that a client is given: whole services, killed on the way."""

from collections.abc import Iterable
from typing import Final

import pytest

from shared.bus.redis_bus import RedisBus
from tests.support.cluster import Cluster, Service
from tests.support.price_market import INGEST, Fields, feed
from tests.support.recorded_market import Kline, kline, phemex_klines, phemex_trades
from tests.support.waiting import eventually
from tests.support.wire_socket import joined

pytestmark = pytest.mark.slow

PARTITIONS: Final = ("feed:trades:0", "feed:trades:3")
"""Of different units, so that two replicas share them."""

CHUNK: Final = 500
KILLS: Final = (6, 13)
MINUTE_MS: Final = 60_000
TRADED_MINUTES: Final = 2_121
FLAT_MINUTES: Final = 354

Minutes = dict[str, dict[int, Kline]]


def complete_minutes() -> Minutes:
    """The exchange's candles of every complete minute inside the recorded trades, those without a trade included."""
    first: dict[str, int] = {}
    for tick in phemex_trades():
        first.setdefault(tick.symbol, tick.ts // MINUTE_MS * MINUTE_MS)
    return {
        symbol: {start: bar for start, bar in bars.items() if first[symbol] < start < max(bars)}
        for symbol, bars in phemex_klines().items()
    }


async def charted(gateway: Service, symbols: Iterable[str]) -> Minutes:
    """The closed bars that a client is given."""
    found: Minutes = {}
    async with joined(gateway.port) as socket:
        for symbol in symbols:
            answer = await socket.call("subscribe:chart", symbol, "1m")
            assert answer["ok"], answer
            names = ("open", "high", "low", "close", "volume")
            found[symbol] = {bar["start"]: kline(*(str(bar[name]) for name in names)) for bar in answer["bars"]}
            await socket.call("unsubscribe:chart", symbol)
    return found


async def kill_an_owner(cluster: Cluster) -> None:
    """SIGKILL a price-ingest that owns streams, and start another one in its place."""

    async def find() -> Service | None:
        for service in cluster.services:
            alive = service.name == INGEST and service.process.poll() is None
            if alive and (await service.scrape())["tickwire_ingest_units_owned"]:
                return service
        return None

    owner = await eventually(find, "a price-ingest that owns streams")
    assert owner is not None
    owner.kill()
    cluster.launch(INGEST)


async def test_a_client_is_given_the_exchanges_candles_with_price_ingest_killed_twice(cluster: Cluster, bus: RedisBus):
    wanted = complete_minutes()
    volumes = [bar.volume > 0 for bars in wanted.values() for bar in bars.values()]
    assert (volumes.count(True), volumes.count(False)) == (TRADED_MINUTES, FLAT_MINUTES)
    gateway = await cluster.start("gateway", INGEST, INGEST)
    ticks = phemex_trades()
    for number, at in enumerate(range(0, len(ticks), CHUNK)):
        entries: dict[str, list[Fields]] = {stream: [] for stream in PARTITIONS}
        for tick in ticks[at : at + CHUNK]:
            stream = PARTITIONS[len(tick.symbol) % 2]
            entries[stream].append(
                {"symbol": tick.symbol, "price": str(tick.price), "amount": str(tick.amount), "ts": str(tick.at)}
            )
        for stream, its_own in entries.items():
            await feed(bus, its_own, stream)
        if number in KILLS:
            await kill_an_owner(cluster)

    async def wrong() -> list[tuple[str, int, Kline, Kline | None]]:
        given = await charted(gateway, wanted)
        return [
            (symbol, start, bar, given[symbol].get(start))
            for symbol, bars in wanted.items()
            for start, bar in bars.items()
            if given[symbol].get(start) != bar
        ]

    await eventually(wrong, "candles that are not the exchange's", lambda found: not found)
