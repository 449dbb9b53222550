"""Which trades came before."""

from itertools import count

from services.price_ingest.normalise import Kind, Tick
from services.price_ingest.seen import Echo, Seen

RANKS = count(1)


def trade(trade_id: str | None, symbol: str = "X", venue: str | None = None, price: str = "1", at: int = 5) -> Tick:
    return Tick(symbol, Kind.TRADE, price, 0, at, next(RANKS), trade_id, amount="1", side="buy", venue=venue)


def test_a_trade_whose_id_was_seen_is_dropped_in_the_same_batch_and_in_another():
    seen = Seen(10)
    first, again = trade("7"), trade("7", price="2")
    assert seen.filter([first, again]) == ([first], 1, {})
    assert seen.filter([again]) == ([], 1, {})
    assert len(seen) == 1


def test_ids_are_of_one_venue_and_symbol():
    ticks = [trade("7"), trade("7", "Y"), trade("7", venue="A"), trade("7", venue="B"), trade("8")]
    assert Seen(10).filter(ticks) == (ticks, 0, {})


def test_the_same_entry_of_another_stream_is_dropped_too():
    tick = trade("7")
    assert Seen(10).filter([tick, tick]) == ([tick], 1, {})


def test_prices_and_quotes_pass_whatever_their_id():
    ticks = [Tick("X", kind, "1", 0, 0, 1, "7") for kind in (Kind.PRICE, Kind.QUOTE, Kind.PRICE)]
    seen = Seen(10)
    assert seen.filter(ticks) == (ticks, 0, {})
    assert len(seen) == 0


def test_an_equal_trade_without_an_id_passes_and_names_the_first():
    first, again, third = (trade(None) for _ in range(3))
    seen = Seen(10)
    assert seen.filter([first, again]) == ([first, again], 0, {Echo("X", again.rank): first.rank})
    assert seen.filter([third]) == ([third], 0, {Echo("X", third.rank): first.rank})


def test_trades_without_an_id_are_equal_in_all_that_they_say():
    ticks = [trade(None), trade(None, at=6), trade(None, price="1.0"), trade(None, "Y")]
    assert Seen(10).filter(ticks) == (ticks, 0, {})


def test_the_oldest_is_forgotten_first_so_the_memory_is_bounded():
    seen = Seen(2)
    one, two, three = trade("1"), trade("2"), trade("3")
    seen.filter([one, two, three])
    assert len(seen) == 2
    assert seen.filter([three, two, one]) == ([one], 2, {})


def test_a_tail_of_the_streams_rebuilds_the_memory():
    ticks = [trade(str(number)) for number in range(10)]
    seen, rebuilt = Seen(4), Seen(4)
    for tick in ticks:
        seen.filter([tick])
    rebuilt.filter(ticks[5:])
    assert seen.filter(ticks) == rebuilt.filter(ticks)
