"""What a real service says when `REDIS_URL` does not fit what is there: one clear line and an end, or patience."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from tests.support.cluster import Cluster, Service
from tests.support.redis_node import TlsMissingError
from tests.support.redis_topologies import MASTER_NAME, ClusterSet, SentinelSet, TlsServer
from tests.support.tls_files import TlsFiles
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def sentinels() -> Iterator[SentinelSet]:
    with SentinelSet() as made:
        yield made


@pytest.fixture(scope="module")
def nodes() -> Iterator[ClusterSet]:
    with ClusterSet() as made:
        yield made


@pytest_asyncio.fixture
async def services(tmp_path: Path) -> AsyncIterator[Cluster]:
    with Cluster("redis://127.0.0.1:1", tmp_path) as made:
        yield made


async def refused(services: Cluster, url: str) -> dict[str, Any]:
    """The one line that a gateway says before it ends with 1."""
    gateway = services.launch("gateway", REDIS_URL=url)
    assert await gateway.ended() == 1
    (line,) = gateway.lines("redis_refused")
    assert "Traceback" not in gateway.log.read_text()
    assert "hunter2" not in gateway.log.read_text()
    return line


async def test_a_wrong_password_ends_it(services: Cluster, redis_url: str) -> None:
    line = await refused(services, redis_url.replace("redis://", "redis://u:hunter2@"))
    assert "password" in line["exception.message"]


async def test_a_read_only_replica_ends_it(services: Cluster, sentinels: SentinelSet) -> None:
    line = await refused(services, f"redis://:hunter2@127.0.0.1:{sentinels.nodes[1].port}".replace(":hunter2@", ""))
    assert "read-only replica" in line["exception.message"]
    assert "REDIS_URL" in line["exception.message"]


async def test_the_port_of_a_sentinel_without_its_scheme_ends_it(services: Cluster, sentinels: SentinelSet) -> None:
    line = await refused(services, f"redis://127.0.0.1:{sentinels.sentinels[0].port}")
    assert "redis+sentinel://" in line["exception.message"]


async def test_one_node_of_a_cluster_without_its_scheme_ends_it(services: Cluster, nodes: ClusterSet) -> None:
    line = await refused(services, f"redis://127.0.0.1:{nodes.nodes[0].port}")
    assert "redis+cluster://" in line["exception.message"]


async def test_one_server_under_the_scheme_of_a_cluster_ends_it(services: Cluster, valkey: EmbeddedValkey) -> None:
    line = await refused(services, f"redis+cluster://127.0.0.1:{valkey.port}")
    assert "is not a node of a Redis Cluster" in line["exception.message"]


async def test_one_server_under_the_scheme_of_sentinel_ends_it(services: Cluster, valkey: EmbeddedValkey) -> None:
    line = await refused(services, f"redis+sentinel://127.0.0.1:{valkey.port}/{MASTER_NAME}")
    assert "is not a Sentinel" in line["exception.message"]


async def test_a_master_that_the_sentinels_do_not_know_ends_it(services: Cluster, sentinels: SentinelSet) -> None:
    line = await refused(services, f"redis+sentinel://127.0.0.1:{sentinels.sentinels[0].port}/another")
    assert "No such master" in line["exception.message"]


async def test_a_certificate_of_an_unknown_authority_ends_it(services: Cluster, tmp_path: Path) -> None:
    files = TlsFiles(tmp_path)
    files.write()
    try:
        with TlsServer() as server:
            line = await refused(services, server.url_with("hunter2", files.ca))
    except TlsMissingError as error:
        pytest.skip(str(error))
    assert "certificate verify failed" in line["exception.message"]


async def test_an_absent_redis_is_waited_for_by_its_address_alone(services: Cluster, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    server = EmbeddedValkey(directory=tmp_path / "files")
    url = f"redis://default:hunter2@127.0.0.1:{server.port}"
    gateway: Service = services.launch("gateway", REDIS_URL=url)
    waiting = await gateway.logged("redis_unavailable")
    assert f"waiting for Redis at 127.0.0.1:{server.port}" in waiting["exception.message"]
    with server:
        await gateway.logged("ready")
        assert await gateway.stop() == 0
    assert "hunter2" not in gateway.log.read_text()


async def test_a_password_that_changes_later_is_told_and_tried_again(services: Cluster, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    with EmbeddedValkey(directory=tmp_path / "files") as server:
        bus = RedisBus(server.url, "operator")
        gateway = services.launch("gateway", REDIS_URL=server.url)
        await gateway.logged("ready")
        await bus._client.config_set("requirepass", "hunter2")
        await bus._client.client_kill_filter(skipme=True, _type="normal")
        await bus._client.client_kill_filter(_type="pubsub")
        said = await gateway.logged("redis_unavailable", 3)
        assert gateway.process.poll() is None
        await eventually(lambda: "Authentication required" in gateway.log.read_text(), "the reason")
        assert said["retry_in_s"] <= 2
        await bus._client.config_set("requirepass", "")
        await eventually(lambda: gateway.ask("/readyz"), "ready again", lambda answer: answer[0] == 200)
        await bus.close()
        assert await gateway.stop() == 0


async def test_absent_sentinels_are_waited_for(services: Cluster) -> None:
    with SentinelSet() as redis:
        for sentinel in redis.sentinels:
            sentinel.kill()
        gateway = services.launch("gateway", REDIS_URL=redis.url)
        waiting = await gateway.logged("redis_unavailable", 3)
        assert str(redis.sentinels[2].port) in waiting["exception.message"]
        redis.sentinels[1].restart()
        await gateway.logged("ready")
        assert await gateway.stop() == 0
