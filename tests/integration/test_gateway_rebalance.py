"""A gateway that has all the clients of a cluster, beside one that has none, lets some go; real processes."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from shared.tasks import TaskGroup
from tests.support.cluster import Cluster, Service
from tests.support.waiting import eventually
from tests.support.wire_socket import WireSocket, joined

CLIENTS: Final = 60
ENOUGH: Final = 3
SETTINGS: Final = {"REBALANCE_PERCENT": "100", "REBALANCE_AFTER_SECONDS": "2", "PRICE_BATCH_AUDIENCE": "off"}


class Crowd:
    """Clients that read all the time; each that is let go goes to another gateway.

    Attributes:
        told: what those heard that were closed, and with which code.
    """

    def __init__(self) -> None:
        self.told: list[tuple[object, int | None]] = []

    async def stay(self, gateway: Service, other: Service) -> None:
        """One client's life."""
        async with joined(gateway.port) as socket:
            (heard,) = await _drain(socket)
            self.told.append((heard, (await socket.client.ended())[0]))
        async with joined(other.port):
            await asyncio.Event().wait()


async def _drain(socket: WireSocket) -> list[object]:
    while not any(event[0] == "drain" for event in socket.events):
        await socket.take(patience=None)
    return await socket.next("drain")


async def test_some_of_the_clients_of_a_gateway_above_its_share_are_told_and_go_to_the_other(cluster: Cluster) -> None:
    full = await cluster.start("gateway", **SETTINGS)
    empty = await cluster.start("gateway", **SETTINGS)
    crowd = Crowd()
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(TaskGroup())
        for number in range(CLIENTS):
            tasks.spawn(f"client-{number}", crowd.stay(full, empty))
        await eventually(lambda: len(crowd.told), "some are let go", lambda number: number >= ENOUGH)
        await eventually(lambda: connections(empty), "they come to the other", lambda number: number >= ENOUGH)
        assert await connections(full) > CLIENTS / 3, "a few at a time"
        assert set(map(repr, crowd.told)) == {repr(({"deadline_ms": 2000, "reason": "rebalancing"}, 1012))}
        assert (await full.scrape())["tickwire_shed_total"] >= ENOUGH
        assert (await empty.scrape())["tickwire_shed_total"] == 0
    assert full.lines("rebalancing_began")


async def connections(gateway: Service) -> float:
    figures = await gateway.scrape()
    return sum(value for name, value in figures.items() if name.startswith("websocket_connections"))
