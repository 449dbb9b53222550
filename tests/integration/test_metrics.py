"""metrics as a process: reports in, exposition and the `metrics` message out."""

import asyncio
import math
from pathlib import Path
from typing import Any

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.bus.subscription import Subscription
from shared.clock import SystemClock
from shared.messages import ClusterMetrics, ServiceReport, decode_cluster_metrics, encode_json
from shared.names import metrics, redis_keys
from shared.tasks import TaskGroup
from tests.support.cluster import Cluster, Service
from tests.support.waiting import eventually

METRICS = "metrics"
UP = metrics.SERVICES_UP.name
CONNECTIONS = metrics.CLUSTER_CONNECTIONS.name


async def report(bus: RedisBus, instance: str, service: str = "gateway", age_ms: int = 0, **more: Any) -> None:
    """Say what a service says of itself."""
    now = SystemClock().now_ms()
    fields: dict[str, Any] = {
        "service": service,
        "instance": instance,
        "version": "0",
        "at": now - age_ms,
        "started": now - 60_000,
        "ready": True,
        "ops_port": 9090,
        "memory": 1_000_000,
        "cpu": 0.5,
        "figures": {metrics.CONNECTIONS.name: 5, metrics.ROOMS.name: 2},
        "events": {"authenticate": 3, "invented": 1},
    }
    made = ServiceReport(**{**fields, **more})
    await bus.hash_set(redis_keys.SERVICE_REPORTS, {instance: encode_json(made)})


async def shows(service: Service, series: str, value: float) -> dict[str, float]:
    return await eventually(service.scrape, f"{series} {value}", lambda found: found.get(series) == value)


async def reported(bus: RedisBus) -> set[str]:
    return {instance.decode() for instance in await bus.hash_all(redis_keys.SERVICE_REPORTS)}


async def test_what_services_report_is_shown_for_the_whole_cluster(bus: RedisBus, cluster: Cluster) -> None:
    made = await cluster.start(METRICS)
    await report(bus, "g1")
    await report(bus, "g2", ready=False)
    await report(bus, "i1", service="price-ingest", figures={}, events={})
    await bus.append(redis_keys.FEED_TRADES, [{"a": "b"}] * 3, 100)
    await bus.append(redis_keys.DEAD_TRADES, [{"a": "b"}] * 2, 100)
    await bus.append(redis_keys.trade_log(3), [{"a": "b"}], 100)
    await shows(made, CONNECTIONS, 10)
    shown = await shows(made, metrics.STREAM_LENGTH.name + '{stream="log:{trades:3}"}', 1)
    expected = {
        UP + '{service="gateway"}': 2,
        UP + '{service="price-ingest"}': 1,
        UP + '{service="trade-notifier"}': 0,
        metrics.SERVICES_READY.name + '{service="gateway"}': 1,
        metrics.CLUSTER_ROOMS.name: 4,
        metrics.CLUSTER_EVENTS.name + '{event="authenticate"}': 6,
        metrics.CLUSTER_EVENTS.name + '{event="other"}': 2,
        metrics.STREAM_LENGTH.name + '{stream="feed:trades"}': 3,
        metrics.STREAM_LENGTH.name + '{stream="dead:trades"}': 2,
        metrics.STREAM_LENGTH.name + '{stream="log:{trades:3}"}': 1,
        metrics.STREAM_LAG.name + '{stream="feed:trades"}': 3,
        metrics.PENDING.name + '{stream="feed:trades"}': 0,
        metrics.OLDEST_PENDING.name + '{stream="feed:trades"}': 0,
    }
    assert {series: shown.get(series) for series in expected} == expected
    assert not any("invented" in series or "g1" in series for series in shown)


async def test_it_counts_itself_and_the_notifier_s_progress(bus: RedisBus, cluster: Cluster) -> None:
    made = cluster.launch(METRICS)
    cluster.launch("trade-notifier")
    await bus.append(redis_keys.FEED_TRADES, [{"symbol": "BTC", "price": "1", "amount": "1"}, {"no": "trade"}], 100)
    await shows(made, UP + '{service="metrics"}', 1)
    await shows(made, UP + '{service="trade-notifier"}', 1)
    await shows(made, metrics.STREAM_LENGTH.name + '{stream="dead:trades"}', 1)
    await shows(made, metrics.STREAM_LAG.name + '{stream="feed:trades"}', 0)


async def test_the_admin_room_s_message_is_published_each_interval(bus: RedisBus, cluster: Cluster) -> None:
    messages: asyncio.Queue[ClusterMetrics] = asyncio.Queue()
    subscription = Subscription(
        bus, lambda _channel, data: messages.put_nowait(decode_cluster_metrics(data)), lambda _channel: None
    )
    subscription.want(redis_keys.CLUSTER_METRICS)
    async with TaskGroup() as tasks:
        tasks.spawn("subscription", subscription.run())
        made = await cluster.start(METRICS, METRICS_INTERVAL_MS="200")
        await report(bus, "g1", address="127.0.0.1:8080")
        await shows(made, CONNECTIONS, 5)
        async with asyncio.timeout(20):
            while not messages.empty():
                await messages.get()
            told = [await messages.get() for _ in range(3)]
    assert (told[0].connections, told[0].rooms, told[0].events) == (5, 2, {"authenticate": 3, "other": 1})
    assert told[0].gateways[0]["gateway"] == "g1"
    assert told[2].uptime >= told[0].uptime > 59  # the two processes read their clocks apart


async def test_a_silent_instance_no_longer_counts_and_a_dead_one_is_forgotten(bus: RedisBus, cluster: Cluster) -> None:
    made = await cluster.start(METRICS)
    await report(bus, "silent", age_ms=30_000)
    await report(bus, "dead", age_ms=61_000)
    await bus.hash_set(redis_keys.SERVICE_REPORTS, {"rubbish": b"{}"})

    async def gateways(fading_ms: int) -> float:
        await report(bus, "living")
        await report(bus, "fading", age_ms=fading_ms)
        return (await made.scrape())[UP + '{service="gateway"}']

    await eventually(lambda: gateways(fading_ms=0), "both alive", lambda count: count == 2)
    await eventually(lambda: gateways(fading_ms=11_000), "one alive", lambda count: count == 1)
    await eventually(lambda: reported(bus), "reports", lambda found: not found & {"dead", "rubbish"})
    assert {"living", "fading", "silent"} <= await reported(bus)


async def test_redis_away_makes_everything_unknown_and_it_heals_by_itself(
    own_valkey: EmbeddedValkey, own_bus: RedisBus, tmp_path: Path
) -> None:
    with Cluster(own_valkey.url, tmp_path) as cluster:
        made = await cluster.start(METRICS)
        await report(own_bus, "g1")
        await shows(made, CONNECTIONS, 5)
        own_valkey.kill()
        shown = await eventually(made.scrape, "unknown figures", lambda found: math.isnan(found[CONNECTIONS]))
        assert all(math.isnan(value) for series, value in shown.items() if series.startswith(UP))
        own_valkey.start()
        await keep_trying("test", own_bus.ping)
        await report(own_bus, "g1")
        await report(own_bus, "g2")
        await shows(made, CONNECTIONS, 10)
        assert await made.stop() == 0
