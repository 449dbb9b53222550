"""The users of deploy/redis/users.acl: each service does all that it has to with its own, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis import exceptions

from services.launcher.embedded_valkey import server_binary
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.names import redis_keys
from tests.support.acl_server import LINES, USERS, AclServer
from tests.support.cluster import Cluster, token
from tests.support.waiting import eventually
from tests.support.wire_client import connect
from tests.support.wire_socket import WireSocket

SERVICES = ("price-ingest", "trade-notifier", "metrics", "gateway")
DEBIAN = Path("/usr/bin/redis-server")

Words = tuple[str | int, ...]

FORBIDDEN: dict[str, list[Words]] = {
    "gateway": [
        ("PUBLISH", "feed:prices", "x"),
        ("SPUBLISH", "md:{prices}:forged", "x"),
        ("XADD", "feed:prices", "*", "symbol", "X"),
        ("XADD", "log:{trades:0}", "*", "s", "X"),
        ("XADD", "svc:{auth}:revocations", "*", "sub", "x"),
        ("HSET", "md:{prices}:last:0", "X", "1"),
        ("SET", "md:{prices}:epoch", "x"),
        ("DEL", "md:{prices}:epoch"),
        ("HSET", "log:{trades:0}:fences", "a", "1"),
        ("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, "md:{prices}:epoch"),
        ("EVAL", "return redis.call('GET', 'somebody')", 0),
        ("EVAL", "return redis.call('CONFIG', 'GET', '*')", 0),
        ("GET", "somebody"),
        ("SCAN", "0"),
        ("SSUBSCRIBE", "somebody"),
        ("SUBSCRIBE", "md:metrics"),
        ("PSUBSCRIBE", "*"),
        ("SCRIPT", "FLUSH"),
        ("FUNCTION", "LIST"),
    ],
    "upstream": [
        ("XREAD", "COUNT", "1", "STREAMS", "feed:prices", "0"),
        ("XADD", "feed:prices:100", "*", "symbol", "X"),
        ("XADD", "feed:prices:x", "*", "symbol", "X"),
        ("XADD", "log:{trades:0}", "*", "s", "X"),
        ("XADD", "md:{prices}:forward:0", "*", "t", "X"),
        ("XDEL", "feed:prices", "0-1"),
        ("DEL", "feed:prices"),
        ("SET", "feed:prices", "x"),
        ("PUBLISH", "feed:prices:beat", "x"),
        ("SPUBLISH", "md:{prices}:pub:0", "x"),
        ("SUBSCRIBE", "feed:prices"),
        ("EVAL", "return 1", 0),
        ("SCAN", "0"),
    ],
    "price-ingest": [
        ("XADD", "log:{trades:0}", "*", "s", "X"),
        ("HGETALL", "svc:{sessions:0}:x"),
        ("XADD", "svc:{auth}:revocations", "*", "sub", "x"),
        ("XREAD", "COUNT", "1", "STREAMS", "log:{users:0}", "0"),
        ("SPUBLISH", "md:metrics", "x"),
    ],
    "trade-notifier": [
        ("HSET", "md:{prices}:last:0", "X", "1"),
        ("HSET", "md:{prices}:positions", "X", "1"),
        ("HGETALL", "svc:{sessions:0}:x"),
        ("XADD", "svc:{auth}:revocations", "*", "sub", "x"),
        ("PUBLISH", "feed:trades", "x"),
        ("SPUBLISH", "md:{prices}:pub:0", "x"),
    ],
    "metrics": [
        ("XADD", "feed:prices", "*", "symbol", "X"),
        ("XADD", "log:{trades:0}", "*", "s", "X"),
        ("XREAD", "COUNT", "1", "STREAMS", "log:{users:0}", "0"),
        ("HGETALL", "svc:{sessions:0}:x"),
        ("SPUBLISH", "md:{prices}:pub:0", "x"),
        ("EVAL", "return 1", 0),
    ],
    "operator": [
        ("HGETALL", "svc:{sessions:0}:x"),
        ("HSET", "md:{prices}:last:0", "X", "1"),
        ("XADD", "log:{trades:0}", "*", "s", "X"),
        ("DEL", "feed:prices"),
        ("SCAN", "0"),
    ],
    "probe": [("GET", "x"), ("INFO",), ("SCAN", "0"), ("HGETALL", "svc:reports"), ("SUBSCRIBE", "md:metrics")],
}
NOBODYS: list[Words] = [
    ("KEYS", "*"),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("DEBUG", "SLEEP", "0"),
    ("RESTORE", "x", "0", "x"),
    ("MIGRATE", "127.0.0.1", "1", "x", "0", "1"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "LIST"),
    ("ACL", "SETUSER", "mallory", "on", "nopass", "+@all"),
    ("ACL", "LIST"),
    ("SHUTDOWN", "NOSAVE"),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("MODULE", "LIST"),
    ("MONITOR",),
    ("SAVE",),
    ("SLOWLOG", "GET"),
    ("CLUSTER", "RESET"),
    ("EVAL", "return redis.call('FLUSHALL')", 0),
]


@pytest_asyncio.fixture(params=["valkey", "redis-7.0"])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[AclServer]:
    binary = server_binary() if request.param == "valkey" else DEBIAN
    if not binary.exists():
        pytest.skip("no /usr/bin/redis-server on this machine: `make system` installs it")
    with AclServer(binary) as server:
        await server.up()
        yield server
        await server.close()


def test_every_user_is_named_once_and_nobody_is_let_in_without_a_password() -> None:
    assert LINES[0] == "user default off"
    assert len(set(USERS)) == len(USERS)
    words = [word for line in LINES[1:] for word in line.split()]
    assert not {"nopass", "allkeys", "allchannels", "allcommands", "~*", "&*"} & set(words)
    assert [word for word in words if word.startswith("+@")] == []


@pytest.mark.threat("T34")
async def test_each_user_is_refused_what_is_not_its_own(redis: AclServer) -> None:
    for user in USERS:
        for words in [*NOBODYS, *FORBIDDEN[user]]:
            with pytest.raises(exceptions.ResponseError, match=r"(?i)no permission|can't|unknown|not allowed"):
                await redis.ask(user, *words)
    assert await redis.ask("operator", "DBSIZE") == 0


@pytest.mark.threat("T34")
async def test_without_a_password_nobody_is_let_in(redis: AclServer) -> None:
    for login in ("", "gateway:wrong@", "default:@"):
        stranger = RedisBus(f"redis://{login}127.0.0.1:{redis.port}", "stranger")
        with pytest.raises(Exception, match=r"NOAUTH|Authentication|WRONGPASS|invalid"):
            await stranger.ping()
        await stranger.close()


async def run_everything(redis: AclServer, cluster: Cluster) -> None:
    """All that services do: prices, charts, trades, notifications, a return to another gateway, figures, an end."""
    for name in SERVICES:
        cluster.settings["REDIS_URL"] = redis.url(name)
        await cluster.start(name)
    first = cluster.services[-1]
    second = await cluster.start("gateway")
    upstream = redis.bus("upstream")
    auth = {"token": token("alice", role="admin", now_ms=SystemClock().now_ms())}
    async with await connect(first.port) as wire:
        client = WireSocket(wire)
        client.join(auth)
        opened = json.loads((await client.next_text("40"))[2:])
        _, cursor = await client.next("hello")
        for event in ("subscribe:price", "subscribe:trades"):
            assert (await client.call(event, ["BTC-USDT"]))["ok"]
        assert (await client.call("subscribe:chart", "BTC-USDT", "1m"))["ok"]
        for number in range(20):
            trade = {"id": str(number), "symbol": "BTC-USDT", "price": f"{number + 1}", "amount": "1"}
            await upstream.append(redis_keys.FEED_TRADES, [{**trade, "user_id": "alice"}], 1000)
            await upstream.append(redis_keys.FEED_PRICES, [{"symbol": "BTC-USDT", "price": f"{number + 1}"}], 1000)
            await upstream.append(f"{redis_keys.FEED_TRADES}:7", [{**trade, "id": f"7-{number}"}], 1000)
            await asyncio.sleep(0.02)
        await upstream.publish([(redis_keys.FEED_PRICES, b'{"symbol":"ETH-USDT","price":2}')], sharded=False)
        await upstream.append(redis_keys.FEED_TRADES, [{"symbol": "\n", "price": "x"}], 1000)
        for event in ("price:update", "trade:new", "trade:notification", "chart:update", "metrics"):
            await client.next(event)
    async with await connect(second.port) as wire:
        client = WireSocket(wire)
        client.join({**auth, "pid": opened["pid"], "offset": cursor})
        assert (await client.next("hello"))[0]["recovered"]
        for event in ("trade:new", "trade:notification", "metrics"):
            await client.next(event)
    operator = redis.bus("operator")
    await eventually(lambda: operator.length(redis_keys.DEAD_TRADES), "a dead letter")
    await eventually(lambda: operator.hash_all(redis_keys.SERVICE_REPORTS), "five reports", lambda all_: len(all_) == 5)


@pytest.mark.threat("T34")
async def test_every_service_does_its_work_with_its_own_user_and_is_refused_nothing(
    redis: AclServer, tmp_path: Path
) -> None:
    with Cluster("", tmp_path) as cluster:
        cluster.settings |= {"PRICE_BATCH_AUDIENCE": "off", "METRICS_INTERVAL_MS": "1000"}
        await run_everything(redis, cluster)
        await asyncio.sleep(6)  # one round of what is done every five seconds: trimming, looking for streams
        for service in cluster.services:
            assert await service.stop() == 0, service.tail()
            assert service.lines("redis_unavailable") == [], service.name
            assert service.lines("redis_refused") == [], service.name
    assert await redis.denied() == []
