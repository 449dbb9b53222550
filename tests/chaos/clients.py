"""Stock clients in Node processes, and what becomes of each: deliveries go to the ledger as they are told.

Fed by `clients.cjs`; feeds a `Ledger` and the counts of returns. A client is a stock `socket.io-client` that reconnects
by itself, subscribes once, and again only where the library says that it is not recovered.
"""

import asyncio
import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Final

from services.launcher.leash import leashed
from shared.tasks import TaskGroup
from tests.chaos.ledger import Ledger
from tests.support.waiting import eventually

SCRIPT: Final = Path(__file__).with_name("clients.cjs")
LINE_BYTES: Final = 1 << 24
"""The longest line: everything that a thousand clients got within one flush."""

_UNTOLD: Final = frozenset({"trades", "late", "prices"})
"""Not for the diary: too much."""

ANSWER_S: Final = 20.0
END_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """One client to be, as `clients.cjs` reads it.

    Attributes:
        transports: None: the library's default, polling first.
        prices: whether it keeps the prices that it is shown.
        cookies: whether it keeps its balancer's cookies, as a browser does.
        timed: whether it tells how old each trade is when it comes.
    """

    name: str
    url: str
    parser: str
    transports: tuple[str, ...] | None
    symbols: tuple[str, ...]
    token: str
    prices: bool
    cookies: bool = False
    timed: bool = False


@dataclass(slots=True)
class Life:
    """How one client is doing.

    Attributes:
        gateway: where it is, as `hello` said it; empty while it is nowhere.
        subscribed: once its first subscription is acknowledged.
        returns: CONNECTs after the first.
        recovered: how many of those were recovered.
        undeclared: how many were not, and `hello` did not say so.
        reasons: of every disconnect.
        failures: connect errors and failed subscriptions, by their words.
    """

    symbols: tuple[str, ...]
    gateway: str = ""
    connects: int = 0
    subscribed: bool = False
    returns: int = 0
    recovered: int = 0
    undeclared: int = 0
    is_new: bool = True
    reasons: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


def node_command() -> list[str]:
    """What runs stock clients."""
    node = shutil.which("node")
    assert node is not None, "no node on PATH: install Node 20 or later, then `make setup`"
    return [node, str(SCRIPT)]


class StockClients:
    """All clients of a run, in as many processes as were asked for.

    Args:
        tasks: what reads their words runs there.
        ledger: gets every delivery.
        diary: file for everything else that happens, for whoever has to find out why.
    """

    def __init__(self, tasks: TaskGroup, ledger: Ledger, diary: Path) -> None:
        self.ledger = ledger
        self.lives: dict[str, Life] = {}
        self._diary = diary
        self._tasks = tasks
        self._processes: list[asyncio.subprocess.Process] = []
        self._prices: dict[str, dict[str, float]] = {}
        self._told_prices = 0
        self._numbers = count()

    async def start(self, wanted: Sequence[Wanted], command: Sequence[str] | None = None) -> None:
        """Start clients in a process of their own; `subscribed` says when all are there.

        Args:
            wanted: who they are.
            command: what runs them; None: `clients.cjs`. It must speak the same lines.
        """
        process = await asyncio.create_subprocess_exec(
            *leashed(command or node_command()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        self._processes.append(process)
        self.lives.update({one.name: Life(one.symbols) for one in wanted})
        self._tasks.spawn(f"clients-{next(self._numbers)}", self._read(process))
        assert process.stdin is not None
        process.stdin.write(json.dumps({"clients": [asdict(one) for one in wanted]}).encode() + b"\n")

    async def all_subscribed(self) -> None:
        """Wait until every client has its first acknowledgement."""
        await eventually(
            lambda: [name for name, life in self.lives.items() if not life.subscribed],
            "clients without a subscription",
            lambda missing: not missing,
        )

    async def prices(self) -> dict[str, dict[str, float]]:
        """Client -> symbol -> the price that it shows now, of the clients that keep them."""
        self._told_prices = 0
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
        await eventually(
            lambda: self._told_prices, "prices told", lambda told: told == len(self._processes), patience=ANSWER_S
        )
        return self._prices

    async def close(self) -> None:
        """End every process, by the end of its input or by force."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                async with asyncio.timeout(END_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with self._diary.open("a", encoding="utf-8", buffering=1) as diary:
            async for line in process.stdout:
                said, now = json.loads(line), monotonic()
                if not _UNTOLD & said.keys():
                    diary.write(f"{now:.3f} {line.decode()}")
                self.take(said, now)

    def take(self, said: dict[str, Any], now: float) -> None:
        """One line of a process, as it says it."""
        match said:
            case {"trades": trades}:
                for name, numbers in trades.items():
                    self.ledger.deliver(name, numbers, now)
            case {"connected": name, "recovered": recovered}:
                self._connected(self.lives[name], recovered=recovered)
            case {"hello": name, "payload": payload}:
                self._greeted(self.lives[name], payload)
            case {"subscribed": name}:
                self._subscribed(name, now)
            case {"disconnected": name, "reason": reason}:
                self.lives[name].gateway = ""
                self.lives[name].reasons[reason] += 1
            case {"failed": name, "what": what}:
                self.lives[name].failures[what] += 1
            case {"prices": prices}:
                self._prices.update(prices)
                self._told_prices += 1
            case _:
                sys.stderr.write(f"clients.cjs says {said}\n")

    def _connected(self, life: Life, *, recovered: bool) -> None:
        life.connects += 1
        life.is_new = not recovered
        life.returns += life.connects > 1
        life.recovered += recovered

    def _greeted(self, life: Life, payload: dict[str, Any]) -> None:
        life.gateway = str(payload["gateway"])
        life.undeclared += life.is_new and life.connects > 1 and payload.get("recovered") is not False

    def _subscribed(self, name: str, now: float) -> None:
        life = self.lives[name]
        if life.subscribed:
            self.ledger.declare_gap(name, now)
        else:
            self.ledger.join(name, life.symbols, now)
        life.subscribed = True
