"""The last price of every symbol."""

from collections import Counter
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.price_ingest.book import Book, Change, QuotePrice, StoredPrice, Verdict
from services.price_ingest.normalise import Kind, Tick
from shared.messages import Price, decode_price, encode

NOW = 5000
STALE_MS = 100


def tick(
    price: str | None = "1",
    at: int = 1,
    symbol: str = "X",
    bid: str | None = None,
    ask: str | None = None,
    state: Literal["live", "halted"] | None = None,
    amount: str | None = None,
) -> Tick:
    """At so many ms; a quote where there is no price, a trade where there is an amount."""
    kind = Kind.QUOTE if price is None else Kind.PRICE if amount is None else Kind.TRADE
    return Tick(symbol, kind, price, at, at * 10**6, at, None, bid, ask, amount, state=state)


def quote(bid: str | None, ask: str | None, at: int = 1) -> Tick:
    return tick(None, at, bid=bid, ask=ask)


def book_of(*ticks: Tick, quote_price: QuotePrice = "mid") -> Book:
    book = Book(quote_price, STALE_MS)
    for each in ticks:
        assert book.fold(each, NOW) is Verdict.ACCEPTED
    return book


def taken(book: Book) -> Price:
    """The one change."""
    (change,) = book.take()
    return change.price


def test_a_change_holds_the_tick_as_upstream_gave_it_and_the_symbols_first_number():
    given_ = Tick("B", Kind.TRADE, "64000.10", 5, 5_000_001, 9, "42", "64000", "64001", "0.5", "sell", "BINANCE")
    book = book_of(given_)
    price = StoredPrice("64000.10", 5, 1, 1, "64000", "64001", "0.5", "sell", "BINANCE", "live", NOW, said_at=5_000_001)
    assert book.take() == [Change("B", price, fresh=True)]
    assert book.take() == []


def test_readers_stop_at_the_fields_that_they_know():
    book = book_of(tick("1", bid="2"))
    assert decode_price(encode(taken(book))) == Price("1", 1, 1, 1, "2", since=NOW)


def test_several_ticks_fold_into_one_change_that_says_how_many():
    book = book_of(tick("1"), tick("2"), tick("3"))
    assert [(change.price.price, change.price.seq, change.price.n) for change in book.take()] == [("3", 3, 3)]
    book.fold(tick("4"), NOW)
    assert [(change.price.price, change.price.seq, change.price.n) for change in book.take()] == [("4", 4, 1)]


def test_symbols_are_numbered_apart():
    book = book_of(tick(symbol="A"), tick(symbol="B"), tick("2", symbol="A"))
    assert {change.symbol: change.price.seq for change in book.take()} == {"A": 2, "B": 1}
    assert sorted(book) == ["A", "B"]
    assert len(book) == 2


def test_the_same_number_in_other_digits_is_no_change():
    book = book_of(tick("64000.10", bid="1.0", ask="2.0"))
    for price, bid, ask in [("64000.10", "1.0", "2.0"), ("64000.1", "1", "2.00"), ("64000.100", None, None)]:
        assert book.fold(tick(price, bid=bid, ask=ask), NOW) is Verdict.UNCHANGED


def test_a_changed_or_first_bid_or_ask_is_a_change():
    book = book_of(tick("1", bid="1"))
    assert book.fold(tick("1", bid="1.1"), NOW) is Verdict.ACCEPTED
    assert book.fold(tick("1", bid="1.1", ask="3"), NOW) is Verdict.ACCEPTED


def test_a_late_tick_is_out_of_date_and_one_of_the_same_time_counts():
    book = book_of(tick("1", at=10))
    assert book.fold(tick("2", at=9), NOW) is Verdict.OUT_OF_DATE
    assert book.fold(tick("3", at=10), NOW) is Verdict.ACCEPTED


def test_a_repeated_price_moves_the_time_so_that_a_late_contradiction_cannot_win():
    book = book_of(tick("1", at=10))
    assert book.fold(tick("1", at=20), NOW) is Verdict.UNCHANGED
    assert book.fold(tick("2", at=15), NOW) is Verdict.OUT_OF_DATE
    assert [change.price.ts for change in book.take()] == [20]


def test_a_time_that_moved_alone_is_kept_and_not_published():
    book = book_of(tick("1", at=10), tick("2", at=10))
    book.take()
    book.fold(tick("2", at=20), NOW)
    (change,) = book.take()
    assert (change.price.ts, change.price.seq, change.price.n, change.fresh) == (20, 2, 2, False)


def test_a_quote_moves_bid_and_ask_and_keeps_the_last_price():
    book = book_of(tick("10", amount="1"), quote("9", "11"), quote(None, "10.5"))
    found = taken(book)
    assert (found.price, found.bid, found.ask, found.seq) == ("10", "9", "10.5", 3)
    assert book.fold(quote("9.0", "10.50"), NOW) is Verdict.UNCHANGED


def test_quotes_are_late_against_quotes_alone_and_the_time_never_goes_back():
    book = book_of(tick("10", at=1270), quote("9", "11", at=5), quote("8", "11", at=6))
    assert book.fold(quote("7", "11", at=5), NOW) is Verdict.OUT_OF_DATE
    assert book.fold(tick("11", at=1269), NOW) is Verdict.OUT_OF_DATE
    assert taken(book).ts == 1270


