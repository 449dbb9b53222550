"""A real Prometheus on a real cluster under stock clients: each rule is evaluated, each graph has something to show."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
import socketio

from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.names import metrics, redis_keys
from shared.tasks import TaskGroup
from tests.support.cluster import Cluster
from tests.support.prometheus import Prometheus, as_grafana_asks, promtool, serving, started
from tests.support.source_tree import ROOT
from tests.support.waiting import PATIENCE_S, eventually

SERVICES: Final = ("gateway", "price-ingest", "trade-notifier", "metrics")
SYMBOL: Final = "BTC-USDT"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    """All four services; clients are pinged several times a second."""
    await module_cluster.start(*SERVICES, PING_INTERVAL_MS="300", METRICS_INTERVAL_MS="500")
    return module_cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def busy(cluster: Cluster) -> AsyncIterator[Cluster]:
    """The cluster with prices and trades coming in, and a stock client of each transport taking them."""
    bus = RedisBus(cluster.settings["REDIS_URL"], "upstream")
    gateway = cluster.services[0]
    clients = [socketio.AsyncClient(handle_sigint=False) for _ in range(2)]
    for client, transport in zip(clients, ("polling", "websocket"), strict=True):
        await client.connect(gateway.url, transports=[transport], wait_timeout=PATIENCE_S)
        await client.call("subscribe:trades", SYMBOL, timeout=PATIENCE_S)
    async with TaskGroup() as tasks:
        writing = tasks.spawn("upstream", write(bus))
        yield cluster
        writing.cancel()
    for client in clients:
        await client.disconnect()
    await bus.close()


async def write(bus: RedisBus) -> None:
    """Ten ticks and ten trades a second, until cancelled."""
    number = 0
    while True:
        number += 1
        fields = {"symbol": SYMBOL, "price": f"{100 + number % 7}", "ts": str(SystemClock().now_ms())}
        await bus.append(redis_keys.FEED_PRICES, [fields], 1000)
        await bus.append(redis_keys.FEED_TRADES, [{**fields, "id": str(number), "amount": "1", "side": "buy"}], 1000)
        await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(busy: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """A server that scrapes it."""
    targets: dict[str, list[str]] = {}
    for service in busy.services:
        targets.setdefault(service.name, []).append(f"127.0.0.1:{(await service.logged('ready'))['ops_port']}")
    with serving(targets, tmp_path_factory.mktemp("prometheus")) as server:
        yield await started(server)


def queries() -> dict[str, str]:
    """Title of the panel, its number and the letter of the query -> what it asks."""
    board: dict[str, Any] = json.loads((ROOT / "deploy/observability/dashboard.json").read_text(encoding="utf-8"))
    return {
        f"{panel['title']} {panel['id']}{target['refId']}": as_grafana_asks(target["expr"])
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("number", range(len(SERVICES)), ids=SERVICES)
async def test_what_each_service_exports_follows_the_conventions(busy: Cluster, number: int):
    status, text = await busy.services[number].ask("/metrics")
    assert status == 200
    promtool("check", "metrics", text=text)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_client_s_delivered_latency_is_measured_on_either_transport(busy: Cluster):
    def count(transport: str) -> str:
        return f'{metrics.DELIVERED.name}_count{{transport="{transport}"}}'

    await eventually(
        busy.services[0].scrape,
        "pongs over both transports",
        lambda found: found[count("polling")] > 1 and found[count("websocket")] > 1,
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_every_rule_is_evaluated_and_none_fails(prometheus: Prometheus):
    async def rules() -> list[dict[str, Any]]:
        told = await prometheus.ask("/api/v1/rules")
        return [rule for group in told["groups"] for rule in group["rules"]]

    found = await eventually(rules, "rules evaluated", lambda them: all(it["health"] != "unknown" for it in them))
    assert len(found) > 30
    assert {rule["name"]: rule.get("lastError") for rule in found if rule["health"] != "ok"} == {}


@pytest.mark.asyncio(loop_scope="module")
async def test_every_graph_of_the_dashboard_has_something_to_show(prometheus: Prometheus):
    wanted = queries()
    assert len(wanted) > 60

    async def empty() -> list[str]:
        return [where for where, expr in wanted.items() if not await prometheus.series(expr)]

    await eventually(empty, "graphs without a series", lambda missing: not missing)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_healthy_cluster_calls_nobody(prometheus: Prometheus):
    await eventually(lambda: prometheus.series(metrics.BUILD_INFO.name), "all scraped", lambda found: len(found) == 4)
    told = await prometheus.ask("/api/v1/alerts")
    assert [alert["labels"] for alert in told["alerts"] if alert["state"] == "firing"] == []
