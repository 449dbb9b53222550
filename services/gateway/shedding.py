"""Lets clients of a gateway go that has more than its share of the cluster's: a few at a time, told before.

Fed by what all gateways report to Redis; `rebalance.py` says how many. Only a client that loses nothing goes: it is in
its namespace, in no upgrade, has got all that it is owed, and can come back to where it is in the logs, or hears none.
"""

import asyncio
import random
from collections import deque
from typing import Final, NamedTuple

from services.gateway.connection import EngineConnection
from services.gateway.farewell import Cause, Farewell, is_ready, joined, let_go
from services.gateway.member import Member
from services.gateway.rebalance import Rebalance, ready_others
from services.gateway.server import Server
from services.gateway.sessions import Sessions
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.clock import Clock
from shared.log import get_logger
from shared.names import redis_keys
from shared.names.close_reasons import REBALANCED
from shared.tasks import TaskGroup

log = get_logger(__name__)

READ_S: Final = 3.0
"""Between two looks at the others' reports, which they write every two seconds."""

TICK_S: Final = 0.25
NOTICE_S: Final = 2.0
"""From being told to being closed."""

RETURN_S: Final = 15.0
"""After which it is looked whether a client has come back to this gateway: the first back-offs are over."""

HINT: Final = "the balancer leads clients back to where they were, by cookie or address: REBALANCE_PERCENT=0 here"


class _Told(NamedTuple):
    at: float
    connection: EngineConnection


class Shedding:
    """One gateway's.

    Args:
        bus: has the reports.
        instance: this gateway.
        clock: theirs.
        server: whose clients go.
        sessions: tell who has come back.
        farewell: tells them.
        percent: `REBALANCE_PERCENT`.
        after_s: `REBALANCE_AFTER_SECONDS`.
    """

    def __init__(  # noqa: PLR0913 - the parts of one gateway
        self,
        bus: RedisBus,
        instance: str,
        clock: Clock,
        server: Server,
        sessions: Sessions,
        farewell: Farewell,
        *,
        percent: float,
        after_s: float,
    ) -> None:
        self._bus = bus
        self._instance = instance
        self._clock = clock
        self._server = server
        self._sessions = sessions
        self._farewell = farewell
        self._rebalance = Rebalance(percent, after_s)
        self._after_s = after_s
        self._told: deque[_Told] = deque()
        self._gone: deque[tuple[float, str]] = deque()
        self._is_on = percent > 0

    def stop(self) -> None:
        """Let nobody go any more."""
        self._is_on = False

    async def run(self) -> None:
        """Work until `stop`, or until cancelled."""
        if not self._is_on:
            return
        loop = asyncio.get_running_loop()
        async with TaskGroup() as tasks:
            tasks.spawn("gateway-reports", keep_trying("gateway-reports", self._read_reports))
            while self._is_on:
                self.step(loop.time())
                await asyncio.sleep(TICK_S)

    def step(self, now: float) -> None:
        """Close those whose notice is over, and give notice to the next."""
        self._close_told(now)
        self._judge_returns(now)
        was_shedding = self._rebalance.is_shedding
        clients = len(self._server.connections) - len(self._told)
        number = self._rebalance.due(clients, now)
        if self._rebalance.is_shedding and not was_shedding:
            log.info("rebalancing_began", clients=clients)
        elif was_shedding and not self._rebalance.is_shedding:
            log.info("rebalancing_ended", clients=clients)
        if number:
            chosen = self._choose(number, now)
            self._farewell.tell(chosen, Cause.REBALANCING, NOTICE_S)
            self._told.extend(_Told(now + NOTICE_S, connection) for connection in chosen)

    async def _read_reports(self) -> None:
        while True:
            reports = await self._bus.hash_all(redis_keys.SERVICE_REPORTS)
            others = ready_others(reports, self._instance, self._clock.now_ms())
            self._rebalance.observe(others, asyncio.get_running_loop().time())
            await asyncio.sleep(READ_S)

    def _choose(self, number: int, now: float) -> list[EngineConnection]:
        """So many by chance; fewer where too few of those looked at can go."""
        everybody = list(self._server.connections)
        told = {connection for _, connection in self._told}
        looked_at = random.sample(everybody, min(len(everybody), 4 * number + 16))
        return [it for it in looked_at if it not in told and self._may_go(it, now)][:number]

    def _may_go(self, connection: EngineConnection, now: float) -> bool:
        return now - connection.opened_at >= self._after_s and is_ready(connection) and _loses_nothing(connection)

    def _close_told(self, now: float) -> None:
        for _ in range(len(self._told)):
            if self._told[0].at > now:
                return
            _, connection = self._told.popleft()
            if connection.has_ended:
                continue
            if not is_ready(connection):
                self._told.append(_Told(now + NOTICE_S, connection))
                continue
            member = _member(connection)
            if member is not None and member.session is not None:
                self._gone.append((now + RETURN_S, member.session.pid))
            let_go(connection, REBALANCED)

    def _judge_returns(self, now: float) -> None:
        while self._gone and self._gone[0][0] <= now:
            _, pid = self._gone.popleft()
            if self._rebalance.judge_return(now, came_back=self._sessions.is_here(pid)):
                log.warning("rebalancing_futile", hint=HINT)


def _member(connection: EngineConnection) -> Member | None:
    client = joined(connection)
    return client.member if client is not None and isinstance(client.member, Member) else None


def _loses_nothing(connection: EngineConnection) -> bool:
    """Whether it can come back to where it is, or hears nothing that it could miss."""
    member = _member(connection)
    if member is None:
        return False
    return member.session is not None or (member.identity is None and not member.subscriptions.trades())
