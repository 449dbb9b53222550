"""The cluster's figures from a real Redis to the admins of this gateway."""

import asyncio

from services.gateway.metrics_feed import MetricsFeed
from shared.bus.redis_bus import RedisBus
from shared.messages import ClusterMetrics, encode_json
from shared.names import events, redis_keys
from shared.tasks import TaskGroup
from tests.support.fakes_gateway import GatewayParts, read_events

FIGURES = ClusterMetrics(3, 1024, 1.5, 0.25, 2, {"authenticate": 1}, [{"gateway": "g"}], [])


async def test_admins_get_each_publication_and_bad_ones_cost_nothing(bus: RedisBus) -> None:
    parts = GatewayParts()
    outbox, link = parts.outbox()
    parts.hub.join(events.ADMIN_ROOM, outbox)
    async with TaskGroup() as tasks, asyncio.timeout(10):
        tasks.spawn("metrics-feed", MetricsFeed(bus, parts.fanout).run())
        while not link.written:
            await bus.publish([(redis_keys.CLUSTER_METRICS, b"nonsense")])
            await bus.publish([(redis_keys.CLUSTER_METRICS, encode_json(FIGURES))])
            await asyncio.sleep(0.01)
            parts.loop.turn()
    name, payload = read_events(link.written[0])[0]
    assert name == "metrics"
    assert payload == {
        "connections": 3,
        "memory": 1024,
        "uptime": 1.5,
        "cpu": 0.25,
        "rooms": 2,
        "events": {"authenticate": 1},
        "gateways": [{"gateway": "g"}],
        "services": [],
    }
