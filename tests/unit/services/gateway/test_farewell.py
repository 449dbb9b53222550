"""How a client is told, when it can go, and how it goes."""

from services.gateway.farewell import Cause, Farewell, is_ready, joined, let_go
from shared.names.close_reasons import DRAINED
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import GatewayParts, Peer


class Prober:
    """A WebSocket in the middle of an upgrade."""

    def reject(self) -> None:
        """It may not take over."""


async def test_joined_clients_of_both_parsers_are_told_and_others_hear_nothing() -> None:
    gateway = GatewayParts()
    peers = [Peer(gateway), Peer(gateway, "msgpack"), Peer(gateway)]
    for peer in peers[:2]:
        peer.join()
    farewell = Farewell(gateway.encoder, gateway.fanout.delivered)
    await farewell.tell_all([peer.connection for peer in peers], Cause.STOPPING, 59.9996)
    gateway.loop.turn()
    assert [peer.events() for peer in peers[:2]] == [[("drain", {"deadline_ms": 60_000, "reason": "stopping"})]] * 2
    assert peers[2].carrier.written == []
    assert gateway.fanout.delivered[ServerEvent.DRAIN] == 2


def test_a_client_that_goes_has_got_all_that_it_was_told_and_no_disconnect() -> None:
    gateway = GatewayParts()
    peer = Peer(gateway)
    peer.join()
    peer.client.emit("/", "last", {"n": 1})
    let_go(peer.connection, DRAINED)
    assert peer.events() == [("last", {"n": 1})]
    assert peer.carrier.closed == [DRAINED]
    let_go(peer.connection, DRAINED)
    assert peer.carrier.closed == [DRAINED]


def test_a_client_without_a_namespace_goes_too() -> None:
    peer = Peer(GatewayParts())
    assert joined(peer.connection) is None
    assert is_ready(peer.connection)
    let_go(peer.connection, DRAINED)
    assert peer.carrier.closed == [DRAINED]


def test_a_client_is_not_ready_while_it_is_owed_something() -> None:
    gateway = GatewayParts()
    peer = Peer(gateway)
    peer.join()
    assert is_ready(peer.connection)
    peer.outbox.hold()
    assert not is_ready(peer.connection)
    peer.outbox.release()
    peer.outbox.replaying = True
    assert not is_ready(peer.connection)
    peer.outbox.replaying = False
    peer.stall()
    peer.client.emit("/", "more", {})
    gateway.loop.turn()
    assert not is_ready(peer.connection)
    peer.drain()
    assert is_ready(peer.connection)


def test_a_client_in_an_upgrade_is_not_ready() -> None:
    gateway = GatewayParts()
    peer = Peer(gateway)
    peer.join()
    peer.connection._prober = Prober()
    assert not is_ready(peer.connection)
