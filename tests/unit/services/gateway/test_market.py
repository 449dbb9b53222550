"""The market: newest wins, numbers never go back, and what nobody watches stays unread."""

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import market as market_module
from services.gateway.market import UNKNOWN, Market
from shared.messages import Price, PriceBatch, decode_price, decode_price_batch, encode
from tests.support.fakes_gateway import make_price


def news(*seqs: int, symbol: str = "A") -> dict[str, msgspec.Raw]:
    (seq,) = seqs
    return {symbol: msgspec.Raw(encode(make_price(seq)))}


@pytest.fixture(name="decoded")
def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    calls: list[bytes] = []

    def counting(raw: bytes) -> Price:
        calls.append(raw)
        return decode_price(raw)

    monkeypatch.setattr("services.gateway.market.decode_price", counting)
    return calls


def test_a_change_says_what_it_builds_on() -> None:
    market = Market(everything=False)
    assert market.watch("A")
    assert [change.base for change in market.apply(news(5))] == [UNKNOWN]
    assert [change.base for change in market.apply(news(8))] == [5]
    assert market.find("A") == make_price(8)


@pytest.mark.parametrize("seq", [1, 4, 5])
def test_what_is_not_newer_is_no_change(seq: int) -> None:
    market = Market(everything=True)
    market.apply(news(5))
    assert market.apply(news(seq)) == []
    assert market.apply_snapshot({"A": encode(make_price(seq))}) == []
    assert market.find("A") == make_price(5)


def test_a_state_that_began_later_is_a_change_of_the_same_price() -> None:
    market = Market(everything=True)
    market.apply(news(5))
    stale = msgspec.structs.replace(make_price(5), state="stale", since=7)
    (change,) = market.apply({"A": msgspec.Raw(encode(stale))})
    assert (change.price.state, change.base) == ("stale", UNKNOWN)
    assert market.apply({"A": msgspec.Raw(encode(stale))}) == []
    assert market.apply_snapshot({"A": encode(make_price(5))}) == []
    live = msgspec.structs.replace(make_price(6), since=8)
    (change,) = market.apply({"A": msgspec.Raw(encode(live))})
    assert (change.price.state, change.base) == ("live", 5)


def test_a_state_that_began_later_is_found_in_a_snapshot_of_what_nobody_watches() -> None:
    market = Market(everything=False)
    market.apply(news(5))
    stale = msgspec.structs.replace(make_price(5), state="stale", since=7)
    market.apply_snapshot({"A": encode(stale)})
    market.apply_snapshot({"A": encode(make_price(5))})
    market.watch("A")
    assert market.find("A") == stale


def test_what_nobody_watches_is_not_decoded(decoded: list[bytes]) -> None:
    market = Market(everything=False)
    for seq in range(1, 50):
        assert market.apply(news(seq)) == []
    assert decoded == []
    assert market.find("A") is None
    market.watch("A")
    assert market.find("A") == make_price(49)
    assert len(decoded) == 1


def test_the_first_and_the_last_subscription_are_told_apart() -> None:
    market = Market(everything=False)
    assert [market.watch("A"), market.watch("A")] == [True, False]
    market.apply(news(3))
    assert [market.unwatch("A"), market.unwatch("A")] == [False, True]
    assert market.find("A") is None
    market.watch("A")
    assert market.find("A") == make_price(3)


def test_a_market_for_everybody_keeps_everything_decoded() -> None:
    market = Market(everything=True)
    market.watch("A")
    market.apply({**news(1), **news(2, symbol="B")})
    market.unwatch("A")
    assert dict(market.items()) == {"A": make_price(1), "B": make_price(2)}


def test_a_new_epoch_begins_its_numbers_anew() -> None:
    market = Market(everything=False)
    market.watch("A")
    market.apply({**news(1000), **news(7, symbol="B")})
    market.begin_epoch("second")
    assert market.epoch == "second"
    assert market.find("A") is None
    assert [(change.price.seq, change.base) for change in market.apply(news(1))] == [(1, UNKNOWN)]
    market.watch("B")
    assert market.find("B") is None


def test_one_price_that_cannot_be_read_loses_no_other() -> None:
    market = Market(everything=True)
    bad = {"bad": msgspec.Raw(b"\xc0")}
    changes = market.apply({**news(1, symbol="before"), **bad, **news(2, symbol="after")})
    assert [change.symbol for change in changes] == ["before", "after"]
    snapshot = {"old": encode(make_price(3)), "bad": b"\xc1", "new": encode(make_price(4))}
    assert [change.symbol for change in market.apply_snapshot(snapshot)] == ["old", "new"]
    assert market.rejected == 2


