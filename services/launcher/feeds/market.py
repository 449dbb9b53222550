"""A simulated market: pure, seeded, and no pretence of being a real one.

Each symbol's price is a random walk. Its *heat* makes it look alive: heat multiplies how often the symbol trades and,
by its square root, how far each step goes, decays within seconds, and jumps when a burst strikes one symbol or all of
them. That gives volatility clustering (calm follows calm, storm follows storm) and the bursts that a fan-out fears.
Feeds `feeds.simulate`; the same seed gives the same market, whatever the machine.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.messages import Side

VENUE: Final = "simulator"
"""Every entry says where it comes from."""

DAILY_SECONDS: Final = 86_400
TRADE_SHARE: Final = 1 / 3
"""Of all ticks; the others are quotes."""

HEAT_DECAY_S: Final = 1.5
BURST_EVERY_S: Final = 20.0
BURST_HEAT: Final = 8.0
STORM_EVERY_S: Final = 45.0
STORM_HEAT: Final = 6.0
MAX_HEAT: Final = 40.0
BURST_DRIFT: Final = 3.0
"""How fast a burst carries a price away: a second of it moves it by so many of a calm second's standard deviations."""

_MEAN_HEAT: Final = 1 + HEAT_DECAY_S * (BURST_HEAT / BURST_EVERY_S + STORM_HEAT / STORM_EVERY_S)
"""Rates are divided by it, so that the average comes out as asked for."""