@pytest.mark.parametrize(
    ("policy", "bid", "ask", "price"),
    [
        ("mid", "0.1", "0.2", "0.15"),
        ("mid", "64000.10", "64000.11", "64000.105"),
        ("mid", "1" * 30, "1." + "0" * 29 + "1", "5" * 28 + "6." + "0" * 30 + "5"),
        ("mid", "1", None, "1"),
        ("mid", None, "2", "2"),
        ("bid", "1", "2", "1"),
        ("ask", "1", "2", "2"),
    ],
)
def test_quotes_alone_make_a_price(policy: QuotePrice, bid: str | None, ask: str | None, price: str):
    assert taken(book_of(quote(bid, ask), quote_price=policy)).price == price


def test_the_first_trade_ends_the_price_made_of_quotes():
    book = book_of(quote("1", "2"), quote("3", "4"))
    assert taken(book).price == "3.5"
    assert book.fold(tick("3.5", amount="1"), NOW) is Verdict.ACCEPTED
    assert book.fold(quote("5", "6"), NOW) is Verdict.ACCEPTED
    assert taken(book).price == "3.5"


def test_an_entry_without_price_bid_and_ask_begins_no_symbol():
    book = Book("mid", STALE_MS)
    assert book.fold(tick(None, state="halted"), NOW) is Verdict.UNCHANGED
    assert len(book) == 0


def test_silence_makes_stale_and_any_entry_live_with_the_same_number():
    book = book_of(tick("1", at=10), tick("1", symbol="Y"))
    book.take()
    book.fold(tick("9", at=1, symbol="Y"), NOW + 60)
    assert not book.look_for_stale(NOW + STALE_MS - 1)
    assert book.look_for_stale(NOW + STALE_MS)
    assert not book.look_for_stale(NOW + STALE_MS)
    (change,) = [change for change in book.take() if change.symbol == "X"]
    found = change.price
    assert (found.state, found.since, found.seq, found.n, change.fresh) == ("stale", NOW + STALE_MS, 1, 0, True)
    assert book.stale == 1
    assert book.fold(tick("9", at=1), NOW + STALE_MS) is Verdict.OUT_OF_DATE
    again = taken(book)
    assert (again.state, again.since, again.seq, again.n, again.price) == ("live", NOW + STALE_MS + 1, 1, 0, "1")
    assert book.stale == 0


def test_nothing_is_stale_where_that_is_off():
    book = Book("mid", 0)
    book.fold(tick(), NOW)
    assert not book.look_for_stale(NOW * 1000)


def test_halted_stays_until_live_is_said_or_a_trade_made():
    book = book_of(tick("1", at=10))
    for ends in (tick("2", at=11, amount="1"), tick(None, at=11, state="live")):
        book.fold(tick(None, at=10, state="halted"), NOW)
        assert taken(book).state == "halted"
        assert not book.look_for_stale(NOW + STALE_MS)
        book.fold(tick("1", at=10), NOW)
        book.fold(quote("1", "2", at=10), NOW)
        assert taken(book).state == "halted"
        book.fold(ends, NOW)
        assert taken(book).state == "live"


TICKS = st.lists(
    st.builds(
        tick,
        price=st.sampled_from([None, None, "1", "1.0", "1.00", "2", "2.50", "2.5", "-1"]),
        at=st.integers(1, 6),
        symbol=st.sampled_from(["A", "B"]),
        bid=st.sampled_from([None, None, "1", "1.0", "0.9"]),
        ask=st.sampled_from([None, None, "2", "3"]),
        state=st.sampled_from([None, None, None, "live", "halted"]),
        amount=st.sampled_from([None, "1"]),
    ),
    max_size=40,
)
CUTS = st.sets(st.integers(0, 40))


def run(ticks: list[Tick], cuts: set[int], *, crash: bool) -> tuple[list[Verdict], list[list[Change]]]:
    """Fold everything, taking changes at the cuts and at the end; with `crash`, each time a new book goes on."""
    book, snapshot = Book("mid", 0), dict[str, StoredPrice]()
    verdicts: list[Verdict] = []
    taken: list[list[Change]] = []
    for number, each in enumerate([*ticks, None]):
        if number in cuts or each is None:
            taken.append(book.take())
            snapshot.update((change.symbol, change.price) for change in taken[-1])
            if crash:
                book = Book("mid", 0)
                for symbol, price in snapshot.items():
                    book.restore(symbol, price, NOW)
        if each is not None:
            verdicts.append(book.fold(each, NOW))
    return verdicts, taken


@given(TICKS, CUTS)
def test_published_numbers_are_contiguous_and_account_for_every_accepted_tick(ticks: list[Tick], cuts: set[int]):
    verdicts, taken = run(ticks, cuts, crash=False)
    accepted = [each for each, verdict in zip(ticks, verdicts, strict=True) if verdict is Verdict.ACCEPTED]
    last_seq: Counter[str] = Counter()
    for changes in taken:
        assert len({change.symbol for change in changes}) == len(changes)
        for symbol, price, fresh in changes:
            if fresh:
                last_seq[symbol] += price.n
            assert price.seq == last_seq[symbol]
    assert last_seq == Counter(each.symbol for each in accepted)


@given(TICKS)
def test_the_last_price_is_the_newest_that_was_said(ticks: list[Tick]):
    _, (changes,) = run(ticks, set(), crash=False)
    for change in changes:
        said = [each for each in ticks if each.symbol == change.symbol and each.price is not None]
        if said:
            last = max(enumerate(said), key=lambda each: (each[1].at, each[0]))[1]
            assert Decimal(change.price.price) == Decimal(last.price or "")
            assert change.price.ts >= last.ts


@given(TICKS, CUTS)
def test_going_on_from_what_was_taken_is_the_same_as_never_having_stopped(ticks: list[Tick], cuts: set[int]):
    assert run(ticks, cuts, crash=True) == run(ticks, cuts, crash=False)
