"""The short forms of `make fleet`: fewer clients, quicker drains, and delays that a busy machine cannot decide."""

import pytest

from tests.fleet import grow, rolling, stop_one, storm
from tests.soak.verdict import Judged
from tests.support.programs import need_program
from tests.support.stock_clients import need_node

pytestmark = [pytest.mark.slow, pytest.mark.interop]


def broken(judged: list[Judged]) -> dict[str, str]:
    """The promises that were not kept, and what was found instead."""
    return {one.promise: one.found for one in judged if not one.holds}


@pytest.fixture
def haproxy_and_node() -> None:
    need_program("haproxy")
    need_node()


@pytest.mark.usefixtures("haproxy_and_node")
@pytest.mark.parametrize("size", [stop_one.SHORT, stop_one.SHORT_ENVOY], ids=lambda size: size.edge)
async def test_each_client_of_a_stopping_gateway_moves_once_and_misses_nothing(size: stop_one.StopOne) -> None:
    assert broken(await stop_one.stop_one(size, print)) == {}


@pytest.mark.usefixtures("haproxy_and_node")
async def test_a_rolling_restart_drops_nobody_twice() -> None:
    assert broken(await rolling.rolling(rolling.SHORT, print)) == {}


@pytest.mark.usefixtures("haproxy_and_node")
async def test_a_new_gateway_gets_its_share_without_a_storm() -> None:
    assert broken(await grow.grow(grow.SHORT, print)) == {}


async def test_all_clients_at_once_are_let_in_at_the_gateways_pace() -> None:
    assert broken(await storm.storm(storm.SHORT, print)) == {}