_USER_SHARE: Final = 0.02
_USERS: Final = 9
_LEAST_TICKS: Final = 20


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is traded.

    Attributes:
        symbol: as clients know it.
        price: where its walk begins.
        decimals: of its tick size: 2 means a step of 0.01.
        daily: standard deviation of a day's return.
    """

    symbol: str
    price: float
    decimals: int
    daily: float


_KNOWN: Final = (
    Instrument("BTC-USDT", 64000.10, 2, 0.03),
    Instrument("ETH-USDT", 3120.50, 2, 0.04),
    Instrument("SOL-USDT", 152.34, 2, 0.05),
    Instrument("BNB-USDT", 584.60, 1, 0.03),
    Instrument("XRP-USDT", 0.5921, 4, 0.05),
    Instrument("DOGE-USDT", 0.12345, 5, 0.06),
    Instrument("ADA-USDT", 0.4512, 4, 0.05),
    Instrument("AVAX-USDT", 27.46, 2, 0.06),
    Instrument("LINK-USDT", 13.871, 3, 0.05),
    Instrument("LTC-USDT", 71.25, 2, 0.04),
    Instrument("DOT-USDT", 6.184, 3, 0.05),
    Instrument("TRX-USDT", 0.13456, 5, 0.03),
    Instrument("UNI-USDT", 7.832, 3, 0.06),
    Instrument("ATOM-USDT", 6.721, 3, 0.05),
    Instrument("XLM-USDT", 0.1052, 4, 0.04),
    Instrument("NEAR-USDT", 5.213, 3, 0.07),
    Instrument("ETH-BTC", 0.04876, 5, 0.02),
    Instrument("BTC-EUR", 58650.20, 2, 0.03),
    Instrument("ETH-EUR", 2860.15, 2, 0.04),
    Instrument("USDC-USDT", 0.9998, 4, 0.0005),
    Instrument("SHIB-USDT", 0.00001743, 8, 0.07),
    Instrument("PEPE-USDT", 0.00000964, 8, 0.09),
    Instrument("FIL-USDT", 4.312, 3, 0.06),
    Instrument("AAVE-USDT", 97.31, 2, 0.06),
)


def instruments(count: int, seed: int) -> list[Instrument]:
    """The first `count` instruments: known names, then generated `SIM-001`, `SIM-002`, ..."""
    chance = random.Random(f"instruments {seed}")  # noqa: S311 - a simulation, no secret
    generated = []
    for number in range(1, count - len(_KNOWN) + 1):
        price = 10 ** chance.uniform(-1, 4)
        decimals = 2 - min(0, math.floor(math.log10(price)) - 1)
        generated.append(Instrument(f"SIM-{number:03d}", price, decimals, chance.uniform(0.02, 0.08)))
    return [*_KNOWN[:count], *generated]


@dataclass(frozen=True, slots=True)
class Quote:
    """A price without a trade; decimal text at tick size."""

    symbol: str
    price: str
    bid: str
    ask: str


@dataclass(frozen=True, slots=True)
class Deal:
    """A trade; decimal text. `users` are the ids of those it concerns, mostly nobody."""

    symbol: str
    price: str
    amount: str
    side: Side
    users: tuple[str, ...]


@dataclass(slots=True)
class _Walker:
    instrument: Instrument
    share: float
    price: float
    heat: float = 1.0
    drift: float = 0.0
    lot_decimals: int = field(default=0)


class Market:
    """All instruments, moved in steps.

    Args:
        traded: the instruments, most popular first.
        rate: ticks a second of all of them together, on average.
        seed: of everything random.
    """

    def __init__(self, traded: Sequence[Instrument], rate: float, seed: int) -> None:
        self._chance = random.Random(f"market {seed}")  # noqa: S311 - a simulation, no secret
        self._rate = rate / _MEAN_HEAT
        popularity = [1 / (rank + 1) ** 0.7 for rank in range(len(traded))]
        whole = sum(popularity)
        self._walkers = [
            _Walker(one, weight / whole, one.price, lot_decimals=_lot_decimals(one.price))
            for one, weight in zip(traded, popularity, strict=True)
        ]

    def step(self, seconds: float) -> list[Quote | Deal]:
        """Let time pass; what happened meanwhile, in order."""
        storm = self._strikes(STORM_EVERY_S, seconds)
        direction = self._chance.choice((-1.0, 1.0))
        due: list[_Walker] = []
        for walker in self._walkers:
            self._warm(walker, seconds, storm, direction)
            due += [walker] * self._poisson(self._rate * walker.share * walker.heat * seconds)
        self._chance.shuffle(due)
        return [self._tick(walker) for walker in due]

    def _warm(self, walker: _Walker, seconds: float, storm: bool, direction: float) -> None:  # noqa: FBT001 - private
        cooling = math.exp(-seconds / HEAT_DECAY_S)
        walker.heat = 1 + (walker.heat - 1) * cooling
        walker.drift *= cooling
        if storm:
            walker.heat = min(MAX_HEAT, walker.heat + STORM_HEAT)
            walker.drift = direction
        if self._strikes(BURST_EVERY_S, seconds):
            walker.heat = min(MAX_HEAT, walker.heat + BURST_HEAT)
            walker.drift = self._chance.choice((-1.0, 1.0))

    def _tick(self, walker: _Walker) -> Quote | Deal:
        one = walker.instrument
        a_second = one.daily / math.sqrt(DAILY_SECONDS)
        calm_rate = self._rate * walker.share
        noise = self._chance.gauss(0, a_second * math.sqrt(walker.heat / calm_rate))
        moved = noise + a_second * BURST_DRIFT * walker.drift / (calm_rate * walker.heat)
        tick = 10.0**-one.decimals
        walker.price = max(walker.price * math.exp(moved), _LEAST_TICKS * tick)
        ticks = round(walker.price / tick)
        price = _decimal(ticks, one.decimals)
        if self._chance.random() >= TRADE_SHARE:
            spread = 1 + int(self._chance.expovariate(2) * math.sqrt(walker.heat))
            return Quote(one.symbol, price, _decimal(ticks - spread, one.decimals), _decimal(ticks, one.decimals))
        side: Side = "buy" if self._chance.random() < (0.65 if moved > 0 else 0.35) else "sell"
        lots = self._chance.lognormvariate(math.log(300), 1.2) / walker.price * 10**walker.lot_decimals
        return Deal(one.symbol, price, _decimal(max(1, round(lots)), walker.lot_decimals), side, self._users())

    def _users(self) -> tuple[str, ...]:
        if self._chance.random() >= _USER_SHARE:
            return ()
        parties = self._chance.sample(range(1, _USERS + 1), self._chance.choice((1, 2)))
        return tuple(f"demo-{number}" for number in parties)

    def _strikes(self, every_s: float, seconds: float) -> bool:
        return self._chance.random() < 1 - math.exp(-seconds / every_s)

    def _poisson(self, mean: float) -> int:
        """Knuth's method below 30, the normal approximation above."""
        if mean > 30:  # noqa: PLR2004 - said above
            return max(0, round(self._chance.gauss(mean, math.sqrt(mean))))
        limit, product, count = math.exp(-mean), self._chance.random(), 0
        while product > limit:
            product *= self._chance.random()
            count += 1
        return count


def _lot_decimals(price: float) -> int:
    """So many that the least amount is worth some cents: none for a coin far below a cent, six for bitcoin."""
    return min(8, max(0, math.ceil(math.log10(price)) + 1)) if price > 0 else 0


def _decimal(units: int, decimals: int) -> str:
    """`units` of 10^-`decimals`, written out: (6400010, 2) -> 64000.10. Integers alone: no digit is invented."""
    if decimals == 0:
        return str(units)
    text = f"{units:0{decimals + 1}d}"
    return f"{text[:-decimals]}.{text[-decimals:]}"
