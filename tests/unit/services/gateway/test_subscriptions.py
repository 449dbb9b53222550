"""Joining and leaving, in any order: rooms, windows and the market always say what clients subscribed, and no more."""

from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.gateway.outbox import Outbox
from services.gateway.pace import STEPS
from services.gateway.subscriptions import IMMEDIATE, Audience, Delivery, Subscriptions
from shared.names import events
from tests.support.fakes_gateway import FakeLink, GatewayParts, read_events

BATCH: Final = Delivery(as_batch=True, interval_ms=100)
SLOW_BATCH: Final = Delivery(as_batch=True, interval_ms=1000)
SLOW: Final = Delivery(as_batch=False, interval_ms=500)
DELIVERIES: Final = (IMMEDIATE, BATCH, SLOW_BATCH, SLOW)
PACES: Final = [step * 100 for step in STEPS]
CLIENTS: Final = st.integers(0, 2)
SYMBOLS: Final = st.sampled_from("ABC")


def window_members(parts: GatewayParts) -> dict[tuple[Delivery, Outbox], set[str]]:
    return {
        (Delivery(window.as_batch, window.ticks * 100), member): set(window.place(member).wanted(member))
        for window in parts.windows._windows.values()
        for member in window
    }


class ClientsComeAndGo(RuleBasedStateMachine):
    """Three clients; a model of what each has subscribed."""

    @initialize(audience=st.sampled_from(["everyone", "subscribers", "off"]))
    def begin(self, audience: Audience) -> None:
        self.audience = audience
        self.parts = GatewayParts(audience)
        self.seq = 0
        self.clients: list[Subscriptions] = []
        self.prices: list[dict[str, Delivery]] = [{}, {}, {}]
        self.paces = [0, 0, 0]
        for number in range(3):
            outbox, _ = self.parts.outbox(number % 2)
            self.clients.append(Subscriptions(outbox))
            self.parts.subscriber.arrive(outbox)

    @rule(number=CLIENTS, symbol=SYMBOLS, delivery=st.sampled_from(DELIVERIES))
    def join_price(self, number: int, symbol: str, delivery: Delivery) -> None:
        self.parts.subscriber.join_price(self.clients[number], symbol, delivery)
        self.parts.subscriber.send_current(self.clients[number], [symbol], as_batch=delivery.as_batch)
        self.prices[number][symbol] = delivery

    @rule(number=CLIENTS, symbol=SYMBOLS)
    def leave_price(self, number: int, symbol: str) -> None:
        self.parts.subscriber.leave_price(self.clients[number], symbol)
        self.prices[number].pop(symbol, None)

    @rule(number=CLIENTS, pace_ms=st.sampled_from(PACES))
    def change_pace(self, number: int, pace_ms: int) -> None:
        self.parts.subscriber.change_pace(self.clients[number], pace_ms)
        self.paces[number] = pace_ms

    @rule(number=CLIENTS)
    def come_back(self, number: int) -> None:
        self.depart(number)
        outbox, _ = self.parts.outbox(number % 2)
        self.clients[number] = Subscriptions(outbox)
        self.parts.subscriber.arrive(outbox)

    @rule(number=CLIENTS, writable=st.booleans())
    def stall_or_drain(self, number: int, writable: bool) -> None:  # noqa: FBT001
        link = self.clients[number].outbox.link
        assert isinstance(link, FakeLink)
        if writable:
            self.parts.drain(self.clients[number].outbox)
        else:
            link.writable = False

    @rule(symbol=SYMBOLS, ticks=st.integers(0, 3))
    def publish(self, symbol: str, ticks: int) -> None:
        self.seq += 1
        self.parts.publish(symbol, self.seq)
        for _ in range(ticks):
            self.parts.windows.tick()
        self.parts.loop.turn()

    def depart(self, number: int) -> None:
        subscriptions = self.clients[number]
        self.parts.subscriber.depart(subscriptions)
        subscriptions.outbox.drop()
        self.paces[number] = 0
        self.prices[number] = {}

    def outboxes(self) -> list[Outbox]:
        return [subscriptions.outbox for subscriptions in self.clients]

    @invariant()
    def rooms_are_what_was_joined(self) -> None:
        for number, outbox in enumerate(self.outboxes()):
            prices = self.prices[number] if self.paces[number] == 0 else {}
            immediate = {events.price_room(name) for name, how in prices.items() if how == IMMEDIATE}
            assert outbox.rooms == immediate
        assert len(self.parts.hub) == len({room for outbox in self.outboxes() for room in outbox.rooms})

    @invariant()
    def windows_are_what_was_joined(self) -> None:
        expected: dict[tuple[Delivery, Outbox], set[str]] = {}
        for number, outbox in enumerate(self.outboxes()):
            for symbol, delivery in self.prices[number].items():
                if (paced := delivery.at_pace(self.paces[number])) != IMMEDIATE:
                    expected.setdefault((paced, outbox), set()).add(symbol)
                if self.audience == "subscribers" and not delivery.as_batch:
                    expected.setdefault((BATCH.at_pace(self.paces[number]), outbox), set()).add(symbol)
        assert window_members(self.parts) == expected

    @invariant()
    def the_whole_market_goes_to_who_has_no_batches_of_its_own(self) -> None:
        expected = {
            (self.paces[number], outbox)
            for number, outbox in enumerate(self.outboxes())
            if self.audience == "everyone" and not any(how.as_batch for how in self.prices[number].values())
        }
        assert {(pace, outbox) for pace in PACES for outbox in self.parts.windows.crowd(pace)} == expected

    @invariant()
    def the_market_is_watched_as_often_as_subscribed(self) -> None:
        watched = [symbol for prices in self.prices for symbol in prices]
        assert self.parts.market._watchers == {symbol: watched.count(symbol) for symbol in set(watched)}

    @invariant()
    def nothing_is_owed_of_what_is_not_subscribed(self) -> None:
        for number, outbox in enumerate(self.outboxes()):
            owed = set(outbox.owed_prices or ()) | set(outbox.owed_batches or ())
            assert owed <= set(self.prices[number])
            assert len(self.clients[number]) == len(self.prices[number])

    def teardown(self) -> None:
        if not hasattr(self, "parts"):
            return
        for number in range(3):
            self.depart(number)
        assert len(self.parts.hub) == 0
        assert window_members(self.parts) == {}
        assert self.parts.market._watchers == {}
        assert not any(len(self.parts.windows.crowd(pace)) for pace in PACES)
        assert not any(outbox.behind for outbox in self.outboxes())
        assert not any(phase.owing for pace in PACES for phase in self.parts.windows.crowd(pace).phases)


