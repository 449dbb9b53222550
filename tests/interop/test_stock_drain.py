"""Stock clients in every mode come back by themselves from a gateway that stops, and miss no trade meanwhile."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from shared.bus.redis_bus import RedisBus
from shared.tasks import TaskGroup
from tests.support.cluster import Cluster
from tests.support.mode_clients import DEFAULT, ONLY_POLLING, ONLY_WEBSOCKET, Case, cases, mode_clients
from tests.support.stock_clients import StockClient, need_node
from tests.support.switchboard import Switchboard, switchboard
from tests.support.waiting import eventually

pytestmark = pytest.mark.interop

SYMBOL: Final = "STAY-USDT"
BUDGET_S: Final = 5
CASES: Final = cases(DEFAULT, ONLY_POLLING, ONLY_WEBSOCKET)
QUICK: Final = {"reconnectionDelay": 200, "reconnectionDelayMax": 1000}


async def feed(bus: RedisBus, accepted: list[int]) -> None:
    """Trades without end, each noted when Redis has it."""
    while True:
        number = len(accepted) + 1
        trade = {"id": str(number), "symbol": SYMBOL, "amount": "1", "price": "2"}
        await bus.append("feed:trades", [trade], 100_000)
        accepted.append(number)
        await asyncio.sleep(0.03)


async def go_and_return(client: StockClient, board: Switchboard, other: int) -> list[Any]:
    """Be told, be let go, come back to the other gateway: the arguments of `connect`."""
    (told,) = await client.event("drain")
    assert told == {"deadline_ms": BUDGET_S * 1000, "reason": "stopping"}
    (reason,) = await client.life("disconnect")
    board.target = other
    assert "server disconnect" not in reason, "that would keep it away"
    return await client.life("connect")


async def trades(client: StockClient, last: int) -> list[int]:
    """The ids of trades up to that one, as they came."""
    ids: list[int] = []
    while not ids or ids[-1] < last:
        ids.append(int((await client.event("trade:new"))[0]["id"]))
    return ids


async def test_each_comes_back_and_those_that_recover_have_every_trade_once(
    module_cluster: Cluster, bus: RedisBus
) -> None:
    need_node()
    await module_cluster.start("price-ingest", "trade-notifier")
    leaving = await module_cluster.start("gateway", DRAIN_SECONDS=str(BUDGET_S))
    staying = await module_cluster.start("gateway")
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(mode_clients())
        tasks = await stack.enter_async_context(TaskGroup())
        pairs: list[tuple[Case, StockClient, Switchboard]] = []
        for case in CASES:
            board = await stack.enter_async_context(switchboard())
            board.target = leaving.port
            options = QUICK if case.kind.startswith("js") else {}
            pairs.append((case, await clients.connected(case, board.url, **options), board))
        for _, client, _ in pairs:
            assert (await client.ask("subscribe:trades", SYMBOL))["ok"]
        accepted: list[int] = []
        tasks.spawn("feed", feed(bus, accepted))
        await eventually(lambda: accepted, "trades flow")
        leaving.terminate()
        partings = [go_and_return(client, board, staying.port) for _, client, board in pairs]
        returns = dict(zip(map(str, CASES), await asyncio.gather(*partings), strict=True))
        assert await leaving.ended() == 0
        from_node = [(case, client) for case, client, _ in pairs if case.kind.startswith("js")]
        assert [case for case, _ in from_node if returns[str(case)] != [True]] == []
        last = len(accepted) + 5
        for case, client in from_node:
            assert await trades(client, last) == list(range(1, last + 1)), case
    assert (await leaving.logged("drained"))["clients_left"] == 0
