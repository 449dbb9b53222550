"""Who of a user's connections is too many, and what share of its rate a gateway grants."""

from typing import cast

import pytest

from services.gateway.presence import BURST_S, LEAST_RATE, Guest, Presence, Share, User
from services.gateway.subscriptions import Subscriptions

LIMIT = 3
NOW = 100.0
BEFORE, AFTER = NOW - 1, NOW + 1


def make_user(here: int, *, confirmed: bool = False, limit: float = LIMIT) -> User:
    """A user with connections here that came at `NOW`."""
    user = User("ann")
    for number in range(here):
        presence = Presence(user, cast("Guest", None), cast("Subscriptions", [None] * 2), f"{number}", limit, NOW)
        presence.is_confirmed = confirmed
        user.presences.append(presence)
    return user


def test_as_many_as_the_limit_are_confirmed_and_the_newest_is_too_many() -> None:
    user = make_user(LIMIT + 1)
    assert user.judge(user.presences, {}) == ([user.presences[-1]], False)
    assert [presence.is_confirmed for presence in user.presences] == [True, True, True, False]


def test_connections_at_another_gateway_count_before_those_that_come() -> None:
    user = make_user(2)
    user.others = {"b": Share(2, 0)}
    assert user.judge(user.presences, {"b": AFTER}) == ([user.presences[1]], False)


def test_a_gateway_without_a_sign_of_life_since_puts_nobody_out() -> None:
    user = make_user(2)
    user.others = {"b": Share(LIMIT, 0)}
    for alive in ({}, {"b": BEFORE}, {"c": AFTER}):
        assert user.judge(user.presences, alive) == ([], True)
        assert not user.is_decided(alive)
    assert not any(presence.is_confirmed for presence in user.presences)
    assert user.is_decided({"b": AFTER})


def test_living_gateways_are_enough_where_others_are_in_doubt() -> None:
    user = make_user(1)
    user.others = {"dead": Share(1, 0), "alive": Share(LIMIT, 0)}
    assert user.judge(user.presences, {"alive": AFTER}) == ([user.presences[0]], False)


def test_those_in_doubt_are_confirmed_when_the_ghosts_are_gone() -> None:
    user = make_user(LIMIT)
    user.others = {"b": Share(LIMIT, 0)}
    assert user.judge(user.presences, {}) == ([], True)
    user.others = {}
    assert user.judge(user.presences, {}) == ([], False)
    assert all(presence.is_confirmed for presence in user.presences)


def test_who_is_confirmed_stays_whatever_comes_later() -> None:
    user = make_user(LIMIT, confirmed=True)
    user.others = {"b": Share(LIMIT, 0)}
    assert user.judge(user.presences, {"b": AFTER}) == ([], False)
    assert not user.is_decided({"b": AFTER})


def test_who_left_meanwhile_is_not_judged_and_takes_no_place() -> None:
    user = make_user(LIMIT + 1)
    asked = list(user.presences)
    user.presences.pop(0).is_gone = True
    assert user.judge(asked, {}) == ([], False)


def test_each_connection_is_judged_by_what_its_own_token_grants() -> None:
    user = make_user(LIMIT)
    user.presences[1].limit = 1
    assert user.judge(user.presences, {}) == ([user.presences[1]], False)
    assert user.presences[2].is_confirmed


@pytest.mark.parametrize(("here", "there", "rate"), [(1, 0, 20), (1, 3, 5), (2, 2, 10), (1, 99, LEAST_RATE)])
def test_a_gateway_grants_its_share_of_the_rate(here: int, there: int, rate: float) -> None:
    user = make_user(here)
    user.others = {"b": Share(there, 0)}
    burst = int(rate * BURST_S)
    assert [user.take(20, NOW) for _ in range(burst)] == [0.0] * burst
    assert user.take(20, NOW) == pytest.approx(1 / rate)
    assert user.take(20, NOW + 1.01 / rate) == 0.0


def test_subscriptions_elsewhere_are_those_of_gateways_that_live() -> None:
    user = make_user(2)
    user.others = {"dead": Share(1, 7), "alive": Share(1, 5)}
    assert user.subscriptions == 4
    assert user.subscriptions_elsewhere(NOW, {"dead": BEFORE, "alive": AFTER}) == 5
    assert user.connections == 4
