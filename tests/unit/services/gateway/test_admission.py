"""Who is let in: the gateway's limits and those of each address."""

import pytest

from services.gateway.addresses import UNCOUNTED
from services.gateway.admission import Admission, AdmissionLimits, Fullness, Refusal

NOW = 1_000.0


def test_without_limits_everybody_comes_in() -> None:
    admission = Admission(AdmissionLimits(), NOW)
    assert [admission.judge("a", 10_000, NOW) for _ in range(1000)] == [None] * 1000
    assert len(admission) == 0


def test_the_gateways_own_limits_are_told_apart() -> None:
    admission = Admission(AdmissionLimits(max_connections=5, max_accepts=2), NOW)
    assert admission.judge("a", 5, NOW) is Refusal.FULL
    assert [admission.judge("a", 0, NOW) for _ in range(3)] == [None, None, Refusal.TOO_FAST]
    assert admission.judge("a", 0, NOW + 0.5) is None


def test_an_address_has_so_many_clients_and_gets_a_place_back_when_one_leaves() -> None:
    admission = Admission(AdmissionLimits(max_per_address=2), NOW)
    for _ in range(2):
        assert admission.judge("a", 0, NOW) is None
        admission.enter("a")
    assert admission.judge("a", 2, NOW) is Refusal.ADDRESS_FULL
    assert admission.judge("b", 2, NOW) is None
    admission.leave("a")
    assert admission.judge("a", 1, NOW) is None


def test_an_address_that_comes_too_fast_does_not_use_up_what_is_everybodys() -> None:
    admission = Admission(AdmissionLimits(max_accepts=10, max_accepts_per_address=3), NOW)
    judged = [admission.judge("a", 0, NOW) for _ in range(100)]
    assert judged.count(None) == 3
    assert set(judged[3:]) == {Refusal.ADDRESS_TOO_FAST}
    assert [admission.judge(f"b{number}", 0, NOW) for number in range(7)] == [None] * 7


def test_who_has_no_address_counts_for_the_gateway_alone() -> None:
    admission = Admission(AdmissionLimits(max_connections=9, max_per_address=1, max_accepts_per_address=1), NOW)
    for _ in range(5):
        assert admission.judge(UNCOUNTED, 0, NOW) is None
        admission.enter(UNCOUNTED)
    assert admission.judge(UNCOUNTED, 9, NOW) is Refusal.FULL
    admission.leave(UNCOUNTED)


@pytest.mark.parametrize("limits", [AdmissionLimits(max_per_address=5), AdmissionLimits(max_accepts_per_address=20)])
def test_a_million_addresses_that_come_and_go_leave_nothing_behind(limits: AdmissionLimits) -> None:
    admission = Admission(limits, NOW)
    for number in range(5):
        admission.judge(f"stays {number}", 0, NOW)
        admission.enter(f"stays {number}")
    most = 0
    for number in range(20_000):
        admission.judge(f"passes {number}", 0, NOW + number / 1000)
        most = max(most, len(admission))
    assert most < 500
    for number in range(5):
        assert admission._addresses[f"stays {number}"].clients == 1


def test_which_refusals_concern_one_address_alone() -> None:
    of_one = {refusal for refusal in Refusal if refusal.is_of_address}
    assert of_one == {Refusal.ADDRESS_FULL, Refusal.ADDRESS_TOO_FAST, Refusal.ADDRESS_UNFINISHED}


def test_a_full_gateway_has_no_room_until_a_twentieth_of_its_clients_has_gone() -> None:
    clients = 999
    fullness = Fullness(1000, lambda: clients)
    assert fullness.check() is None
    clients = 1000
    assert fullness.check() == "1000 clients of at most 1000"
    clients = 950
    assert fullness.check() is not None
    clients = 949
    assert fullness.check() is None
    clients = 999
    assert fullness.check() is None


def test_without_a_limit_there_is_always_room() -> None:
    assert Fullness(0, lambda: 1_000_000).check() is None