TestClientsComeAndGo = ClientsComeAndGo.TestCase
TestClientsComeAndGo.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def client(parts: GatewayParts) -> tuple[Subscriptions, FakeLink]:
    outbox, link = parts.outbox()
    return Subscriptions(outbox), link


def test_the_current_price_follows_a_subscription_at_once() -> None:
    parts = GatewayParts()
    parts.publish("A", 7)
    subscriptions, link = client(parts)
    parts.subscriber.join_price(subscriptions, "A", IMMEDIATE)
    parts.subscriber.send_current(subscriptions, ["A", "unknown"], as_batch=False)
    parts.publish("A", 9)
    parts.loop.turn()
    payloads = [payload for _, payload in read_events(b"".join(link.written))]
    assert [(payload["seq"], payload["n"], payload.get("snap")) for payload in payloads] == [(7, 0, 1), (9, 2, None)]


def test_the_current_prices_of_a_batch_subscription_are_one_batch() -> None:
    parts = GatewayParts()
    subscriptions, link = client(parts)
    for symbol in "AB":
        parts.publish(symbol, 3)
        parts.subscriber.join_price(subscriptions, symbol, BATCH)
    parts.subscriber.send_current(subscriptions, "AB", as_batch=True)
    parts.loop.turn()
    ((name, pairs, extras),) = read_events(b"".join(link.written))
    assert (name, pairs, extras["snap"]) == ("price:batch", [["A", 3.1], ["B", 3.1]], 1)


@pytest.mark.parametrize(("delivery", "name"), [(IMMEDIATE, "price:update"), (BATCH, "price:batch")])
def test_who_is_behind_gets_the_current_price_in_its_own_way_when_it_drains(delivery: Delivery, name: str) -> None:
    parts = GatewayParts()
    parts.publish("A", 3)
    subscriptions, link = client(parts)
    subscriptions.outbox.fall_behind()
    parts.subscriber.join_price(subscriptions, "A", delivery)
    parts.subscriber.send_current(subscriptions, ["A"], as_batch=delivery.as_batch)
    assert link.written == []
    parts.drain(subscriptions.outbox)
    ((found, *args),) = read_events(b"".join(link.written))
    assert found == name
    assert args[-1]["snap"] == 1


def test_who_comes_back_to_the_whole_market_gets_all_of_it_once() -> None:
    parts = GatewayParts("everyone")
    for symbol in "ABC":
        parts.publish(symbol, 1)
    parts.windows.tick()
    subscriptions, link = client(parts)
    parts.subscriber.arrive(subscriptions.outbox)
    parts.subscriber.join_price(subscriptions, "A", SLOW_BATCH)
    parts.subscriber.leave_price(subscriptions, "A")
    for _ in range(2):
        parts.windows.tick()
    parts.loop.turn()
    ((_, pairs, extras),) = read_events(b"".join(link.written))
    assert ([symbol for symbol, _ in pairs], extras["snap"]) == (["A", "B", "C"], 1)


def test_a_symbol_that_the_feed_does_not_have_yet_is_not_live() -> None:
    parts = GatewayParts()
    client = Subscriptions(parts.outbox()[0])
    assert not parts.subscriber.is_pending(client, "A")
    parts.feed.live = False
    assert parts.subscriber.is_pending(client, "A")
