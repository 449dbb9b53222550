"""Slower deliveries: who gets what at the end of a window, and that the numbers of every client always add up."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.gateway.outbox import Outbox
from services.gateway.pace import STEPS
from services.gateway.phases import PHASE_FILL
from services.gateway.subscriptions import IMMEDIATE, Audience, Delivery, Subscriptions
from services.gateway.windows import LADDER
from shared.messages import FeedState, encode
from tests.support.fakes_gateway import FakeLink, GatewayParts, make_price, read_events

BATCH: Final = Delivery(as_batch=True, interval_ms=100)
SLOW_BATCH: Final = Delivery(as_batch=True, interval_ms=500)
SLOW_UPDATES: Final = Delivery(as_batch=False, interval_ms=200)
SYMBOLS: Final = ("A", "B")
STATES: Final[tuple[FeedState, ...]] = ("live", "stale", "halted")


@dataclass
class Reader:
    """A client that checks every number that it gets."""

    parts: GatewayParts
    delivery: Delivery | None
    parser: int = 0
    seqs: dict[tuple[str, str], int] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    outbox: Outbox = field(init=False)
    link: FakeLink = field(init=False)

    def __post_init__(self) -> None:
        self.outbox, self.link = self.parts.outbox(self.parser)
        self.subscriptions = Subscriptions(self.outbox)
        self.parts.subscriber.arrive(self.outbox)
        if self.delivery is not None:
            for symbol in SYMBOLS:
                self.parts.subscriber.join_price(self.subscriptions, symbol, self.delivery)
            self.resync()

    def resync(self) -> None:
        if self.delivery is not None:
            as_batch = self.delivery.as_batch
            self.parts.subscriber.send_current(self.subscriptions, SYMBOLS, as_batch=as_batch)

    def read(self) -> None:
        for args in read_events(b"".join(self.link.written), self.parser):
            self.names.append(args[0])
            if args[0] == "price:update":
                self.take("update", args[1]["symbol"], args[1]["price"], args[1])
                self.states[args[1]["symbol"]] = args[1].get("state", "live")
                assert ("since" in args[1]) == (args[1].get("state", "live") != "live")
            else:
                _, pairs, extras = args
                assert len(pairs) == len(extras["seqs"]) == len(extras["ns"])
                for (symbol, price), seq, n in zip(pairs, extras["seqs"], extras["ns"], strict=True):
                    self.take("batch", symbol, price, {"seq": seq, "n": n})
                states = extras.get("states", ["live"] * len(pairs))
                self.states.update({symbol: state for (symbol, _), state in zip(pairs, states, strict=True)})
        self.link.written.clear()

    def take(self, kind: str, symbol: str, price: float, numbers: dict[str, Any]) -> None:
        seq, n = numbers["seq"], numbers["n"]
        before = self.seqs.get((kind, symbol))
        if before is not None:
            assert seq >= before, "a price never goes back"
            assert n == 0 or before + n == seq, f"{kind} of {symbol}: {before} + {n} is not {seq}"
        self.seqs[kind, symbol] = seq
        self.prices[symbol] = price


def events_of(link: FakeLink, parser: int = 0) -> list[tuple[Any, ...]]:
    written, link.written = b"".join(link.written), []
    return read_events(written, parser)


def test_everyone_gets_the_market_s_changes_once_a_window() -> None:
    parts = GatewayParts("everyone")
    links = []
    for parser in (0, 1):
        outbox, link = parts.outbox(parser)
        parts.subscriber.arrive(outbox)
        links.append(link)
    parts.publish("A", 1)
    parts.publish("A", 2, "64000.10")
    parts.publish("B", 1)
    parts.loop.turn()
    assert [link.written for link in links] == [[], []]
    parts.windows.tick()
    parts.windows.tick()
    parts.loop.turn()
    for parser, link in enumerate(links):
        ((name, pairs, extras),) = events_of(link, parser)
        assert (name, pairs, extras["seqs"]) == ("price:batch", [["A", 64000.1], ["B", 1.1]], [2, 1])
        assert extras["ts"] == parts.clock.now_ms()


def test_a_client_with_batches_of_its_own_gets_its_symbols_alone() -> None:
    parts = GatewayParts("everyone")
    outbox, link = parts.outbox()
    subscriptions = Subscriptions(outbox)
    parts.subscriber.arrive(outbox)
    parts.subscriber.join_price(subscriptions, "A", BATCH)
    for symbol in SYMBOLS:
        parts.publish(symbol, 1)
    parts.windows.tick()
    parts.loop.turn()
    assert [(name, pairs) for name, pairs, _ in events_of(link)] == [("price:batch", [["A", 1.1]])]


def test_the_states_of_a_batch_are_told_where_one_is_not_live_and_in_what_restates() -> None:
    parts = GatewayParts("everyone")
    outbox, link = parts.outbox()
    parts.subscriber.arrive(outbox)
    for symbol in SYMBOLS:
        parts.publish(symbol, 1)
    parts.windows.tick()
    parts.publish("A", 2)
    stale = msgspec.structs.replace(make_price(1), state="stale", since=77)
    parts.deliver(parts.market.apply({"B": msgspec.Raw(encode(stale))}))
    parts.windows.tick()
    parts.windows.everyone.owe(outbox)
    parts.windows.tick()
    parts.loop.turn()
    extras = [extras for _, _, extras in events_of(link)]
    assert "states" not in extras[0]
    assert (extras[1]["seqs"], extras[1]["ns"], extras[1]["states"]) == ([2, 1], [1, 0], ["live", "stale"])
    assert (extras[2]["snap"], extras[2]["states"]) == (1, ["live", "stale"])


@pytest.mark.parametrize("delivery", [IMMEDIATE, BATCH, SLOW_UPDATES])
def test_a_state_that_changes_while_a_client_is_behind_is_not_lost_where_its_price_is_known(delivery: Delivery) -> None:
    parts = GatewayParts()
    reader = Reader(parts, delivery)
    parts.publish("A", 1)
    reader.link.full_after = 1
    reader.resync()
    parts.loop.turn()
    assert reader.outbox.behind
    stale = msgspec.structs.replace(make_price(1), state="stale", since=77)
    parts.deliver(parts.market.apply({"A": msgspec.Raw(encode(stale))}))
    for _ in range(2):
        parts.windows.tick()
    parts.drain(reader.outbox)
    parts.loop.turn()
    reader.read()
    assert reader.states == {"A": "stale"}


def test_no_change_no_batch() -> None:
    parts = GatewayParts("everyone")
    reader = Reader(parts, BATCH)
    for _ in range(200):
        parts.windows.tick()
    parts.loop.turn()
    assert reader.link.written == []


@pytest.mark.parametrize(
    ("max_hz", "interval_ms"),
    [(10, 100), (1000, 100), (9.9, 200), (5, 200), (4, 500), (1, 1000), (0.5, 2000), (0.1, 10_000), (0.0001, 10_000)],
)
def test_the_interval_granted_is_the_shortest_that_keeps_to_max_hz(max_hz: float, interval_ms: int) -> None:
    assert GatewayParts().windows.granted(max_hz) == interval_ms


def test_whatever_clients_ask_for_there_are_few_windows() -> None:
    parts = GatewayParts()
    intervals = {parts.windows.granted(hundredth / 100) for hundredth in range(1, 5000)}
    assert intervals == {100 * ticks for ticks in LADDER}


def test_a_slow_client_gets_one_update_with_all_ticks_folded_in() -> None:
    parts = GatewayParts()
    reader = Reader(parts, Delivery(as_batch=False, interval_ms=500))
    for seq in range(1, 11):
        parts.publish("A", seq)
        parts.windows.tick()
    parts.loop.turn()
    updates = [payload for _, payload in events_of(reader.link)]
    assert [(update["seq"], update["n"]) for update in updates] == [(5, 0), (10, 5)]


def test_members_with_the_same_symbols_share_the_bytes_of_a_batch() -> None:
    parts = GatewayParts()
    readers = [Reader(parts, BATCH) for _ in range(3)]
    parts.subscriber.leave_price(readers[2].subscriptions, "B")
    for symbol in SYMBOLS:
        parts.publish(symbol, 1)
    parts.windows.tick()
    parts.loop.turn()
    assert readers[0].link.written[0] is readers[1].link.written[0]
    assert [pairs for _, pairs, _ in events_of(readers[2].link)] == [[["A", 1.1]]]


@pytest.mark.parametrize("parser", [0, 1])
def test_who_joins_within_a_window_builds_on_its_snapshot_and_the_others_on_the_window(parser: int) -> None:
    parts = GatewayParts()
    parts.publish("A", 1)
    early = Reader(parts, BATCH, parser)
    parts.publish("A", 2)
    parts.windows.tick()
    parts.publish("A", 3)
    late = Reader(parts, BATCH, parser)
    parts.publish("A", 5)
    parts.windows.tick()
    parts.loop.turn()
    batches = [[extras["ns"] for _, _, extras in events_of(reader.link, parser)][-1] for reader in (early, late)]
    assert batches == [[3], [2]]


def test_a_crowd_is_served_in_turns_and_each_member_once_a_window() -> None:
    parts = GatewayParts("everyone", phases=10)
    links = []
    for _ in range(10 * PHASE_FILL):
        outbox, link = parts.outbox()
        parts.subscriber.arrive(outbox)
        links.append(link)
    parts.publish("A", 1)
    served = []
    for _ in range(10):
        parts.windows.tick()
        parts.loop.turn()
        served.append(sum(len(link.written) for link in links))
    assert served == [PHASE_FILL * turn for turn in range(1, 11)]
    assert all(len(link.written) == 1 for link in links)


def test_members_of_one_window_share_the_bytes_of_an_update() -> None:
    parts = GatewayParts()
    readers = [Reader(parts, SLOW_UPDATES) for _ in range(3)]
    parts.publish("A", 1)
    for _ in range(2):
        parts.windows.tick()
    parts.loop.turn()
    assert readers[0].link.written[0] is readers[1].link.written[0]


def test_who_missed_a_batch_of_everyone_s_gets_all_of_the_market_instead_of_the_next() -> None:
    run = Run("everyone")
    reader = run.readers[0]
    for step in (("publish", "A", 1), ("publish", "B", 1), ("tick", "", 1), ("stall", "", 0), ("publish", "A", 1)):
        run.step(*step)
    for step in (("tick", "", 1), ("publish", "A", 1), ("tick", "", 1), ("drain", "", 0), ("publish", "A", 1)):
        run.step(*step)
    reader.names.clear()
    run.step("tick", "", 1)
    assert reader.names == ["price:batch"]
    assert reader.seqs == {("batch", "A"): 4, ("batch", "B"): 1}
    run.step("publish", "B", 1)
    run.step("tick", "", 1)
    assert reader.seqs["batch", "B"] == 2


async def test_the_timer_ticks_until_it_is_stopped() -> None:
    parts = GatewayParts("everyone")
    parts.windows.batch_ms = 1
    outbox, link = parts.outbox()
    parts.subscriber.arrive(outbox)
    parts.windows.start()
    async with asyncio.timeout(10):
        for seq in (1, 2, 3):
            parts.publish("A", seq)
            while not outbox.queue:  # noqa: ASYNC110 - the timer is what is tested
                await asyncio.sleep(0.001)
            parts.loop.turn()
    parts.windows.stop()
    assert [extras["seqs"] for _, _, extras in events_of(link)] == [[1], [2], [3]]


def test_after_a_standstill_windows_pass_at_their_pace_again() -> None:
    parts = GatewayParts()
    parts.windows._schedule(parts.loop.as_loop, parts.loop.now + 0.1)
    parts.loop.now += 60
    parts.loop.advance(0.95)
    assert parts.windows._turn == 11
    parts.loop.advance(1)
    assert parts.windows._turn == 21


STEP = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(SYMBOLS), st.integers(1, 3)),
    st.tuples(st.just("state"), st.sampled_from(SYMBOLS), st.integers(0, 2)),
    st.tuples(st.just("tick"), st.just(""), st.integers(1, 3)),
    st.tuples(st.sampled_from(["stall", "drain", "resync", "read", "pace"]), st.just(""), st.integers(0, 4)),
)


MID_WINDOW: Final = [
    *[("publish", "A", 1), ("tick", "", 5)],
    *[("publish", "A", 1), ("tick", "", 1)],
    *[("pace", "", 2), ("pace", "", 2)],
    *[("publish", "A", 1), ("tick", "", 5)],
]
"""A client comes to a window in the middle of it, having what the window's other members have not had yet."""


