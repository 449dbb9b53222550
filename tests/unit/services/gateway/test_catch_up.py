"""What a client gets when its socket drains: the newest prices, then every trade it missed, in order, or an ending."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import catch_up
from services.gateway.outbox import NOT_BEHIND, Outbox
from shared.messages import encode
from shared.names import events
from shared.names.close_reasons import FELL_BEHIND
from tests.support.fakes_gateway import FakeLink, GatewayParts, make_price, make_trade, read_events

SYMBOL = "BTC-USDT"


def subscriber(parts: GatewayParts, *rooms: str, parser: int = 0) -> tuple[Outbox, FakeLink]:
    outbox, link = parts.outbox(parser)
    for room in rooms:
        parts.hub.join(room, outbox)
    return outbox, link


def stall(parts: GatewayParts, outbox: Outbox, link: FakeLink) -> None:
    link.writable = False
    outbox.send(b"\x81\x01x")
    parts.loop.turn()
    link.written.clear()


def trade_ids(link: FakeLink, parser: int = 0) -> list[int]:
    return [int(args[1]["id"]) for args in read_events(b"".join(link.written), parser) if args[0] == "trade:new"]


def bytes_of(trades: int) -> int:
    """What a window needs to hold so many trades and their frames."""
    parts = GatewayParts()
    subscriber(parts, events.trades_room(SYMBOL))[0].fall_behind()
    for number in range(trades):
        parts.trade(SYMBOL, make_trade(number))
    return parts.log_fanout.window.size


def test_missed_prices_become_one_newest_price_with_the_right_n() -> None:
    parts = GatewayParts()
    parts.market.watch(SYMBOL)
    outbox, link = subscriber(parts, events.price_room(SYMBOL))
    parts.publish(SYMBOL, 5)
    parts.loop.turn()
    stall(parts, outbox, link)
    for seq in (6, 8, 11):
        parts.publish(SYMBOL, seq)
    parts.drain(outbox)
    parts.publish(SYMBOL, 12)
    parts.loop.turn()
    updates = [payload for _, payload in read_events(b"".join(link.written))]
    assert [(update["seq"], update["n"]) for update in updates] == [(11, 6), (12, 1)]
    assert updates[0]["price"] == 11.1


def test_a_missed_change_of_the_feed_s_state_alone_is_made_good() -> None:
    parts = GatewayParts()
    parts.market.watch(SYMBOL)
    outbox, link = subscriber(parts, events.price_room(SYMBOL))
    parts.publish(SYMBOL, 5)
    parts.loop.turn()
    stall(parts, outbox, link)
    stale = msgspec.structs.replace(make_price(5), state="stale", since=77)
    parts.deliver(parts.market.apply({SYMBOL: msgspec.Raw(encode(stale))}))
    parts.drain(outbox)
    ((_, update),) = read_events(b"".join(link.written))
    assert {"seq": 5, "n": 0, "state": "stale", "since": 77, "snap": 1}.items() <= update.items()


def test_what_was_not_missed_is_not_sent() -> None:
    parts = GatewayParts()
    parts.market.watch(SYMBOL)
    outbox, link = subscriber(parts, events.price_room(SYMBOL), events.trades_room(SYMBOL))
    stall(parts, outbox, link)
    parts.drain(outbox)
    assert link.written == []


@pytest.mark.parametrize("parser", [0, 1])
def test_missed_trades_come_once_and_in_order_before_newer_ones(parser: int) -> None:
    parts = GatewayParts()
    outbox, link = subscriber(parts, events.trades_room(SYMBOL), parser=parser)
    stall(parts, outbox, link)
    for number in range(10):
        parts.trade(SYMBOL, make_trade(number))
        parts.trade("ETH-USDT", make_trade(100 + number, "ETH-USDT"))
    parts.drain(outbox)
    parts.trade(SYMBOL, make_trade(10))
    parts.loop.turn()
    assert trade_ids(link, parser) == list(range(11))
    assert outbox.log_position == NOT_BEHIND


def test_who_fills_up_again_in_the_middle_goes_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "CATCH_UP_BYTES", 300)
    parts = GatewayParts()
    outbox, link = subscriber(parts, events.trades_room(SYMBOL))
    stall(parts, outbox, link)
    for number in range(20):
        parts.trade(SYMBOL, make_trade(number))
    passes = 0
    while outbox.behind:
        link.full_after = 1
        parts.drain(outbox)
        passes += 1
        if passes == 3:
            link.full_after = 10_000
    assert trade_ids(link) == list(range(20))
    assert all(len(frames) < 600 for frames in link.written)


def test_a_user_s_notifications_are_caught_up_too_and_those_of_others_are_not() -> None:
    parts = GatewayParts()
    outbox, link = subscriber(parts, events.user_room("alice"))
    subscriber(parts, events.user_room("bob"))
    stall(parts, outbox, link)
    parts.notification("alice", make_trade(1))
    parts.notification("bob", make_trade(2))
    parts.notification("alice", make_trade(3))
    parts.drain(outbox)
    found = [(name, payload["id"], payload["user_id"]) for name, payload in read_events(b"".join(link.written))]
    assert found == [("trade:notification", "1", "alice"), ("trade:notification", "3", "alice")]


def test_who_fell_out_of_the_window_is_ended_and_told_nothing_false() -> None:
    parts = GatewayParts(window_bytes=bytes_of(5))
    outbox, link = subscriber(parts, events.trades_room(SYMBOL))
    stall(parts, outbox, link)
    for number in range(6):
        parts.trade(SYMBOL, make_trade(number))
    parts.drain(outbox)
    assert link.endings == [FELL_BEHIND]
    assert trade_ids(link) == []


def test_a_window_that_is_just_full_still_serves() -> None:
    parts = GatewayParts(window_bytes=bytes_of(5))
    outbox, link = subscriber(parts, events.trades_room(SYMBOL))
    stall(parts, outbox, link)
    for number in range(5):
        parts.trade(SYMBOL, make_trade(number))
    parts.drain(outbox)
    assert trade_ids(link) == [0, 1, 2, 3, 4]


def test_a_room_that_was_left_while_behind_sends_nothing() -> None:
    parts = GatewayParts()
    outbox, link = subscriber(parts, events.trades_room(SYMBOL))
    stall(parts, outbox, link)
    parts.trade(SYMBOL, make_trade(1))
    parts.hub.leave(events.trades_room(SYMBOL), outbox)
    parts.drain(outbox)
    assert link.written == []
    assert link.endings == []


def test_the_whole_market_is_made_once_for_all_who_missed_it() -> None:
    parts = GatewayParts("everyone")
    clients = [parts.outbox() for _ in range(3)]
    for outbox, _ in clients:
        parts.subscriber.arrive(outbox)
    for symbol in ("A", "B"):
        parts.publish(symbol, 1)
    parts.windows.tick()
    parts.loop.turn()
    for outbox, link in clients:
        stall(parts, outbox, link)
    parts.publish("A", 2)
    parts.windows.tick()
    for outbox, _ in clients:
        parts.drain(outbox)
    parts.windows.tick()
    parts.loop.turn()
    for _, link in clients:
        ((name, pairs, extras),) = read_events(b"".join(link.written))
        assert (name, sorted(map(tuple, pairs))) == ("price:batch", [("A", 2.1), ("B", 1.1)])
        assert extras["snap"] == 1
    assert clients[0][1].written[0] is clients[1][1].written[0]


STEPS = st.lists(
    st.one_of(
        st.just(("trade", "A")),
        st.just(("trade", "B")),
        st.just(("stall", "")),
        st.just(("drain", "")),
        st.just(("drain-a-little", "")),
    ),
    max_size=80,
)


@given(STEPS)
def test_every_trade_arrives_once_and_in_order_whatever_the_socket_does(steps: list[tuple[str, Any]]) -> None:
    parts = GatewayParts()
    outbox, link = subscriber(parts, events.trades_room("A"), events.trades_room("B"))
    other, _ = subscriber(parts, events.trades_room("A"))
    sent: list[int] = []
    for step, symbol in steps:
        if step == "trade":
            sent.append(len(sent))
            parts.trade(symbol, make_trade(sent[-1], symbol))
            parts.loop.turn()
        elif step == "stall":
            link.writable = False
        else:
            link.full_after = 1 if step == "drain-a-little" else 10_000
            parts.drain(outbox)
    link.full_after = 10_000
    parts.drain(outbox)
    parts.loop.turn()
    assert trade_ids(link) == sent
    assert not other.behind
