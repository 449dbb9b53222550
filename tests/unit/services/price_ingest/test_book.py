"""The last price of every symbol."""

from collections import Counter
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.price_ingest.book import Book, Change, Verdict
from services.price_ingest.normalise import Tick
from shared.messages import Price


def tick(price: str = "1", ts: int = 1, symbol: str = "X", bid: str | None = None, ask: str | None = None) -> Tick:
    return Tick(symbol, price, ts, bid, ask)


def book_of(*ticks: Tick) -> Book:
    book = Book(100)
    for each in ticks:
        assert book.fold(each) is Verdict.ACCEPTED
    return book


def test_a_change_holds_the_tick_as_upstream_gave_it_and_the_symbols_first_number():
    book = book_of(Tick("BTC-USDT", "64000.10", 5, "64000", "64001", "0.5", "sell", "BINANCE"))
    price = Price("64000.10", 5, 1, 1, "64000", "64001", "0.5", "sell", "BINANCE")
    assert book.take() == [Change("BTC-USDT", price, fresh=True)]
    assert book.take() == []


def test_several_ticks_fold_into_one_change_that_says_how_many():
    book = book_of(tick("1"), tick("2"), tick("3"))
    assert [(change.price.price, change.price.seq, change.price.n) for change in book.take()] == [("3", 3, 3)]
    book.fold(tick("4"))
    assert [(change.price.price, change.price.seq, change.price.n) for change in book.take()] == [("4", 4, 1)]


def test_symbols_are_numbered_apart():
    book = book_of(tick(symbol="A"), tick(symbol="B"), tick("2", symbol="A"))
    assert {change.symbol: change.price.seq for change in book.take()} == {"A": 2, "B": 1}


def test_the_same_number_in_other_digits_is_no_change():
    book = book_of(tick("64000.10", bid="1.0", ask="2.0"))
    for price, bid, ask in [("64000.10", "1.0", "2.0"), ("64000.1", "1", "2.00"), ("64000.100", None, None)]:
        assert book.fold(tick(price, bid=bid, ask=ask)) is Verdict.UNCHANGED


def test_a_changed_or_first_bid_or_ask_is_a_change():
    book = book_of(tick("1", bid="1"))
    assert book.fold(tick("1", bid="1.1")) is Verdict.ACCEPTED
    assert book.fold(tick("1", bid="1.1", ask="3")) is Verdict.ACCEPTED


def test_a_late_tick_is_out_of_date_and_one_of_the_same_time_counts():
    book = book_of(tick("1", ts=10))
    assert book.fold(tick("2", ts=9)) is Verdict.OUT_OF_DATE
    assert book.fold(tick("3", ts=10)) is Verdict.ACCEPTED


def test_a_repeated_price_moves_the_time_so_that_a_late_contradiction_cannot_win():
    book = book_of(tick("1", ts=10))
    assert book.fold(tick("1", ts=20)) is Verdict.UNCHANGED
    assert book.fold(tick("2", ts=15)) is Verdict.OUT_OF_DATE
    assert [change.price.ts for change in book.take()] == [20]


def test_a_time_that_moved_alone_is_kept_and_not_published():
    book = book_of(tick("1", ts=10), tick("2", ts=10))
    book.take()
    book.fold(tick("2", ts=20))
    assert book.take() == [Change("X", Price("2", 20, 2, 2), fresh=False)]


def test_a_symbol_too_many_is_dropped_and_the_known_ones_go_on():
    book = Book(1)
    book.fold(tick(symbol="A"))
    assert book.fold(tick(symbol="B")) is Verdict.TOO_MANY_SYMBOLS
    assert book.fold(tick("2", symbol="A")) is Verdict.ACCEPTED
    assert len(book) == 1


TICKS = st.lists(
    st.builds(
        tick,
        price=st.sampled_from(["1", "1.0", "1.00", "2", "2.50", "2.5", "-1"]),
        ts=st.integers(0, 6),
        symbol=st.sampled_from(["A", "B"]),
        bid=st.sampled_from([None, None, "1", "1.0", "0.9"]),
        ask=st.sampled_from([None, None, "2", "3"]),
    ),
    max_size=40,
)
CUTS = st.sets(st.integers(0, 40))


def run(ticks: list[Tick], cuts: set[int], *, crash: bool) -> tuple[list[Verdict], list[list[Change]]]:
    """Fold everything, taking changes at the cuts and at the end; with `crash`, each time a new book goes on."""
    book, snapshot = Book(100), dict[str, Price]()
    verdicts: list[Verdict] = []
    taken: list[list[Change]] = []
    for number, each in enumerate([*ticks, None]):
        if number in cuts or each is None:
            taken.append(book.take())
            snapshot.update((change.symbol, change.price) for change in taken[-1])
            if crash:
                book = Book(100)
                for symbol, price in snapshot.items():
                    book.restore(symbol, price)
        if each is not None:
            verdicts.append(book.fold(each))
    return verdicts, taken


@given(TICKS, CUTS)
def test_published_numbers_are_contiguous_and_account_for_every_accepted_tick(ticks: list[Tick], cuts: set[int]):
    verdicts, taken = run(ticks, cuts, crash=False)
    accepted = [each for each, verdict in zip(ticks, verdicts, strict=True) if verdict is Verdict.ACCEPTED]
    last_seq: Counter[str] = Counter()
    last_price: dict[str, str] = {}
    for changes in taken:
        assert len({change.symbol for change in changes}) == len(changes)
        for symbol, price, fresh in changes:
            if fresh:
                last_seq[symbol] += price.n
                last_price[symbol] = price.price
            assert price.seq == last_seq[symbol]
    assert last_seq == Counter(each.symbol for each in accepted)
    assert last_price == {each.symbol: each.price for each in accepted}


@given(TICKS)
def test_the_last_price_is_the_newest_that_was_said(ticks: list[Tick]):
    _, (changes,) = run(ticks, set(), crash=False)
    for change in changes:
        said = [each for each in ticks if each.symbol == change.symbol]
        newest = max(each.ts for each in said)
        last = [each for each in said if each.ts == newest][-1]
        assert change.price.ts == newest
        assert Decimal(change.price.price) == Decimal(last.price)


@given(TICKS, CUTS)
def test_going_on_from_what_was_taken_is_the_same_as_never_having_stopped(ticks: list[Tick], cuts: set[int]):
    assert run(ticks, cuts, crash=True) == run(ticks, cuts, crash=False)
