"""The Redis of a fault run, in each of the ways in which it is run in production: what crashes, and how it comes back.

`rig` asks for a `Store`, `feeder` writes to its master, `faults` crash it. Servers are started from this thread (see
`services.launcher.leash`); waiting for a failover is done in another one, so that the rig goes on meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError

from services.launcher.embedded_valkey import server_binary
from shared.names import redis_keys
from tests.chaos.feeder import Address, Upstream
from tests.support.redis_node import RedisNode, free_ports
from tests.support.redis_topologies import ClusterSet, SentinelSet
from tests.support.waiting import eventually

KINDS: Final = ("plain", "sentinel", "cluster")
HOST: Final = "127.0.0.1"
VIEW_S: Final = 0.5
"""A node that does not say so soon how it sees the cluster is not asked."""

KEYS: Final = (redis_keys.trade_log(0), redis_keys.FEED_TRADES, redis_keys.PRICE_POSITIONS)
"""Whose master may be the one that fails; in a Cluster they lie on different ones."""


class Store(Protocol):
    """A Redis whose most important server can die, freeze, and come back."""

    @property
    def url(self) -> str:
        """What the services' `REDIS_URL` is to be."""

    @property
    def upstream(self) -> Upstream:
        """Where trades go, and what confirms them."""

    def nodes(self) -> Sequence[RedisNode]:
        """Every data server."""

    async def master_of(self, key: str) -> RedisNode:
        """The server that a key is written on now."""

    async def failed_over(self, key: str, former: RedisNode) -> None:
        """Wait until another server has taken its place; at once where there is no other."""


class PlainStore:
    """One server with an append-only file."""

    def __init__(self, server: RedisNode) -> None:
        self._server = server
        self.url = f"redis://{HOST}:{server.port}"
        self.upstream = Upstream(self._find_master, replicas=0)

    def nodes(self) -> Sequence[RedisNode]:
        """See `Store`."""
        return [self._server]

    async def master_of(self, key: str) -> RedisNode:  # noqa: ARG002 - there is one
        """See `Store`."""
        return self._server

    async def failed_over(self, key: str, former: RedisNode) -> None:
        """See `Store`."""

    async def _find_master(self) -> Address:
        return HOST, self._server.port


class SentinelStore:
    """A master, two replicas and three Sentinels. Two, so that a promoted one has somebody to confirm its writes."""

    def __init__(self, servers: SentinelSet, replicas: int) -> None:
        self._servers = servers
        self.url = servers.url
        self.upstream = Upstream(self._find_master, replicas)

    def nodes(self) -> Sequence[RedisNode]:
        """See `Store`."""
        return self._servers.nodes

    async def master_of(self, key: str) -> RedisNode:  # noqa: ARG002 - there is one
        """See `Store`."""
        return await asyncio.to_thread(self._servers.master)

    async def failed_over(self, key: str, former: RedisNode) -> None:  # noqa: ARG002 - there is one master
        """See `Store`."""
        await asyncio.to_thread(self._servers.wait_for_master, other_than=former)

    async def _find_master(self) -> Address:
        return HOST, (await self.master_of(redis_keys.FEED_TRADES)).port


class ClusterStore:
    """Three masters with a replica each."""

    def __init__(self, servers: ClusterSet, replicas: int) -> None:
        self._servers = servers
        self.url = servers.url
        self.upstream = Upstream(self._find_master, replicas)

    def nodes(self) -> Sequence[RedisNode]:
        """See `Store`."""
        return self._servers.nodes

    async def master_of(self, key: str) -> RedisNode:
        """As most of the nodes that answer see it; frozen and dead ones are passed over."""
        slot = key_slot(key.encode())
        views = await asyncio.gather(*(_view(node, slot) for node in self._servers.nodes))
        ports = [port for port in views if port is not None]
        if not ports:
            raise ConnectionError("no node of the cluster answers")
        elected = max(ports, key=ports.count)
        return next(node for node in self._servers.nodes if node.port == elected)

    async def failed_over(self, key: str, former: RedisNode) -> None:
        """See `Store`."""
        await eventually(lambda: self.master_of(key), f"another node owns {key}", lambda node: node is not former)

    async def _find_master(self) -> Address:
        return HOST, (await self.master_of(redis_keys.FEED_TRADES)).port


async def _view(node: RedisNode, slot: int) -> int | None:
    """The port of the master that owns a slot as one node sees it; None: it does not answer, or knows of none."""
    client = redis.Redis(host=HOST, port=node.port, single_connection_client=True, retry=Retry(NoBackoff(), 0))
    try:
        async with asyncio.timeout(VIEW_S):
            ranges = await client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
    except (RedisError, OSError):
        return None
    finally:
        await client.aclose()
    return next((int(master[1]) for first, last, master, *_ in ranges if first <= slot <= last), None)


@asynccontextmanager
async def open_store(kind: str, *, confirmed: bool) -> AsyncIterator[Store]:
    """A running Redis, one of `KINDS`, ended whatever happens; not `confirmed`: nobody waits for replicas."""
    if kind == "sentinel":
        with SentinelSet(replicas=2, min_replicas=confirmed, append_only=True) as sentinels:
            yield SentinelStore(sentinels, int(confirmed))
    elif kind == "cluster":
        with ClusterSet(replicas=1, append_only=True) as masters:
            yield ClusterStore(masters, int(confirmed))
    else:
        with TemporaryDirectory(prefix="tickwire-chaos-redis-") as directory:
            settings = ["appendonly yes", "appendfsync everysec"]
            server = RedisNode(server_binary(), Path(directory) / "data", free_ports(1)[0], settings)
            server.start()
            try:
                yield PlainStore(server)
            finally:
                server.end()


async def kill_connections(node: RedisNode) -> None:
    """`CLIENT KILL` every connection of clients, subscribers too, and none of replicas."""
    client = redis.Redis(host=HOST, port=node.port, single_connection_client=True)
    try:
        for kind in ("normal", "pubsub"):
            await client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")  # type: ignore[no-untyped-call]
    except RedisError:
        return  # it is down: it has none
    finally:
        await client.aclose()
