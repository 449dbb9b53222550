"""Rooms exist while they have members, and keep members apart by parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.hub import Hub
from services.gateway.outbox import Outbox
from tests.support.fakes_gateway import GatewayParts


@pytest.fixture(name="members")
def two_members() -> list[Outbox]:
    parts = GatewayParts()
    return [parts.outbox(parser)[0] for parser in (0, 1)]


def test_members_stand_under_their_parser(members: list[Outbox]) -> None:
    hub = Hub()
    for member in members:
        assert hub.join("a", member)
    room = hub.find("a")
    assert room is not None
    assert room.members == ({members[0]}, {members[1]})
    assert len(room) == 2


def test_joining_and_leaving_twice_is_harmless(members: list[Outbox]) -> None:
    hub = Hub()
    assert [hub.join("a", members[0]), hub.join("a", members[0])] == [True, False]
    assert [hub.leave("a", members[0]), hub.leave("a", members[0])] == [True, False]
    assert not hub.leave("never", members[0])


def test_a_room_without_members_does_not_exist(members: list[Outbox]) -> None:
    hub = Hub()
    for member in members:
        hub.join("a", member)
    hub.leave("a", members[0])
    assert hub.find("a") is not None
    hub.leave("a", members[1])
    assert hub.find("a") is None
    assert len(hub) == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from("abc"))))
def test_rooms_and_members_always_agree(steps: list[tuple[bool, int, str]]) -> None:
    parts = GatewayParts()
    hub, members = Hub(), [parts.outbox(number % 2)[0] for number in range(4)]
    expected: set[tuple[int, str]] = set()
    for joins, number, room in steps:
        if joins:
            assert hub.join(room, members[number]) == ((number, room) not in expected)
            expected.add((number, room))
        else:
            assert hub.leave(room, members[number]) == ((number, room) in expected)
            expected.discard((number, room))
    assert {(number, room) for number, member in enumerate(members) for room in member.rooms} == expected
    assert len(hub) == len({room for _, room in expected})
    for name in "abc":
        found = hub.find(name)
        in_room = {members[number] for number, room in expected if room == name}
        assert (set[Outbox]() if found is None else found.members[0] | found.members[1]) == in_room
