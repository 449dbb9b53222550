"""TCP connections before they are clients: who gives way when there are too many."""

import pytest

from services.gateway.addresses import TrustedProxies, parse_networks
from services.gateway.admission import Refusal
from services.gateway.doorway import Doorway, DoorwayLimits

PROXIES = TrustedProxies(parse_networks(["10.0.0.0/8"]))


class Visit:
    def __init__(self, peer: str = "203.0.113.9") -> None:
        self.peer = peer
        self.is_gone = False

    def turn_away(self) -> None:
        self.is_gone = True

    def close(self) -> None:
        self.is_gone = True


class Setup:
    def __init__(self, limits: DoorwayLimits) -> None:
        self.refused: list[str] = []
        self.websockets = 0
        self.doorway = Doorway(limits, lambda: self.websockets, self.refused.append)

    def come(self, *peers: str) -> list[Visit]:
        visits = [Visit(peer) for peer in peers]
        for visit in visits:
            assert self.doorway.enter(visit) is not visit.is_gone
        return visits


def test_without_limits_all_come_and_go() -> None:
    setup = Setup(DoorwayLimits())
    visits = setup.come(*["203.0.113.9"] * 100)
    assert (len(setup.doorway), setup.doorway.unfinished) == (100, 100)
    assert list(setup.doorway) == visits
    for visit in visits:
        setup.doorway.finish_head(visit)
        setup.doorway.leave(visit)
        setup.doorway.leave(visit)
    assert (len(setup.doorway), setup.doorway.unfinished, setup.refused) == (0, 0, [])


def test_of_too_many_unfinished_requests_the_one_that_waited_longest_gives_way() -> None:
    setup = Setup(DoorwayLimits(max_unfinished=2))
    first, second, third = (setup.come("203.0.113.9")[0] for _ in range(3))
    assert (first.is_gone, second.is_gone, third.is_gone) == (True, False, False)
    setup.doorway.finish_head(second)
    setup.come("203.0.113.9")
    assert not second.is_gone
    assert not third.is_gone
    assert setup.refused == [Refusal.UNFINISHED.value]
    assert setup.doorway.unfinished == 2


def test_websockets_count_among_tcp_connections() -> None:
    setup = Setup(DoorwayLimits(max_sockets=3))
    setup.websockets = 2
    (first,) = setup.come("203.0.113.9")
    (second,) = setup.come("203.0.113.9")
    assert (first.is_gone, second.is_gone, setup.refused) == (False, True, [Refusal.NO_SOCKETS.value])
    setup.websockets = 0
    assert not setup.come("203.0.113.9")[0].is_gone


def test_an_address_has_so_many_and_proxies_have_any_number() -> None:
    setup = Setup(DoorwayLimits(max_per_address=2, proxies=PROXIES))
    assert [visit.is_gone for visit in setup.come(*["203.0.113.9"] * 3)] == [False, False, True]
    assert [visit.is_gone for visit in setup.come(*["10.0.0.1"] * 9, "203.0.113.8")] == [False] * 10
    assert setup.refused == [Refusal.ADDRESS_UNFINISHED.value]
    for visit in setup.doorway:
        setup.doorway.leave(visit)
    assert setup.doorway._by_address == {}
    assert not setup.come("203.0.113.9")[0].is_gone


@pytest.mark.parametrize(("peer", "is_gone"), [("10.0.0.1", False), ("203.0.113.9", True), ("", True)])
def test_a_proxy_header_is_taken_from_trusted_proxies_alone(peer: str, *, is_gone: bool) -> None:
    setup = Setup(DoorwayLimits(proxies=PROXIES, proxy_header=True))
    assert setup.come(peer)[0].is_gone is is_gone
    assert setup.refused == [Refusal.NO_PROXY_HEADER.value] * is_gone


def test_who_a_proxy_header_names_is_counted_and_the_proxy_itself_is_not() -> None:
    setup = Setup(DoorwayLimits(max_per_address=1, proxies=PROXIES, proxy_header=True))
    visits = setup.come(*["10.0.0.1"] * 5)
    introduced = [setup.doorway.introduce(visit, "203.0.113.9") for visit in visits[:2]]
    introduced += [setup.doorway.introduce(visit, None) for visit in visits[2:]]
    assert introduced == [True, False, True, True, True]
    assert [visit.peer for visit in visits] == ["203.0.113.9"] * 2 + ["10.0.0.1"] * 3
