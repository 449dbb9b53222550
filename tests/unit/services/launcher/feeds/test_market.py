"""The simulated market: seeded, at tick size, bursting, at the rate that was asked for."""

import math
from decimal import Decimal

import pytest

from services.launcher.feeds.market import VENUE, Deal, Market, Quote, instruments
from services.launcher.feeds.simulate import SLICE_S, Encoder, Simulation
from shared.symbols import is_symbol
from shared.upstream import parse_trade


def events(seed: int, symbols: int = 30, rate: float = 300, seconds: float = 20) -> list[Quote | Deal]:
    market = Market(instruments(symbols, seed), rate, seed)
    return [one for _ in range(round(seconds / SLICE_S)) for one in market.step(SLICE_S)]


def test_the_same_seed_gives_the_same_market():
    assert events(seed=7) == events(seed=7)


def test_another_seed_gives_another_market():
    assert events(seed=7) != events(seed=8)


def test_every_price_is_a_positive_multiple_of_its_tick_size():
    decimals = {one.symbol: one.decimals for one in instruments(60, 3)}
    for one in events(seed=3, symbols=60):
        exponent = Decimal(one.price).as_tuple().exponent
        assert Decimal(one.price) > 0
        assert exponent == -decimals[one.symbol], one


def test_a_quote_has_its_bid_below_its_ask():
    quotes = [one for one in events(seed=3) if isinstance(one, Quote)]
    assert quotes
    assert all(Decimal(0) < Decimal(quote.bid) < Decimal(quote.ask) for quote in quotes)


def test_every_symbol_is_valid_and_there_once():
    names = [one.symbol for one in instruments(1200, 1)]
    assert len(set(names)) == 1200
    assert all(is_symbol(name) for name in names)
    assert names[0] == "BTC-USDT"


@pytest.mark.parametrize("rate", [50, 1000])
def test_the_average_rate_is_what_was_asked_for(rate):
    seconds = 300
    assert len(events(seed=5, rate=rate, seconds=seconds)) / seconds == pytest.approx(rate, rel=0.35)


def test_ticks_come_in_bursts():
    market = Market(instruments(30, 2), 300, 2)
    per_second = [sum(len(market.step(SLICE_S)) for _ in range(20)) for _ in range(120)]
    assert max(per_second) > 3 * sorted(per_second)[len(per_second) // 2]


@pytest.mark.parametrize("rate", [100, 10_000])
def test_how_far_prices_go_does_not_depend_on_how_often_they_tick(rate):
    traded = instruments(20, 6)
    market = Market(traded, rate, 6)
    for _ in range(round(20 / SLICE_S)):
        market.step(SLICE_S)
    moves = [
        abs(math.log(walker.price / walker.instrument.price)) / walker.instrument.daily for walker in market._walkers
    ]
    day = math.sqrt(20 / 86_400)
    assert 0.3 * day < sum(moves) / len(moves) < 5 * day


def test_a_price_that_would_fall_to_nothing_stays_positive():
    market = Market(instruments(24, 1), 300, 1)
    for walker in market._walkers:
        walker.price = 10.0**-walker.instrument.decimals
    assert all(Decimal(one.price) > 0 for _ in range(200) for one in market.step(SLICE_S))


def test_trade_ids_rise_by_one_per_symbol_and_a_later_run_starts_above():
    happened = [one for one in events(seed=4) if isinstance(one, Deal)]
    first = Encoder(1_763_800_000_000)
    _, trades = first.encode(happened, 1_763_800_000_001)
    by_symbol: dict[str, list[int]] = {}
    for trade in trades:
        by_symbol.setdefault(trade["symbol"], []).append(int(trade["id"]))
    assert all(ids == list(range(ids[0], ids[0] + len(ids))) for ids in by_symbol.values())
    _, later = Encoder(1_763_800_020_000).encode(happened[:1], 1_763_800_020_001)
    assert int(later[0]["id"]) > max(map(max, by_symbol.values()))


def test_entries_are_what_an_upstream_writes_and_say_that_they_are_simulated():
    _, trades = Encoder(1_763_800_000_000).encode(events(seed=4), 1_763_800_000_001)
    users: set[str] = set()
    for entry in trades:
        trade = parse_trade({key.encode(): value.encode() for key, value in entry.items()}, "1763800000000-0")
        assert trade.venue == VENUE
        users.update(trade.users)
    assert users
    assert users <= {f"demo-{number}" for number in range(1, 10)}


def test_prices_carry_bid_ask_time_and_venue():
    prices, _ = Encoder(1).encode(events(seed=4, seconds=1), 1_763_800_000_001)
    assert all(set(entry) == {"symbol", "price", "bid", "ask", "ts", "venue"} for entry in prices)
    assert {entry["ts"] for entry in prices} == {"1763800000001"}


def test_what_the_user_is_told_says_that_it_is_no_market():
    assert "SIMULATED" in str(Simulation())
