"""Tiers: what a delayed client sees is what the market was so long ago, with `n` that adds up, and nothing younger."""

from typing import Any

import pytest

from services.gateway.delayed_prices import LINGER_S, MAX_LINGERING, MAX_TIERS
from services.gateway.outbox import Outbox
from services.gateway.subscriptions import IMMEDIATE, Delivery, Subscriptions
from shared.messages import Price
from tests.support.fakes_gateway import MAX_DELAY_S, NOW_MS, FakeLink, GatewayParts, read_events

DELAY_S = 3
BATCH = Delivery(as_batch=True, interval_ms=100)


class Delayed:
    """One client with a delay, and what it is told."""

    def __init__(self, parts: GatewayParts, delay_s: int = DELAY_S) -> None:
        self.parts = parts
        self.outbox: Outbox
        self.link: FakeLink
        self.outbox, self.link = parts.outbox()
        self.subscriptions = Subscriptions(self.outbox)
        parts.subscriber.change_delay(self.subscriptions, delay_s)

    def join(self, *symbols: str, delivery: Delivery = IMMEDIATE) -> None:
        for symbol in symbols:
            self.parts.subscriber.join_price(self.subscriptions, symbol, delivery)
        self.parts.subscriber.send_current(self.subscriptions, symbols, as_batch=delivery.as_batch)
        self.parts.loop.turn()

    def heard(self) -> list[tuple[Any, ...]]:
        written, self.link.written = b"".join(self.link.written), []
        return read_events(written)

    def seqs(self) -> list[tuple[int, int]]:
        """`seq` and `n` of each update."""
        return [(event[1]["seq"], event[1]["n"]) for event in self.heard() if event[0] == "price:update"]


@pytest.fixture
def parts() -> GatewayParts:
    made = GatewayParts("everyone")
    made.market.begin_epoch("epoch-1")
    return made


def test_nothing_comes_before_its_time_and_the_newest_that_is_old_enough_then(parts: GatewayParts) -> None:
    client = Delayed(parts)
    client.join("A")
    shown = 0
    for second in range(1, 20):
        parts.publish("A", 10 * second)
        parts.pass_steps(1)
        for seq, _ in client.seqs():
            assert seq <= 10 * (second - DELAY_S)
            shown = seq
        assert shown >= 10 * (second - DELAY_S - 2)
    assert shown


def test_the_first_is_a_snapshot_and_n_adds_up_from_there(parts: GatewayParts) -> None:
    client = Delayed(parts)
    client.join("A")
    for second in range(1, 15):
        parts.publish("A", 7 * second)
        parts.pass_steps(1)
    (first, n), *others = client.seqs()
    assert n == 0
    for seq, n in others:
        assert seq - n == first
        first = seq
    assert others


def test_a_batch_has_its_own_symbols_only_and_the_whole_market_never_comes(parts: GatewayParts) -> None:
    client = Delayed(parts)
    client.join("A", "B", delivery=BATCH)
    other = Delayed(parts)
    for second in range(1, 10):
        for symbol in "ABC":
            parts.publish(symbol, second)
        parts.windows.tick()
        parts.pass_steps(1)
    events = client.heard()
    assert {name for name, *_ in events} == {"price:batch"}
    assert {pair[0] for event in events for pair in event[1]} == {"A", "B"}
    assert other.heard() == []


def test_it_is_granted_what_it_gets(parts: GatewayParts) -> None:
    client = Delayed(parts)
    granted = [
        parts.subscriber.granted_ms(client.subscriptions, delivery)
        for delivery in (IMMEDIATE, BATCH, Delivery(as_batch=False, interval_ms=1500))
    ]
    assert granted == [1000, 1000, 2000]


def test_who_is_behind_gets_the_newest_delayed_price_when_it_reads_again(parts: GatewayParts) -> None:
    client = Delayed(parts)
    client.join("A")
    for second in range(1, 6):
        parts.publish("A", second)
        parts.pass_steps(1)
    before = client.seqs()[-1][0]
    client.link.writable = False
    client.outbox.fall_behind()
    for second in range(6, 12):
        parts.publish("A", second)
        parts.pass_steps(1)
    assert client.heard() == []
    client.link.writable = True
    parts.drain(client.outbox)
    ((seq, n),) = client.seqs()
    assert seq - n == before
    assert seq <= 11 - DELAY_S


