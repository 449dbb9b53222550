"""The pace at which clients are let go, and who waits."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

import pytest

from services.gateway.drain import Curve, Drain, let_go_of
from services.gateway.farewell import Farewell
from services.gateway.server import Server
from shared.names.close_reasons import DRAINED
from tests.support.fakes_gateway import GatewayParts, Peer


class Clients:
    """A server as far as a drain sees it: those of its clients that have not ended."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._all = [peer.connection for peer in peers]
        self.refuses_new = False

    @property
    def connections(self) -> set[object]:
        return {connection for connection in self._all if not connection.has_ended}

    @property
    def present(self) -> int:
        return len(self.connections)

    def refuse_new(self) -> None:
        self.refuses_new = True


def joined_peers(gateway: GatewayParts, number: int) -> list[Peer]:
    peers = [Peer(gateway) for _ in range(number)]
    for peer in peers:
        peer.join()
    return peers


def drain_of(gateway: GatewayParts, clients: Clients, budget_s: float, begun: list[bool]) -> Drain:
    farewell = Farewell(gateway.encoder, gateway.fanout.delivered)
    return Drain(cast("Server", clients), farewell, budget_s, 1000, lambda: begun.append(True))


def test_clients_go_evenly_over_four_fifths_of_the_budget() -> None:
    curve = Curve(1000, 60, 1000)
    assert curve.span_s == 48
    assert [curve.staying(seconds) for seconds in (0, 12, 24, 36, 48, 60)] == [1000, 750, 500, 250, 0, 0]


def test_a_single_client_goes_in_the_middle_and_none_at_once() -> None:
    curve = Curve(1, 60, 1000)
    assert [curve.staying(seconds) for seconds in (0, 20, 28)] == [1, 1, 0]


def test_so_many_clients_that_they_would_overrun_the_others_take_longer() -> None:
    assert Curve(25_000, 60, 1000).span_s == 50  # half of what one other gateway lets in


@pytest.mark.parametrize("accepts", [0, 10])
def test_the_budget_is_kept_whatever_the_others_let_in(accepts: int) -> None:
    assert Curve(100_000, 60, accepts).span_s <= 57


def test_who_cannot_go_is_put_behind_the_others() -> None:
    gateway = GatewayParts()
    first, second, third = joined_peers(gateway, 3)
    first.outbox.replaying = True
    order = deque([first.connection, second.connection, third.connection])
    let_go_of(order, 1)
    assert [peer.carrier.closed for peer in (first, second, third)] == [[], [DRAINED], []]
    assert order == deque([third.connection, first.connection])
    let_go_of(order, 5)
    assert [peer.carrier.closed for peer in (first, third)] == [[], [DRAINED]]
    first.outbox.replaying = False
    let_go_of(order, 1)
    assert first.carrier.closed == [DRAINED]


def test_one_that_left_by_itself_is_passed_over() -> None:
    gateway = GatewayParts()
    gone, here = joined_peers(gateway, 2)
    gone.client.end(DRAINED)
    order = deque([gone.connection, here.connection])
    let_go_of(order, 1)
    assert here.carrier.closed == [DRAINED]


async def test_everybody_is_told_first_and_it_ends_when_nobody_is_left() -> None:
    gateway = GatewayParts()
    peers = joined_peers(gateway, 5)
    clients, begun = Clients(peers), list[bool]()
    budget_s = 30.0
    for peer in peers[1:]:
        peer.client.end(DRAINED)
    peers[0].packets()
    running = drain_of(gateway, clients, budget_s, begun)
    task = asyncio.get_running_loop().create_task(running.run())
    await asyncio.sleep(0.05)
    assert (begun, clients.refuses_new) == ([True], True)
    gateway.loop.turn()
    assert peers[0].events() == [("drain", {"deadline_ms": 30_000, "reason": "stopping"})]
    peers[0].client.end(DRAINED)
    async with asyncio.timeout(10):
        await task


async def test_who_cannot_go_is_left_over_at_the_end_of_the_budget() -> None:
    gateway = GatewayParts()
    peers = joined_peers(gateway, 2)
    peers[0].outbox.replaying = True
    async with asyncio.timeout(10):
        await drain_of(gateway, Clients(peers), 0.3, []).run()
    assert [peer.carrier.closed for peer in peers] == [[], [DRAINED]]


async def test_without_a_budget_nobody_is_told_or_let_go() -> None:
    gateway = GatewayParts()
    (peer,) = joined_peers(gateway, 1)
    peer.packets()
    begun: list[bool] = []
    await drain_of(gateway, Clients([peer]), 0, begun).run()
    gateway.loop.turn()
    assert (begun, peer.events(), peer.carrier.closed) == ([], [], [])
