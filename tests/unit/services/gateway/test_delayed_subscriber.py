"""Clients that change their delay while they are connected: never in two places, never shown what they may not see."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.gateway.delayed_history import LEAST_SAMPLES, TYPICAL_SAMPLE
from services.gateway.requests import RequestError
from services.gateway.subscriptions import IMMEDIATE, Audience, Delivery, Subscriptions
from shared.names import error_codes, events
from tests.support.fakes_gateway import FakeLink, GatewayParts, read_events

DELIVERIES = (IMMEDIATE, Delivery(as_batch=True, interval_ms=100), Delivery(as_batch=False, interval_ms=500))
CLIENTS = st.integers(0, 1)
SYMBOLS = st.sampled_from("AB")


class DelaysChange(RuleBasedStateMachine):
    """Two clients that take any delay at any time, and a price that counts the steps."""

    @initialize(audience=st.sampled_from(["everyone", "subscribers", "off"]))
    def begin(self, audience: Audience) -> None:
        self.parts = GatewayParts(audience)
        self.parts.market.begin_epoch("epoch")
        self.step = 0
        self.clients: list[Subscriptions] = []
        self.links: list[FakeLink] = []
        self.prices: list[dict[str, Delivery]] = [{}, {}]
        for number in range(2):
            outbox, link = self.parts.outbox(number)
            self.clients.append(Subscriptions(outbox))
            self.links.append(link)
            self.parts.subscriber.arrive(outbox)

    @rule(number=CLIENTS, delay_s=st.sampled_from([0, 1, 2, 5]))
    def change_delay(self, number: int, delay_s: int) -> None:
        self.parts.loop.turn()
        self.check(number)
        assert self.parts.subscriber.change_delay(self.clients[number], delay_s) == []
        self.parts.loop.turn()

    @rule(number=CLIENTS, symbol=SYMBOLS, delivery=st.sampled_from(DELIVERIES))
    def join_price(self, number: int, symbol: str, delivery: Delivery) -> None:
        self.parts.subscriber.join_price(self.clients[number], symbol, delivery)
        self.parts.subscriber.send_current(self.clients[number], [symbol], as_batch=delivery.as_batch)
        self.prices[number][symbol] = delivery

    @rule(number=CLIENTS, symbol=SYMBOLS)
    def leave_price(self, number: int, symbol: str) -> None:
        self.parts.subscriber.leave_price(self.clients[number], symbol)
        self.prices[number].pop(symbol, None)

    @rule(number=CLIENTS, pace_ms=st.sampled_from([0, 100, 1000]))
    def change_pace(self, number: int, pace_ms: int) -> None:
        self.parts.subscriber.change_pace(self.clients[number], pace_ms)

    @rule(number=CLIENTS, writable=st.booleans())
    def stall_or_drain(self, number: int, writable: bool) -> None:  # noqa: FBT001
        if writable:
            self.parts.drain(self.clients[number].outbox)
        else:
            self.links[number].writable = False

    @rule(steps=st.integers(1, 4))
    def pass_time(self, steps: int) -> None:
        for _ in range(steps):
            self.step += 1
            for symbol in "AB":
                self.parts.publish(symbol, self.step)
            self.parts.windows.tick()
            self.parts.pass_steps(1)
            for number in range(2):
                self.check(number)

    def check(self, number: int) -> None:
        """Nothing that was written is younger than the client's delay."""
        link, delay_s = self.links[number], self.clients[number].delay_s
        written, link.written = b"".join(link.written), []
        for name, *args in read_events(written, number):
            seqs = args[1]["seqs"] if name == "price:batch" else [args[0]["seq"]]
            assert all(seq <= self.step - delay_s for seq in seqs), (name, args)

    @invariant()
    def delayed_clients_are_in_no_live_room_or_window(self) -> None:
        live = self.parts.windows
        for subscriptions, prices in zip(self.clients, self.prices, strict=True):
            outbox = subscriptions.outbox
            assert subscriptions.prices() == prices
            if subscriptions.delay_s:
                assert not outbox.rooms
                assert not any(outbox in window for window in live._windows.values())
                assert not any(outbox in crowd for crowd in live._crowds.values())

    @invariant()
    def live_clients_are_in_no_tier(self) -> None:
        for subscriptions in self.clients:
            outbox = subscriptions.outbox
            for tier in self.parts.delayed_prices._tiers.values():
                inside = any(outbox in window for window in tier.windows._windows.values())
                assert inside == (tier.delay_s == subscriptions.delay_s and bool(subscriptions.prices()))

    @invariant()
    def clients_are_counted(self) -> None:
        assert self.parts.delayed_prices.clients == sum(client.delay_s > 0 for client in self.clients)


DelaysChange.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_delays_change = DelaysChange.TestCase


def test_a_client_that_goes_live_gets_the_market_and_what_it_subscribed() -> None:
    parts = GatewayParts("everyone")
    outbox, link = parts.outbox()
    client = Subscriptions(outbox)
    parts.subscriber.change_delay(client, 5)
    parts.subscriber.join_price(client, "A", IMMEDIATE)
    parts.publish("A", 1)
    parts.subscriber.change_delay(client, 0)
    parts.loop.turn()
    assert [event[1]["seq"] for event in read_events(b"".join(link.written))] == [1]
    assert events.price_room("A") in outbox.rooms
    assert outbox in parts.windows.everyone


def test_a_symbol_for_whose_prices_there_is_no_room_is_refused_alone() -> None:
    parts = GatewayParts()
    parts.delayed_prices.history._max_bytes = 2 * LEAST_SAMPLES * TYPICAL_SAMPLE
    outbox, _ = parts.outbox()
    client = Subscriptions(outbox)
    for symbol in "ABC":
        parts.subscriber.join_price(client, symbol, IMMEDIATE)
    assert parts.subscriber.change_delay(client, 5) == ["C"]
    with pytest.raises(RequestError) as refused:
        parts.subscriber.join_price(client, "D", IMMEDIATE)
    assert refused.value.error is error_codes.TOO_MANY_DELAYED
    parts.subscriber.leave_price(client, "A")
    parts.subscriber.join_price(client, "D", IMMEDIATE)
    assert list(client.prices()) == ["B", "D"]