def test_watching_a_price_that_cannot_be_read_is_like_watching_none() -> None:
    market = Market(everything=False)
    market.apply({"A": msgspec.Raw(b"\xc0")})
    assert market.watch("A")
    assert market.find("A") is None
    assert market.rejected == 1
    market.apply_snapshot({"A": encode(make_price(4))})
    assert market.find("A") == make_price(4)


def test_a_snapshot_replaces_an_unread_price_that_cannot_be_read() -> None:
    market = Market(everything=False)
    market.apply({"A": msgspec.Raw(b"\xc0")})
    market.apply_snapshot({"A": encode(make_price(4))})
    market.watch("A")
    assert market.find("A") == make_price(4)


def test_an_older_snapshot_does_not_replace_an_unread_price() -> None:
    market = Market(everything=False)
    market.apply(news(5))
    market.apply_snapshot({"A": encode(make_price(4))})
    market.watch("A")
    assert market.find("A") == make_price(5)


ARRIVALS = st.lists(
    st.tuples(st.sampled_from(["news", "snapshot", "watch", "unwatch"]), st.sampled_from("AB"), st.integers(1, 30)),
    max_size=60,
)


@given(ARRIVALS, st.booleans())
def test_news_and_snapshots_converge_in_any_order(arrivals: list[tuple[str, str, int]], everything: bool) -> None:  # noqa: FBT001
    market = Market(everything=everything)
    newest: dict[str, int] = {}
    watchers = {"A": 0, "B": 0}
    published = 0
    for kind, symbol, seq in arrivals:
        before = market.find(symbol)
        if kind == "watch":
            watchers[symbol] += 1
            market.watch(symbol)
        elif kind == "unwatch" and watchers[symbol]:
            watchers[symbol] -= 1
            market.unwatch(symbol)
        elif kind == "news":  # one publisher: its numbers rise
            published += 1
            newest[symbol] = published
            changes = market.apply(news(published, symbol=symbol))
            assert [change.base for change in changes] in ([], [UNKNOWN if before is None else before.seq])
        elif kind == "snapshot" and symbol in newest:  # read some time ago, up to now
            old = max(1, newest[symbol] - seq % 3)
            market.apply_snapshot({symbol: encode(make_price(old))})
    for symbol, seq in newest.items():
        market.watch(symbol)
        assert market.find(symbol) == make_price(seq)


@pytest.mark.parametrize("watched", [True, False])
def test_what_is_forgotten_is_new_when_it_comes_again(watched: bool) -> None:  # noqa: FBT001 - a parameter
    market = Market(everything=False)
    if watched:
        market.watch("A")
    market.apply(news(5))
    market.forget("A")
    if not watched:
        market.watch("A")
    assert market.find("A") is None
    assert [change.base for change in market.apply(news(3))] == [UNKNOWN]


def test_symbols_without_end_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "MOST_SYMBOLS", 10)
    market = Market(everything=False)
    market.apply(news(1, symbol="REAL"))
    for number in range(100):
        market.apply(news(1, symbol=f"S{number}"))
        market.apply_snapshot({f"T{number}": encode(make_price(1))})
    assert market.rejected == 191
    market.watch("REAL")
    assert market.find("REAL") == make_price(1)


def test_nobody_is_sent_a_symbol_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "MOST_SYMBOLS", 2)
    market = Market(everything=True)
    for symbol in ("A\n", "{}", "", "X" * 33, "A", "B", "C"):
        market.apply(news(1, symbol=symbol))
    assert [symbol for symbol, _ in market.items()] == ["A", "B"]
    assert market.rejected == 5


def test_a_price_that_nobody_reads_does_not_keep_its_message_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "MOST_HELD", 1_000_000)
    market = Market(everything=False)
    rows = {"A": msgspec.Raw(encode(make_price(5))), "B": msgspec.Raw(encode("x" * 10**6))}
    message = encode(PriceBatch(1, "e", 5, rows))
    tracemalloc.start()
    for number in range(30):
        batch = decode_price_batch(message.replace(b"\xa1A", b"\xa3S%02d" % number))
        market.apply(batch.prices, len(message))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4_000_000
    market.watch("S07")
    assert market.find("S07") == make_price(5)
