"""The recorded quotes and trades at full speed, as clients of every kind see them.

210,570 entries of six symbols, written to Redis as fast as it takes them and in the order in which they were recorded,
through a price-ingest and a gateway. However much is folded into one message, the last one is right, none goes back,
and `n` accounts for every tick.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from typing import Final

import pytest

from shared.bus.redis_bus import RedisBus
from shared.messages import Price
from shared.names import redis_keys
from tests.load.bench_ingest import Feeder, chunks_of, recorded
from tests.support.cluster import Cluster
from tests.support.price_market import read_up, snapshot
from tests.support.recording import QUOTES, needs_recording
from tests.support.waiting import eventually
from tests.support.wire_socket import Json, joined, listening

pytestmark = [
    pytest.mark.slow,
    needs_recording,
    pytest.mark.skipif(not QUOTES.exists(), reason=f"the recorded quotes are not beside the project: {QUOTES.name}"),
]

SYMBOLS: Final = ("BTCUSD-PERP", "BTCUSDT", "BTCUSDT-PERP", "ETHUSD-PERP", "ETHUSDT", "ETHUSDT-PERP")
WAYS: Final[Sequence[dict[str, Json]]] = ({}, {"max_hz": 5}, {"deliver": "batch"}, {"deliver": "batch", "max_hz": 2})


class Screen:
    """What one client shows of each symbol. Fails on the first message that does not go on from the one before.

    Attributes:
        seqs: the first of each symbol and all `n` since, which every message has to agree with.
        prices: the last ones.
        quotes: the last bid and ask, None for a symbol without; batches have none.
        messages: how many came, each symbol of a batch counted.
    """

    def __init__(self) -> None:
        self.seqs: dict[str, int] = {}
        self.prices: dict[str, float] = {}
        self.quotes: dict[str, tuple[float | None, float | None]] = {}
        self.messages = 0

    def on_event(self, name: str, *args: Json) -> None:
        """`price:update` or `price:batch`."""
        if name == "price:update":
            (update,) = args
            self._take(update["symbol"], update["price"], update["seq"], update["n"])
            self.quotes[update["symbol"]] = update.get("bid"), update.get("ask")
        elif name == "price:batch":
            pairs, extras = args
            for (symbol, price), seq, n in zip(pairs, extras["seqs"], extras["ns"], strict=True):
                self._take(symbol, price, seq, n)

    def _take(self, symbol: str, price: float, seq: int, n: int) -> None:
        before = self.seqs.get(symbol)
        if before is None:
            assert n == 0, f"{symbol} begins with {seq=} {n=}"
        else:
            assert seq == before + n, f"{symbol} goes on at {seq=} {n=} after {before}"
        self.seqs[symbol] = seq
        self.prices[symbol] = price
        self.messages += 1


class Ending(Screen):
    """What the recording ends with: the last trade and the last quote of each symbol."""

    def __init__(self) -> None:
        super().__init__()
        self.quotes = dict.fromkeys(SYMBOLS, (None, None))
        for stream, fields in recorded():
            if stream == redis_keys.FEED_TRADES:
                self.prices[fields["symbol"]] = float(fields["price"])
            else:
                self.quotes[fields["symbol"]] = float(fields["bid"]), float(fields["ask"])


async def replay(bus: RedisBus, redis_url: str) -> dict[str, Price]:
    """Write the recording and wait until it is folded: what price-ingest has made of it."""
    with closing(Feeder(redis_url)) as feeder:
        await asyncio.to_thread(lambda: feeder.send(chunks_of(recorded())))
    for stream in (redis_keys.FEED_TRADES, redis_keys.FEED_PRICES):
        await read_up(bus, stream)
    return await snapshot(bus)


async def test_every_kind_of_client_ends_at_the_last_trade_and_quote_and_was_told_of_every_tick(
    cluster: Cluster, bus: RedisBus, redis_url: str
) -> None:
    ending = Ending()
    ingest = await cluster.start("price-ingest")
    gateway = await cluster.start("gateway", PRICE_BATCH_AUDIENCE="off")
    screens: list[Screen] = []
    async with AsyncExitStack() as stack:
        for number in range(2 * len(WAYS)):
            socket = await stack.enter_async_context(joined(gateway.port, is_binary=number % 2 == 1))
            assert (await socket.call("subscribe:price", SYMBOLS, WAYS[number // 2]))["ok"]
            screens.append(Screen())
            await stack.enter_async_context(listening(socket, screens[-1].on_event))
        stored = await replay(bus, redis_url)
        seqs = {symbol: price.seq for symbol, price in stored.items()}
        await eventually(
            lambda: [it.seqs for it in screens], "all is seen", lambda seen: all(it == seqs for it in seen)
        )
    assert sum(seqs.values()) == (await ingest.scrape())["tickwire_ingest_accepted_total"]
    assert set(seqs) == set(SYMBOLS)
    for screen, way in zip(screens, [way for way in WAYS for _ in range(2)], strict=True):
        assert screen.prices == ending.prices, way
        assert screen.quotes == ({} if "deliver" in way else ending.quotes), way
        assert len(SYMBOLS) < screen.messages, way
