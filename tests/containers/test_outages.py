"""Five hundred stock clients at the edge while trades flow: one gateway is stopped, another killed, both come back."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Final

import pytest

from shared.clock import SystemClock
from shared.tasks import TaskGroup
from tests.chaos.clients import StockClients, Wanted
from tests.chaos.feeder import Feeder, Upstream
from tests.chaos.ledger import Delivered, Ledger
from tests.containers.stack import Stack
from tests.support.cluster import token
from tests.support.mode_clients import ONLY_WEBSOCKET, cases, mode_clients
from tests.support.redis_cli import redis_cli
from tests.support.stock_clients import need_node
from tests.support.waiting import eventually

CLIENTS: Final = 500
PROCESSES: Final = 2
RATE: Final = 40.0
"""Trades a second; each client gets a tenth of them."""

SYMBOLS: Final = [f"OUTAGE{number}-USDT" for number in range(20)]
TRANSPORTS: Final = (*((("websocket",),) * 8), None, ("polling",))
"""Of clients by tens. None: the library's default, which begins with polling."""

JOIN_S: Final = 120.0
GRACE_S: Final = 30.0
"""As `stop_grace_period` has it."""

HEAL_S: Final = 90.0
SETTLE_S: Final = 60.0
APPENDED_S: Final = 1.5
"""What Redis took before is on disk after so long: it is flushed every second."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Clients that listen, the upstream that feeds them, and the account of both."""

    clients: StockClients
    feeder: Feeder
    feeding: asyncio.Task[None]
    ledger: Ledger

    def at(self) -> Counter[str]:
        """Gateway -> how many clients are there; under the empty name those that are nowhere."""
        return Counter(life.gateway for life in self.clients.lives.values())

    async def wait_for_all(self, gateways: int) -> None:
        """Wait until everybody is at one of so many gateways, and has had a trade since."""
        await eventually(
            self.at, "clients by gateway", lambda at: "" not in at and len(at) <= gateways, patience=HEAL_S
        )
        since = monotonic()
        await eventually(
            lambda: self.ledger.healed_after(since) is not None, "everybody has a newer trade", patience=HEAL_S
        )

    async def settle(self) -> None:
        """Begin no more trades, and wait until everybody has the newest."""
        self.feeder.stop()
        await self.feeding
        await eventually(self.ledger.caught_up, "everybody has the newest trade", patience=SETTLE_S)

    def silences(self, since: float, until: float) -> list[float]:
        """The longest silence of each client within a time, in order."""
        found = []
        for journal in self.ledger._journals.values():
            times = [entry.at for entry in journal.entries if isinstance(entry, Delivered) and since < entry.at < until]
            found.append(max(after - before for before, after in pairwise([since, *times, until])))
        return sorted(found)


@asynccontextmanager
async def crowd(stack: Stack, directory: Path) -> AsyncIterator[Crowd]:
    """All of them, subscribed, while trades flow."""
    need_node()

    async def find_master() -> tuple[str, int]:
        return "127.0.0.1", stack.ports["REDIS_PORT"]

    async with AsyncExitStack() as ending:
        tasks = await ending.enter_async_context(TaskGroup())
        ledger = Ledger()
        clients = StockClients(tasks, ledger, directory / "clients.log")
        ending.push_async_callback(clients.close)
        wanted = crew(stack)
        for process in range(PROCESSES):
            await clients.start(wanted[process::PROCESSES])
        await eventually(
            lambda: sum(not life.subscribed for life in clients.lives.values()),
            "clients without a subscription",
            lambda missing: missing == 0,
            patience=JOIN_S,
        )
        feeder = Feeder(Upstream(find_master, 0), ledger, SYMBOLS, RATE)
        feeding = tasks.spawn("feeder", feeder.run())
        yield Crowd(clients, feeder, feeding, ledger)
        feeder.stop()