class Run:
    """A market and a client of each kind."""

    def __init__(self, audience: Audience, phases: int = 1) -> None:
        self.parts = GatewayParts(audience, phases=phases)
        self.window = phases
        self.seqs = dict.fromkeys(SYMBOLS, 0)
        self.states: dict[str, str] = dict.fromkeys(SYMBOLS, "live")
        self.since = 0
        deliveries = [None, IMMEDIATE, BATCH, SLOW_BATCH, SLOW_UPDATES]
        self.paces = [0] * len(deliveries)
        self.readers = [Reader(self.parts, delivery, number % 2) for number, delivery in enumerate(deliveries)]

    def step(self, step: str, symbol: str, number: int) -> None:
        match step:
            case "publish":
                self.seqs[symbol] += number
                self.states[symbol] = "live"
                self.parts.publish(symbol, self.seqs[symbol])
            case "state" if self.seqs[symbol]:
                self.since += 1
                self.states[symbol] = STATES[number]
                price = make_price(self.seqs[symbol])
                price = msgspec.structs.replace(price, state=STATES[number], since=self.since)
                self.parts.deliver(self.parts.market.apply({symbol: msgspec.Raw(encode(price))}))
            case "tick":
                for _ in range(number):
                    self.parts.windows.tick()
            case "stall":
                self.readers[number].link.writable = False
            case "drain":
                self.parts.drain(self.readers[number].outbox)
            case "resync":
                self.readers[number].resync()
            case "pace":
                self.paces[number] = (self.paces[number] + 1) % len(STEPS)
                reader = self.readers[number]
                self.parts.subscriber.change_pace(reader.subscriptions, STEPS[self.paces[number]] * 100)
        self.parts.loop.turn()
        for reader in self.readers:
            reader.read()

    def settle(self) -> None:
        """Every socket drains and every window passes."""
        for number in range(len(self.readers)):
            self.step("drain", "", number)
        for _ in range(10 * self.window):
            self.step("tick", "", 1)


@pytest.mark.parametrize("audience", ["everyone", "subscribers", "off"])
@given(steps=st.lists(STEP, max_size=60), phases=st.integers(1, 3), fill=st.integers(1, 3))
@example(steps=MID_WINDOW, phases=1, fill=3)
@example(steps=[("publish", "A", 1), ("resync", "", 2), ("state", "A", 1), ("pace", "", 2)], phases=1, fill=1)
@settings(max_examples=100, deadline=None)
def test_the_numbers_of_every_client_add_up_and_end_at_the_newest(
    audience: Audience, steps: list[tuple[str, str, int]], phases: int, fill: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.gateway.phases.PHASE_FILL", fill)
        run = Run(audience, phases)
    for step in steps:
        run.step(*step)
    run.settle()
    newest = {symbol: float(f"{seq}.10") for symbol, seq in run.seqs.items() if seq}
    for reader in run.readers:
        if reader.delivery is not None or audience == "everyone":
            assert reader.prices == newest
            assert reader.states == {symbol: run.states[symbol] for symbol in newest}
        if reader.delivery is not None and reader.delivery.as_batch:
            assert set(reader.names) <= {"price:batch"}, "who asked for batches gets nothing else"
