"""Members spread over phases: who shares a phase, who shares a group, and that nothing is left of who has gone."""

import pytest

from services.gateway import phases
from services.gateway.market import UNKNOWN
from services.gateway.outbox import Outbox
from services.gateway.phases import Crowd, Window, phases_of
from tests.support.fakes_gateway import GatewayParts


@pytest.fixture(name="parts")
def make_parts() -> GatewayParts:
    return GatewayParts()


def outboxes(parts: GatewayParts, count: int, parser: int = 0) -> list[Outbox]:
    return [parts.outbox(parser)[0] for _ in range(count)]


@pytest.mark.parametrize(("batch_ms", "count"), [(1, 1), (10, 1), (25, 2), (100, 10), (1000, 10)])
def test_a_window_has_as_many_phases_as_are_worth_a_turn(batch_ms: int, count: int) -> None:
    assert phases_of(batch_ms) == count


def test_few_members_share_a_phase_and_many_are_spread_evenly(
    parts: GatewayParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases, "PHASE_FILL", 3)
    crowd = Crowd(4)
    members = outboxes(parts, 20)
    for member in members[:3]:
        crowd.add(member)
    assert [phase.size for phase in crowd.phases] == [3, 0, 0, 0]
    for member in members:
        crowd.add(member)
    assert [phase.size for phase in crowd.phases] == [5, 5, 5, 5]
    assert len(crowd) == 20
    assert set(crowd) == set(members)


def test_only_a_phase_with_members_collects_changes(parts: GatewayParts) -> None:
    crowd = Crowd(2)
    (member,) = outboxes(parts, 1)
    crowd.note("A", 1)
    crowd.add(member)
    crowd.note("B", 2)
    crowd.note("B", 3)
    assert [phase.changed for phase in crowd.phases] == [{"B": 2}, {}]
    crowd.discard(member)
    assert [phase.changed for phase in crowd.phases] == [{}, {}]


def test_a_price_that_is_restated_builds_on_nothing_whatever_changed_before_it(parts: GatewayParts) -> None:
    crowd = Crowd(1)
    crowd.add(*outboxes(parts, 1))
    for base in (4, UNKNOWN, 5):
        crowd.note("A", base)
    assert crowd.phases[0].changed == {"A": UNKNOWN}


def test_a_crowd_of_a_wider_interval_has_its_turns_less_often() -> None:
    assert [Crowd(2, ticks=2).due(turn) is not None for turn in range(8)] == [True, True, False, False] * 2


def test_who_left_the_crowd_is_owed_nothing(parts: GatewayParts) -> None:
    crowd = Crowd(1)
    (member,) = outboxes(parts, 1)
    crowd.owe(member)
    crowd.discard(member)
    crowd.discard(member)
    assert member not in crowd
    assert crowd.phases[0].owing == set()


def test_members_that_want_the_same_form_a_group_whatever_the_order(parts: GatewayParts) -> None:
    window = Window(1, 1, as_batch=True)
    one, two, other = outboxes(parts, 3)
    for member, symbols in ((one, "ABC"), (two, "CAB"), (other, "AB")):
        for symbol in symbols:
            window.add(member, symbol)
    (phase,) = window.phases
    phase.settle()
    assert {symbols: group.members for symbols, group in phase.groups[0].items()} == {
        ("A", "B", "C"): {one, two},
        ("A", "B"): {other},
    }


def test_a_member_moves_to_another_group_when_its_symbols_change(parts: GatewayParts) -> None:
    window = Window(1, 1, as_batch=True)
    one, two = outboxes(parts, 2)
    (phase,) = window.phases
    for member in (one, two):
        window.add(member, "A")
    phase.settle()
    window.add(two, "B")
    window.remove(two, "A")
    phase.settle()
    assert {symbols: group.members for symbols, group in phase.groups[0].items()} == {("A",): {one}, ("B",): {two}}


@pytest.mark.parametrize("settled", [True, False])
def test_nothing_is_left_of_a_member_that_wants_no_symbol(parts: GatewayParts, *, settled: bool) -> None:
    window = Window(1, 1, as_batch=True)
    (member,) = outboxes(parts, 1, parser=1)
    (phase,) = window.phases
    window.remove(member, "A")
    window.add(member, "A")
    if settled:
        phase.settle()
    window.remove(member, "A")
    phase.settle()
    assert (len(window), phase.groups, phase._group_of, phase._changing) == (0, ({}, {}), {}, {})


def test_each_phase_has_one_turn_in_the_window_s_length() -> None:
    window = Window(2, 3, as_batch=True)
    turns = [window.due(turn) for turn in range(12)]
    assert turns == [*window.phases, None, None, None] * 2
