"""The clients of a fleet, whose moves between gateways are noted, and who find out how late trades are.

Fed by the processes that run them; feeds `Travels`, the ledger and the delays. `crew` says who they are.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from services.launcher.leash import python_module
from shared.clock import SystemClock
from shared.tasks import TaskGroup
from tests.chaos.clients import StockClients, Wanted
from tests.chaos.ledger import Ledger
from tests.fleet.travels import Travels
from tests.support.cluster import token
from tests.support.waiting import eventually

WEBSOCKET: Final = ("websocket",)
POLLING: Final = ("polling",)
TRANSPORTS: Final = (WEBSOCKET, WEBSOCKET, WEBSOCKET, None, WEBSOCKET, WEBSOCKET, WEBSOCKET, None, WEBSOCKET, POLLING)
"""Of clients by tens: seven over WebSocket alone, two by default (polling, then upgraded), one over polling alone."""

IN_ONE_PROCESS: Final = 500
IN_ONE_SWARM: Final = 5_000
JOIN_S: Final = 120.0
PROBES: Final = 5
"""At each gateway whose delays are looked into."""


class FleetClients(StockClients):
    """All of a run.

    Attributes:
        travels: their moves since the page was turned.
        delays: (when it came, ms since its upstream sent it) of each trade that a probe got.
        crowd: the names of those that are no probes.
    """

    def __init__(self, tasks: TaskGroup, ledger: Ledger, diary: Path) -> None:
        super().__init__(tasks, ledger, diary)
        self.travels = Travels()
        self.delays: list[tuple[float, float]] = []
        self.crowd: list[str] = []

    def take(self, said: dict[str, Any], now: float) -> None:
        """One line of a process, as it says it."""
        if "late" in said:
            self.delays += [(now, delay) for delays in said["late"].values() for delay in delays]
            return
        self.travels.note(said, now)
        super().take(said, now)

    async def enter(self, crew: Sequence[Wanted], *, swarm: bool) -> None:
        """Start all, one process after the other, so that those that are let in first are not a storm."""
        command = python_module("tests.fleet.swarm") if swarm else None
        self.crowd += [wanted.name for wanted in crew]
        left = iter(crew)
        while some := list(islice(left, IN_ONE_SWARM if swarm else IN_ONE_PROCESS)):
            await self.start(some, command)
            await self._all_served()

    async def probe(self, urls: Sequence[str], symbols: Sequence[str]) -> None:
        """Clients in a process of their own, directly at gateways, that tell how late trades are."""
        now_ms = SystemClock().now_ms()
        wanted = [
            Wanted(
                f"probe-{number}",
                urls[number % len(urls)],
                "json",
                WEBSOCKET,
                tuple(symbols),
                token(f"probe-{number}", now_ms=now_ms),
                prices=False,
                timed=True,
            )
            for number in range(PROBES * len(urls))
        ]
        await self.start(wanted)
        await self._all_served()

    def at(self) -> dict[str, list[str]]:
        """Gateway -> the clients of the crowd that are there."""
        where: dict[str, list[str]] = {}
        for name in self.crowd:
            if self.lives[name].gateway:
                where.setdefault(self.lives[name].gateway, []).append(name)
        return where

    def p99_ms(self, since: float, until: float) -> tuple[float, int]:
        """Of the delays that probes found in a time, and how many there were."""
        first, last = (bisect_right(self.delays, (at, 0.0)) for at in (since, until))
        delays = sorted(delay for _, delay in self.delays[first:last])
        return (delays[int(len(delays) * 0.99)], len(delays)) if delays else (0.0, 0)

    async def _all_served(self) -> None:
        await eventually(
            lambda: sum(not life.subscribed for life in self.lives.values()),
            "clients without a subscription",
            lambda missing: missing == 0,
            patience=JOIN_S,
        )


def crew(number: int, url: str, symbols: Sequence[str], *, first: int = 0) -> list[Wanted]:
    """So many clients with a user, a symbol and a parser each, in all transports."""
    now_ms = SystemClock().now_ms()
    return [
        Wanted(
            name=f"{(TRANSPORTS[index % len(TRANSPORTS)] or ('default',))[0]}-{index}",
            url=url,
            parser=("json", "msgpack")[index // len(TRANSPORTS) % 2],
            transports=TRANSPORTS[index % len(TRANSPORTS)],
            symbols=(symbols[index % len(symbols)],),
            token=token(f"user-{index}", now_ms=now_ms),
            prices=False,
            cookies=True,
        )
        for index in range(first, first + number)
    ]
