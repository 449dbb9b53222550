"""Which clients are let go where a gateway has too many: told before, by chance, and only who loses nothing."""

from typing import cast

from services.gateway.farewell import Farewell
from services.gateway.rebalance import JUDGED
from services.gateway.server import Server
from services.gateway.sessions import Sessions
from services.gateway.shedding import NOTICE_S, RETURN_S, TICK_S, Shedding
from shared.bus.redis_bus import RedisBus
from shared.names.close_reasons import REBALANCED
from tests.support.fakes_gateway import GatewayParts, Peer

AFTER_S = 60.0
CLIENTS = 100


class Place:
    """A gateway with many clients beside one with none, whose balancer may lead everybody back."""

    def __init__(self, clients: int = CLIENTS) -> None:
        self.parts = GatewayParts()
        self.peers = [Peer(self.parts) for _ in range(clients)]
        for peer in self.peers:
            peer.join()
        self.come_back = False
        self.shedding = Shedding(
            cast("RedisBus", None),
            "gateway-1",
            self.parts.clock,
            cast("Server", self),
            cast("Sessions", self),
            Farewell(self.parts.encoder, self.parts.fanout.delivered),
            percent=100,
            after_s=AFTER_S,
        )

    @property
    def connections(self) -> set[object]:
        return {peer.connection for peer in self.peers if not peer.connection.has_ended}

    def is_here(self, _pid: str) -> bool:
        return self.come_back

    def run(self, seconds: float) -> None:
        """Let time pass, with fresh reports all the while."""
        for _ in range(int(seconds / TICK_S)):
            self.parts.loop.now += TICK_S  # no timer fires: nobody here would answer a ping
            self.shedding._rebalance.observe({"gateway-2": 0}, self.parts.loop.now)
            self.shedding.step(self.parts.loop.now)
            self.parts.loop.turn()

    def closed(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.carrier.closed]

    def told(self) -> list[Peer]:
        return [
            peer for peer in self.peers if ("drain", {"deadline_ms": 2000, "reason": "rebalancing"}) in peer.events()
        ]


def test_those_who_go_are_told_first_and_then_closed_so_that_they_come_back() -> None:
    place = Place()
    place.run(AFTER_S + NOTICE_S - 0.5)
    told = place.told()
    assert 1 <= len(told) < 10
    assert place.closed() == []
    place.run(NOTICE_S)
    assert all(peer.carrier.closed == [REBALANCED] for peer in told)


def test_clients_that_have_just_come_stay() -> None:
    place = Place()
    place.run(AFTER_S)
    newcomers = [Peer(place.parts) for _ in range(CLIENTS)]
    for peer in newcomers:
        peer.join()
    place.peers += newcomers
    place.run(30)
    assert place.closed()
    assert not set(place.closed()) & set(newcomers)


def test_a_client_that_would_lose_trades_stays() -> None:
    place = Place()
    lossy = [Peer(place.parts, is_from_python=True) for _ in range(CLIENTS)]
    for peer in lossy:
        peer.join()
        peer.ask("subscribe:trades", "BTC-USDT")
    place.peers += lossy
    place.run(AFTER_S + 30)
    assert place.closed()
    assert not set(place.closed()) & set(lossy)


def test_one_that_is_told_and_then_falls_behind_goes_when_it_has_caught_up() -> None:
    place = Place()
    place.run(AFTER_S + NOTICE_S - 0.5)
    told = place.told()
    for peer in told:
        peer.outbox.replaying = True
    place.run(5)
    assert not any(peer.carrier.closed for peer in told)
    for peer in told:
        peer.outbox.replaying = False
    place.run(2 * NOTICE_S)
    assert all(peer.carrier.closed == [REBALANCED] for peer in told)


def test_it_stops_where_all_come_back_to_this_gateway() -> None:
    place = Place(400)
    place.come_back = True
    place.run(AFTER_S + RETURN_S + NOTICE_S + 30)
    closed = len(place.closed())
    assert closed >= JUDGED
    place.run(60)
    assert len(place.closed()) == closed


def test_a_gateway_that_stops_lets_nobody_go_for_this_any_more() -> None:
    place = Place()
    place.shedding.stop()
    assert not place.shedding._is_on
