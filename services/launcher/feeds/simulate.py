"""`tickwire feed simulate`: the simulated market, published at the pace of the clock.

Fed by `feeds.market`; feeds `feed:trades` and `feed:prices`. Every start says that this is simulated.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from services.launcher.feeds.market import VENUE, Deal, Market, Quote, instruments
from services.launcher.feeds.publish import Entry, Publisher, say
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock

SLICE_S: Final = 0.05
MOST_BEHIND_S: Final = 1.0
"""After a longer pause the market goes on from now; what would have happened meanwhile did not."""

_TELL_EVERY_S: Final = 5.0
_IDS_PER_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Simulation:
    """What to simulate: `symbols` of them, `rate` ticks a second in all, everything random from `seed`."""

    symbols: int = 40
    rate: float = 300.0
    seed: int = 1

    def __str__(self) -> str:
        """What the user is told, whatever else follows."""
        return f"SIMULATED prices, no market: {self.symbols} symbols, seed {self.seed}"


class Encoder:
    """Turns what happened into stream entries.

    Trade ids rise by one per symbol from a number made of the start's time, so a second run never repeats one of the
    first: it would have to trade a thousand times a millisecond to get there.
    """

    def __init__(self, started_ms: int) -> None:
        self._first_id = started_ms * _IDS_PER_MS
        self._next: dict[str, int] = {}

    def encode(self, happened: Iterable[Quote | Deal], now_ms: int) -> tuple[list[Entry], list[Entry]]:
        """Entries for `feed:prices` and for `feed:trades`."""
        prices: list[Entry] = []
        trades: list[Entry] = []
        stamp = str(now_ms)
        for one in happened:
            if isinstance(one, Deal):
                trades.append(self._trade(one, stamp))
            else:
                prices.append(_price(one, stamp))
        return prices, trades

    def _trade(self, deal: Deal, stamp: str) -> Entry:
        number = self._next.get(deal.symbol, self._first_id)
        self._next[deal.symbol] = number + 1
        fields = {
            "id": str(number),
            "symbol": deal.symbol,
            "amount": deal.amount,
            "price": deal.price,
            "side": deal.side,
            "ts": stamp,
            "venue": VENUE,
        }
        if deal.users:
            fields["user_id"] = ",".join(deal.users)
        return fields


def _price(quote: Quote, stamp: str) -> Entry:
    return {
        "symbol": quote.symbol,
        "price": quote.price,
        "bid": quote.bid,
        "ask": quote.ask,
        "ts": stamp,
        "venue": VENUE,
    }


async def simulate(simulation: Simulation, bus: RedisBus, clock: Clock, stopping: asyncio.Event) -> None:
    """Publish until told to stop."""
    say(f"{simulation}; {simulation.rate:g} ticks a second on average")
    market = Market(instruments(simulation.symbols, simulation.seed), simulation.rate, simulation.seed)
    encoder = Encoder(clock.now_ms())
    publisher = Publisher(bus, clock, stopping)
    due = told = clock.monotonic()
    published = 0
    while not stopping.is_set():
        prices, trades = encoder.encode(market.step(SLICE_S), clock.now_ms())
        await publisher.prices(prices)
        await publisher.trades(trades)
        published += len(prices) + len(trades)
        now = clock.monotonic()
        if now - told >= _TELL_EVERY_S:
            say(f"{simulation}; {published / (now - told):,.0f} ticks a second")
            told, published = now, 0
        due = max(due + SLICE_S, now - MOST_BEHIND_S)
        await asyncio.sleep(max(0.0, due - now))