def crew(stack: Stack) -> list[Wanted]:
    """Parsers alternate; every tenth begins with polling, every tenth stays with it."""
    now_ms, found = SystemClock().now_ms(), []
    for number in range(CLIENTS):
        parser, transports = ("json", "msgpack")[number // 10 % 2], TRANSPORTS[number % len(TRANSPORTS)]
        found.append(
            Wanted(
                name=f"{parser}-{(transports or ('default',))[0]}-{number}",
                url=stack.url,
                parser=parser,
                transports=transports,
                symbols=(SYMBOLS[number % 20], SYMBOLS[(number + 7) % 20]),
                token=token(f"user-{number}", now_ms=now_ms),
                prices=False,
                cookies=True,
            )
        )
    return found


async def test_no_client_misses_a_trade_when_one_gateway_is_stopped_and_another_killed(
    stack: Stack, tmp_path: Path, measured: list[str]
) -> None:
    first, second, third = stack.containers("gateway")
    async with crowd(stack, tmp_path) as everyone:
        await everyone.wait_for_all(3)
        assert min(everyone.at().values()) > CLIENTS / 10, everyone.at()

        began = monotonic()
        await asyncio.to_thread(stack.engine.docker, "stop", first)
        stopped_s = monotonic() - began
        ended = stack.inspect(first)["State"]
        await everyone.wait_for_all(2)
        measured.append(f"gateway stopped in {stopped_s:.1f} s; {_silence(everyone, began)}")

        began = monotonic()
        await asyncio.to_thread(stack.engine.docker, "kill", second)
        await everyone.wait_for_all(1)
        measured.append(f"gateway killed; {_silence(everyone, began)}")

        await everyone.settle()
    _judge(everyone, measured)
    assert (ended["ExitCode"], ended["OOMKilled"]) == (0, False)
    assert stopped_s < GRACE_S

    stack.engine.docker("start", first, second)
    await stack.healthy(first, second, third)
    await _find_gateways(stack, 3)


@pytest.mark.parametrize("service", ["trade-notifier", "redis"])
async def test_what_crashes_is_started_again_and_nothing_is_lost(stack: Stack, service: str) -> None:
    symbol = f"CRASH-{service.upper()}"
    (container,) = stack.containers(service)
    async with mode_clients() as clients:
        client = await clients.connected(cases(ONLY_WEBSOCKET)[0], stack.url)
        assert (await client.ask("subscribe:trades", symbol))["ok"]
        redis_cli(stack.redis_url, f"XADD feed:trades * id 1 symbol {symbol} amount 1 price 1")
        assert (await client.event("trade:new"))[0]["id"] == "1"
        await asyncio.sleep(APPENDED_S)
        os.kill(
            stack.inspect(container)["State"]["Pid"], signal.SIGKILL
        )  # `docker kill` would count as stopped by hand
        await eventually(lambda: stack.inspect(container)["RestartCount"], "it is started again", patience=HEAL_S)
        await stack.healthy(container)
        redis_cli(stack.redis_url, f"XADD feed:trades * id 2 symbol {symbol} amount 1 price 2")
        assert (await client.event("trade:new"))[0]["id"] == "2"
        assert client.lives("disconnect") == 0


def _silence(everyone: Crowd, began: float) -> str:
    silences = everyone.silences(began, monotonic())
    return f"longest silence of a client {silences[-1]:.1f} s, of half of them {silences[len(silences) // 2]:.1f} s"


def _judge(everyone: Crowd, measured: list[str]) -> None:
    """Every trade at everybody who was owed it, once and in order; who came back was recovered or told otherwise."""
    verdict, lives = everyone.ledger.verdict(), everyone.clients.lives.values()
    returns, recovered = sum(life.returns for life in lives), sum(life.recovered for life in lives)
    measured.append(
        f"{verdict.trades} trades, {verdict.owed} deliveries owed, {verdict.lost} lost, {verdict.declared} in gaps "
        f"told, {verdict.doubled} doubled; {returns} returns, {recovered} recovered"
    )
    assert verdict.owed > 0
    assert verdict.clean, verdict.examples
    assert sum(life.undeclared for life in lives) == 0
    assert returns > 0
    assert len({life.gateway for life in lives}) == 1


async def _find_gateways(stack: Stack, wanted: int) -> None:
    """New clients are sent to every gateway, also to those that were away."""
    seen: set[str] = set()
    async with mode_clients() as clients:

        async def look() -> int:
            client = await clients.connected(cases(ONLY_WEBSOCKET)[0], stack.url)
            seen.add((await client.event("hello"))[0]["gateway"])
            return len(seen)

        await eventually(look, "gateways that clients are sent to", lambda number: number >= wanted, patience=HEAL_S)
