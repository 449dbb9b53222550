"""The short form of `make chaos`: one real cluster, stock clients of both parsers, one fault after the other.

The ledger must be clean after each. `python -m tests.chaos.run` is the same for minutes, with more faults.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Final

import pytest
import pytest_asyncio

from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from tests.chaos.faults import CROWD, FAULTS, Blows, Fault
from tests.chaos.rig import Rig, Setup, open_rig
from tests.chaos.trial import Row, run_trial
from tests.support.stock_clients import need_node

pytestmark = [pytest.mark.slow, pytest.mark.interop]

SHORT: Final = Setup(clients=8, rate=200.0)
SECONDS: Final = 4.0
PACE: Final = 0.3
SEED: Final = 20_251_122


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """One for all short faults: each leaves it whole."""
    need_node()
    async with open_rig(SHORT) as made:
        yield made


async def short_trial(name: str, rig: Rig) -> Row:
    return await run_trial(name, FAULTS[name], rig, seconds=SECONDS, random=Random(SEED), pace=PACE)


@pytest.mark.parametrize(
    "name",
    [
        "notifier-kill",
        "ingest-kill",
        "client-kill",
        "redis-restart",
        "gateway-kill",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_lost_doubled_or_out_of_order_under(name: str, rig: Rig) -> None:
    row = await short_trial(name, rig)
    assert row.verdict.trades > 100
    assert row.verdict.owed == row.verdict.trades * SHORT.clients
    assert row.kept, row


@pytest.mark.asyncio(loop_scope="module")
async def test_a_trade_that_is_in_the_log_twice_is_found_at_every_client(rig: Rig) -> None:
    async def plant(rig: Rig, blows: Blows) -> None:
        bus, log = RedisBus(rig.store.url, "planter"), redis_keys.trade_log(0)
        (newest,) = await bus.read_back(log, "+", 1)
        await bus.append(log, [{name.decode(): value for name, value in newest.fields.items()}], 1_000_000)
        await bus.close()
        blows.hit()

    row = await run_trial("planted", Fault("one entry again", plant), rig, seconds=0, random=Random(SEED), pace=PACE)
    assert (row.verdict.doubled, row.verdict.lost, row.kept) == (SHORT.clients, 0, False)


async def test_a_crowd_that_loses_its_gateway_is_recovered_at_the_other() -> None:
    need_node()
    async with open_rig(replace(CROWD, clients=100)) as rig:
        row = await short_trial("crowd", rig)
    assert row.kept, row
    assert (row.returns, row.recovered) == (100, 100)
    assert row.heal_s is not None
    assert row.heal_s < 10