def test_resync_repeats_the_delayed_price(parts: GatewayParts) -> None:
    client = Delayed(parts)
    client.join("A")
    for second in range(1, 6):
        parts.publish("A", second)
        parts.pass_steps(1)
    shown = client.seqs()[-1][0]
    parts.publish("A", 99)
    parts.subscriber.send_current(client.subscriptions, ["A"], as_batch=False)
    parts.loop.turn()
    assert client.seqs() == [(shown, 0)]


def test_a_price_is_pending_until_there_is_one_that_old(parts: GatewayParts) -> None:
    client = Delayed(parts)
    parts.publish("A", 1)
    client.join("A")
    assert parts.subscriber.is_pending(client.subscriptions, "A")
    assert client.heard() == []
    parts.pass_steps(DELAY_S + 2)
    assert client.seqs() == [(1, 0)]
    assert not parts.subscriber.is_pending(client.subscriptions, "A")


def test_a_feed_that_has_been_silent_for_that_long_is_shown_at_once(parts: GatewayParts) -> None:
    silent = {"old": DELAY_S * 1000, "young": DELAY_S * 1000 - 1}
    for symbol, ms in silent.items():
        parts.deliver(parts.market.apply(parts.encoded(symbol, Price("1", 5, 5, state="stale", since=NOW_MS - ms))))
    parts.deliver(parts.market.apply(parts.encoded("live", Price("1", NOW_MS - 10**9, 5))))
    client = Delayed(parts)
    client.join("old", "young", "live")
    assert [event[1]["symbol"] for event in client.heard()] == ["old"]


def test_another_client_finds_the_history_that_there_is(parts: GatewayParts) -> None:
    Delayed(parts).join("A")
    for second in range(1, 8):
        parts.publish("A", second)
        parts.pass_steps(1)
    later = Delayed(parts)
    later.join("A")
    assert [seq >= 2 for seq, _ in later.seqs()] == [True]
    shorter = Delayed(parts, 1)
    shorter.join("A")
    ((seq, _),) = shorter.seqs()
    assert 4 <= seq <= 6


def test_a_page_that_reloads_finds_its_prices_again_and_everything_is_forgotten_later(parts: GatewayParts) -> None:
    client = Delayed(parts)
    client.join("A")
    for second in range(1, 8):
        parts.publish("A", second)
        parts.pass_steps(1)
    parts.subscriber.depart(client.subscriptions)
    again = Delayed(parts)
    again.join("A")
    assert again.seqs()
    parts.subscriber.depart(again.subscriptions)
    parts.pass_steps(int(LINGER_S) + 2)
    assert parts.delayed_prices.clients == 0
    assert len(parts.delayed_prices.history) == parts.delayed_prices.history.size == 0
    assert not parts.market._watchers


def test_a_new_epoch_reaches_delayed_clients_as_late_as_its_prices(parts: GatewayParts) -> None:
    client = Delayed(parts)
    client.join("A")
    for second in range(100, 108):
        parts.publish("A", second)
        parts.pass_steps(1)
    client.heard()
    parts.market.begin_epoch("epoch-2")
    parts.publish("A", 1)
    parts.pass_steps(1)
    assert all(seq > 100 for seq, _ in client.seqs())
    parts.pass_steps(DELAY_S + 1)
    assert client.seqs()[-1] == (1, 0)


def test_more_delays_than_there_may_be_are_served_with_the_next_longer_one(parts: GatewayParts) -> None:
    clients = [Delayed(parts, 10 * number) for number in range(1, MAX_TIERS + 3)]
    delays = [client.subscriptions.delay_s for client in clients]
    assert delays[: MAX_TIERS - 1] == [10 * number for number in range(1, MAX_TIERS)]
    assert delays[MAX_TIERS - 1 :] == [MAX_DELAY_S] * 3
    assert Delayed(parts, 15).subscriptions.delay_s == 20
    for client in clients:
        parts.subscriber.depart(client.subscriptions)
    assert Delayed(parts, 15).subscriptions.delay_s == 15


def test_symbols_that_nobody_wants_any_more_are_bounded(parts: GatewayParts) -> None:
    parts.delayed_prices.history._max_bytes = 10**9
    client = Delayed(parts)
    for number in range(MAX_LINGERING + 50):
        parts.subscriber.join_price(client.subscriptions, f"S{number}", IMMEDIATE)
        parts.subscriber.leave_price(client.subscriptions, f"S{number}")
    assert len(parts.delayed_prices.history) == MAX_LINGERING
