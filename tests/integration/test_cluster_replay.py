"""The whole cluster on a real recording: every client gets every trade of its symbols once and in order.

78,638 Binance trades of six symbols, at 50 times their speed, through two gateways and two trade-notifier replicas to
60 clients of both parsers: 40 stock ones in two Node processes, 20 light ones in a Python process.
"""

import asyncio
import csv
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple

import pytest

from services.launcher.leash import leashed, python_module
from shared.bus.redis_bus import RedisBus
from shared.names import redis_keys
from tests.support.cluster import Cluster, Service
from tests.support.recording import RECORDED, needs_recording
from tests.support.source_tree import ROOT
from tests.support.stock_clients import start_node
from tests.support.tally import Tally
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.interop, needs_recording]

SPEED: Final = "50"
CLIENTS_PER_HOST: Final = 20
PARSERS: Final = ("json", "msgpack")
QUIET_S: Final = 20.0
"""Without one more trade at any client for so long, nothing more will come."""

Reports = dict[str, dict[str, Any]]


class Host:
    """A process with clients; see `tally_clients.cjs` and its Python twin."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def subscribe(self, clients: list[dict[str, Any]]) -> None:
        """Start its clients, wait until all are subscribed."""
        assert await self._ask({"clients": clients}) == {"ready": len(clients)}

    async def reports(self) -> Reports:
        """What its clients have counted so far."""
        reports: Reports = (await self._ask({}))["reports"]
        return reports

    async def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def _ask(self, line: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())


class Expected(NamedTuple):
    """What the recording says of its symbols."""

    tallies: Mapping[str, Tally]

    def of(self, symbol: str) -> tuple[float | None, ...]:
        tally = self.tallies[symbol]
        return tally.trades, 0, tally.hash, tally.last, tally.price, 0


@pytest.fixture(scope="module")
def expected() -> Expected:
    tallies: dict[str, Tally] = {}
    with gzip.open(RECORDED, "rt") as file:
        for row in csv.DictReader(file):
            tally = tallies.setdefault(row["symbol"], Tally())
            tally.take_trade(int(row["trade_id"]))
            tally.price = float(row["price"])
    return Expected(tallies)


@pytest.fixture
async def hosts() -> AsyncIterator[list[Host]]:
    twin = await asyncio.create_subprocess_exec(
        *leashed(python_module("tests.support.tally_clients")),
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    made = [Host(await start_node("tally_clients.cjs")), Host(await start_node("tally_clients.cjs")), Host(twin)]
    yield made
    for host in made:
        await host.close()


@pytest.mark.parametrize("kills", [False, True], ids=["nothing fails", "the owning notifier is killed midway"])
async def test_every_client_gets_every_trade_once_in_order_and_the_last_price(
    cluster: Cluster, redis_url: str, bus: RedisBus, expected: Expected, hosts: list[Host], *, kills: bool
) -> None:
    await cluster.start("gateway", "gateway", "price-ingest", "trade-notifier", "trade-notifier")
    gateways, notifiers = cluster.services[:2], cluster.services[3:]
    wanted = clients(gateways, sorted(expected.tallies))
    await asyncio.gather(
        *(host.subscribe(wanted[n * CLIENTS_PER_HOST : (n + 1) * CLIENTS_PER_HOST]) for n, host in enumerate(hosts))
    )
    feed = await replay(redis_url)
    if kills:
        await until_half_fed(bus, expected)
        killed = await cluster.holder(bus, redis_keys.feed_lease(redis_keys.FEED_TRADES))
        killed.kill()
        (survivor,) = (notifier for notifier in notifiers if notifier is not killed)
        await survivor.logged("lease_acquired")
    assert await feed.wait() == 0
    reports = await finished(hosts, wanted, expected)
    evidence = [endings(await gateway.scrape()) for gateway in gateways]
    assert [name for name, report in reports.items() if report["ends"]] == [], evidence
    for client in wanted:
        for symbol, counted in reports[client["name"]]["tallies"].items():
            seen = tuple(counted[name] for name in ("trades", "disorder", "hash", "last", "price", "gaps"))
            assert seen == expected.of(symbol), (client, counted)


def clients(gateways: list[Service], symbols: list[str]) -> list[dict[str, Any]]:
    """Sixty clients: both parsers at both gateways, two or three symbols each, every symbol about as often."""
    made = []
    for number in range(3 * CLIENTS_PER_HOST):
        picked = {symbols[(number + step) % len(symbols)] for step in ((0, 1, 3) if number % 2 else (0, 2))}
        made.append(
            {
                "name": f"client-{number}",
                "url": gateways[number // 2 % 2].url,
                "parser": PARSERS[number % 2],
                "symbols": sorted(picked),
            }
        )
    return made


async def replay(redis_url: str) -> asyncio.subprocess.Process:
    """Feed the recording as a user would."""
    return await asyncio.create_subprocess_exec(
        *leashed(python_module("services.launcher")),
        *("feed", "replay", str(RECORDED), "--speed", SPEED),
        cwd=ROOT,
        env={"REDIS_URL": redis_url, "NO_COLOR": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )


async def until_half_fed(bus: RedisBus, expected: Expected) -> None:
    """Wait for the middle of the recording."""
    half = sum(tally.trades for tally in expected.tallies.values()) // 2
    await eventually(lambda: bus.length(redis_keys.FEED_TRADES), "half is fed", lambda fed: fed > half)


async def finished(hosts: list[Host], wanted: list[dict[str, Any]], expected: Expected) -> Reports:
    """The reports once every trade has come, or once no more do."""
    total = sum(expected.tallies[symbol].trades for client in wanted for symbol in client["symbols"])
    loop = asyncio.get_running_loop()
    seen, moved = -1, loop.time()
    while True:
        reports: Reports = {}
        for host in hosts:
            reports |= await host.reports()
        now = sum(tally["trades"] for report in reports.values() for tally in report["tallies"].values())
        if now != seen:
            seen, moved = now, loop.time()
        prices_stand = all(
            tally["price"] == expected.tallies[symbol].price
            for report in reports.values()
            for symbol, tally in report["tallies"].items()
        )
        if (now >= total and prices_stand) or loop.time() - moved > QUIET_S:
            return reports
        await asyncio.sleep(0.2)


def endings(scraped: Mapping[str, float]) -> dict[str, float]:
    """Why clients of a gateway were disconnected, for a failure's message."""
    return {name: value for name, value in scraped.items() if name.startswith("tickwire_disconnects_total") and value}
