"""Log lines of real services: one vocabulary, and a name for each process."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.names import log_fields, redis_keys
from tests.support.cluster import Cluster, Service
from tests.support.waiting import eventually

SERVICES = ("gateway", "price-ingest", "trade-notifier", "metrics")


def lines(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.read_text(encoding="utf-8").splitlines()]


async def test_every_line_of_every_service_speaks_the_vocabulary(
    own_valkey: EmbeddedValkey, own_bus: RedisBus, tmp_path: Path
) -> None:
    with Cluster(own_valkey.url, tmp_path) as cluster:
        await cluster.start(*SERVICES, LOG_LEVEL="debug")
        await own_bus.append(redis_keys.FEED_TRADES, [{"symbol": "BTC-USDT", "price": "no number"}], 10)
        await own_bus.append(redis_keys.FEED_PRICES, [{"symbol": "BTC-USDT", "price": "no number"}], 10)
        for service in cluster.services[1:3]:
            await service.logged("upstream_entries_refused")
        own_valkey.kill()
        for service in cluster.services:
            await service.logged("redis_unavailable")
            assert await service.stop() == 0
        for service in cluster.services:
            told = lines(service)
            assert [line for line in told if line.keys() - log_fields.NAMES] == []
            assert {line["service.name"] for line in told} == {service.name}
            assert {line["service.version"] for line in told} == {version("tickwire")}
            assert {line["service.instance.id"] for line in told} == {service.instance}
            assert all({field.name for field in log_fields.ON_EVERY_LINE} <= line.keys() for line in told)
        failure = cluster.services[0].lines("redis_unavailable")[0]
        assert failure["error.type"] == "shared.bus.errors.BusUnavailableError"
        assert failure["exception.message"]


async def test_a_pod_s_name_begins_the_instance_and_two_lives_in_one_pod_are_told_apart(
    cluster: Cluster, bus: RedisBus
) -> None:
    settings = {"INSTANCE_ID": "tickwire-gateway-7f9c-x2x"}
    await cluster.start("gateway", "gateway", **settings)
    names = {service.instance for service in cluster.services}
    assert len(names) == 2
    assert all(name.startswith("tickwire-gateway-7f9c-x2x-") for name in names)
    await eventually(
        lambda: bus.hash_all(redis_keys.SERVICE_REPORTS),
        "both report",
        lambda reports: {name.decode() for name in reports} == names,
    )
