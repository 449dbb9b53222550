"""Slow clients are moved to wider intervals and back, are told so, and never lose their place in the numbers."""

from typing import Any

import pytest

from services.gateway.pace import Pace, PaceRecord
from services.gateway.pacing import LOOK_S
from shared.names import close_reasons
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import GatewayParts, Peer, make_trade


def slow_down(peer: Peer, seconds: float = 1.0) -> None:
    """Be behind for so long: one step each time."""
    peer.stall()
    peer.outbox.fall_behind()
    peer.gateway.loop.advance(seconds)
    peer.drain()


def links(events: list[tuple[Any, ...]]) -> list[tuple[int, str]]:
    return [(args[0]["interval_ms"], args[0]["reason"]) for name, *args in events if name == "link"]


def ticks(parts: GatewayParts, count: int) -> None:
    for _ in range(count):
        parts.windows.tick()
    parts.loop.turn()


@pytest.fixture(name="parts")
def make_parts() -> GatewayParts:
    return GatewayParts()


@pytest.fixture(name="peer")
def make_peer(parts: GatewayParts) -> Peer:
    peer = Peer(parts)
    peer.join()
    parts.publish("A", 1)
    peer.ask("subscribe:price", "A")
    peer.ask("subscribe:trades", "A")
    peer.packets()
    return peer


def test_a_client_that_never_fell_behind_has_no_pace(peer: Peer) -> None:
    peer.gateway.publish("A", 2)
    peer.gateway.loop.turn()
    assert peer.outbox.pace is None


def test_a_slow_client_is_told_of_each_step_and_gets_prices_no_more_often(parts: GatewayParts, peer: Peer) -> None:
    slow_down(peer)
    assert links(peer.events()) == [(200, "slow")]
    seqs = []
    for seq in range(2, 12):
        parts.publish("A", seq)
        ticks(parts, 1)
        seqs += [(args[0]["seq"], args[0]["n"]) for _, *args in peer.events()]
    assert seqs == [(3, 2), (5, 2), (7, 2), (9, 2), (11, 2)]
    slow_down(peer)
    slow_down(peer, 2)
    assert links(peer.events()) == [(500, "slow"), (1000, "slow")]
    assert len(parts.pacer) == 1


def test_what_waited_in_the_window_that_is_left_comes_at_once(parts: GatewayParts, peer: Peer) -> None:
    slow_down(peer)
    parts.publish("A", 5)
    slow_down(peer)
    assert [args[0]["seq"] for name, *args in peer.events() if name == "price:update"] == [5]


def test_who_keeps_up_again_is_told_and_gets_every_change_at_once(parts: GatewayParts, peer: Peer) -> None:
    slow_down(peer)
    slow_down(peer)
    parts.loop.advance(10 + LOOK_S)
    parts.publish("A", 4)
    parts.loop.advance(10 + LOOK_S)
    events = peer.events()
    assert links(events) == [(200, "slow"), (500, "slow"), (200, "recovered"), (0, "recovered")]
    assert [(args[0]["seq"], args[0]["n"]) for name, *args in events if name == "price:update"] == [(4, 3)]
    parts.publish("A", 5)
    parts.loop.turn()
    assert [(args[0]["seq"], args[0]["n"]) for _, *args in peer.events()] == [(5, 1)]
    assert len(parts.pacer) == 0
    assert not parts.pacer._scheduled, "nobody is slow, nobody is looked at"


def test_a_subscription_at_a_wider_interval_says_so(peer: Peer) -> None:
    slow_down(peer)
    assert peer.ask("subscribe:price", "B")["interval_ms"] == 200
    assert peer.ask("subscribe:price", "C", {"max_hz": 1})["interval_ms"] == 1000


def test_trades_come_each_at_once_at_any_pace(parts: GatewayParts, peer: Peer) -> None:
    for seconds in (1, 1, 2):
        slow_down(peer, seconds)
    peer.events()
    for number in range(5):
        parts.trade("A", make_trade(number, "A"))
    parts.loop.turn()
    assert [args[0]["id"] for _, *args in peer.events()] == ["0", "1", "2", "3", "4"]


def test_the_whole_market_comes_less_often_too_and_goes_on_with_all_of_it() -> None:
    parts = GatewayParts("everyone")
    slow, good = Peer(parts), Peer(parts)
    for peer in (slow, good):
        peer.join()
    slow_down(slow)
    for peer in (slow, good):
        peer.events()
    counts = {slow: 0, good: 0}
    for seq in range(1, 11):
        parts.publish("A", seq)
        ticks(parts, 1)
        for peer in counts:
            counts[peer] += len([name for name, *_ in peer.events() if name == "price:batch"])
    assert counts == {slow: 5, good: 10}


def test_who_is_gone_is_forgotten(parts: GatewayParts, peer: Peer) -> None:
    slow_down(peer)
    assert len(parts.pacer) == 1
    peer.connection.end(close_reasons.SLOW_CONSUMER)
    parts.loop.advance(2 * LOOK_S)
    assert len(parts.pacer) == 0
    assert not parts.pacer._scheduled


def test_who_leaves_and_joins_again_goes_on_at_its_pace(parts: GatewayParts, peer: Peer) -> None:
    slow_down(peer)
    peer.client.disconnect("/")
    peer.join()
    parts.loop.advance(LOOK_S)
    assert links(peer.events())[-1:] == [(200, "slow")]
    assert peer.ask("subscribe:price", "A")["interval_ms"] == 200


def test_a_client_that_comes_back_goes_on_at_its_pace(parts: GatewayParts, peer: Peer) -> None:
    parts.pacer.restore(peer.outbox, Pace.restored(PaceRecord(3), parts.loop.now, 0))
    assert parts.fanout.delivered[ServerEvent.LINK] == 1
    parts.loop.turn()
    assert links(peer.events()) == [(1000, "slow")]
