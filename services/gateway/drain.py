"""A gateway that stops lets its clients go one by one, so that those who take them over are not overrun.

New clients are refused, those that are here go on being served: they are told by `drain`, and closed in random order,
evenly over four fifths of `DRAIN_SECONDS`. Who cannot go at its turn (an upgrade is under way, its socket is full) goes
behind the others, and whoever is left at the end is ended by `Server.stop`. The client port stays open meanwhile: the
next poll of a client that is here is a new request, perhaps on a new TCP connection.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from services.gateway.connection import EngineConnection
from services.gateway.farewell import Cause, Farewell, is_ready, let_go
from services.gateway.server import Server
from shared.log import get_logger
from shared.names.close_reasons import DRAINED

log = get_logger(__name__)

SPREAD: Final = 0.8
"""Of the budget, that clients are let go over; the rest is for those who could not go at their turn."""

LATEST: Final = 0.95
"""Of the budget, where so many go that `SPREAD` of it would be faster than those who take them over let them in."""

ADMITTED: Final = 0.5
"""Of `MAX_ACCEPTS_PER_SECOND`: what a gateway that takes over all of them has room for beside its own newcomers."""

TICK_S: Final = 0.05

LOOK_AT: Final = 50
"""Clients looked at in a tick beside those that go, where many cannot go yet."""


class Curve:
    """How many clients may still be here when. Pure; it counts those who leave by themselves.

    Args:
        clients: at the beginning.
        budget_s: for all of it.
        accepts: `MAX_ACCEPTS_PER_SECOND`; 0: no limit. Exceeded only where the budget asks for it.
    """

    def __init__(self, clients: int, budget_s: float, accepts: float) -> None:
        self._clients = clients
        slowest = clients / (ADMITTED * accepts) if accepts else 0.0
        self.span_s = min(max(SPREAD * budget_s, slowest), LATEST * budget_s)

    def staying(self, elapsed: float) -> int:
        """How many may be here so many seconds after the beginning."""
        left = max(0.0, 1 - elapsed / self.span_s)
        return int(self._clients * left + 0.5)  # the first goes after half a step, the last one half a step early


class Drain:
    """One gateway's.

    Args:
        server: whose clients go.
        farewell: tells them.
        budget_s: `DRAIN_SECONDS`; 0: nobody is let go here.
        accepts: `MAX_ACCEPTS_PER_SECOND`, of those who take over.
        began: called when it begins.
    """

    def __init__(
        self, server: Server, farewell: Farewell, budget_s: float, accepts: float, began: Callable[[], None]
    ) -> None:
        self._server = server
        self._farewell = farewell
        self._budget_s = budget_s
        self._accepts = accepts
        self._began = began

    async def run(self) -> None:
        """Let everybody go; returns when nobody is left, or the budget is spent. It may be cancelled."""
        if not self._budget_s:
            return
        self._server.refuse_new()
        self._began()
        started = self._now
        order = list(self._server.connections)
        random.shuffle(order)
        log.info("draining", clients=len(order), deadline_s=self._budget_s)
        try:
            await self._farewell.tell_all(order, Cause.STOPPING, self._budget_s)
            await self._let_go(deque(order), started)
        finally:
            seconds = round(self._now - started, 2)
            log.info("drained", clients=len(order), took_s=seconds, clients_left=len(self._server.connections))

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _let_go(self, order: deque[EngineConnection], started: float) -> None:
        curve = Curve(len(order), self._budget_s, self._accepts)
        while self._server.present and self._now - started < self._budget_s:
            excess = len(self._server.connections) - curve.staying(self._now - started)
            let_go_of(order, excess)
            await asyncio.sleep(TICK_S)


def let_go_of(order: deque[EngineConnection], number: int) -> None:
    """Close so many of the first that can go; those that cannot are put behind the others."""
    for _ in range(min(len(order), 2 * number + LOOK_AT)):
        if number <= 0:
            return
        connection = order.popleft()
        if connection.has_ended:
            continue
        if is_ready(connection):
            let_go(connection, DRAINED)
            number -= 1
        else:
            order.append(connection)
