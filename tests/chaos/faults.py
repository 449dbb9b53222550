"""The faults, each one function: what is done to a running cluster, at which moments, and what ends it.

Fed with a `Rig` by `trial`. A fault calls `hit` right after each blow, which is when its healing begins to be timed.
Random moments come from the run's seed alone.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Final

from tests.chaos.rig import GATEWAY, INGEST, NOTIFIER, Post, Rig, Setup
from tests.chaos.stores import KEYS, kill_connections
from tests.support.waiting import eventually

FROZEN_S: Final = 20.0
BLACKHOLE_S: Final = 15.0
REDIS_FROZEN_S: Final = 14.0


@dataclass(slots=True)
class Blows:
    """How long a fault is to go on, its source of chance, and when it struck.

    Attributes:
        seconds: repeated faults go on for so long.
        random: of the run.
        pace: what pauses between blows are multiplied with; below 1 for a short run.
        at: monotonic times.
    """

    seconds: float
    random: Random
    pace: float = 1.0
    at: list[float] = field(default_factory=list)

    def hit(self) -> None:
        """It was done just now."""
        self.at.append(monotonic())

    async def moments(self, shortest: float, longest: float) -> AsyncIterator[None]:
        """Come at random moments, with pauses of so many seconds before each, until time is up; at least once."""
        until = monotonic() + self.seconds
        while True:
            await asyncio.sleep(self.random.uniform(shortest, longest) * self.pace)
            yield
            if monotonic() >= until:
                return


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table.

    Attributes:
        summary: what is done, for people.
        inject: does it.
        setup: what it needs.
        repeats: whether it goes on for as long as the run says.
    """

    summary: str
    inject: Callable[[Rig, Blows], Awaitable[None]]
    setup: Setup = field(default_factory=Setup)
    repeats: bool = False


async def kill_gateways(rig: Rig, blows: Blows) -> None:
    """One of the two at a time."""
    async for _ in blows.moments(4, 12):
        gateways = rig.of(GATEWAY)
        blows.random.choice([post for post in gateways if post.alive] or gateways).service.kill()
        blows.hit()


async def kill_notifiers(rig: Rig, blows: Blows) -> None:
    """One or both: whoever has the lease is among them more often than not."""
    async for _ in blows.moments(3, 10):
        _kill_some(rig.of(NOTIFIER), blows)


async def kill_ingests(rig: Rig, blows: Blows) -> None:
    """The same."""
    async for _ in blows.moments(3, 10):
        _kill_some(rig.of(INGEST), blows)


async def freeze_gateway(rig: Rig, blows: Blows) -> None:
    """SIGSTOP, SIGCONT."""
    frozen = blows.random.choice(rig.of(GATEWAY)).service
    frozen.freeze()
    blows.hit()
    await asyncio.sleep(FROZEN_S)
    frozen.thaw()


async def restart_redis(rig: Rig, blows: Blows) -> None:
    """SIGKILL of every server, some time without it, start on the same files."""
    async for _ in blows.moments(3, 15):
        for server in rig.store.nodes():
            server.kill()
        blows.hit()
        await asyncio.sleep(blows.random.uniform(0.2, 4))
        for server in rig.store.nodes():
            server.start()


async def freeze_redis(rig: Rig, blows: Blows) -> None:
    """SIGSTOP: connections stay, nothing is answered."""
    for server in rig.store.nodes():
        server.freeze()
    blows.hit()
    await asyncio.sleep(REDIS_FROZEN_S)
    for server in rig.store.nodes():
        server.resume()


async def kill_master(rig: Rig, blows: Blows) -> None:
    """SIGKILL of the server that one of `KEYS` is written on; it comes back as a replica of its successor."""
    async for _ in blows.moments(5, 12):
        key = blows.random.choice(KEYS)
        master = await rig.store.master_of(key)
        master.kill()
        blows.hit()
        await rig.store.failed_over(key, former=master)
        master.start()


async def freeze_master(rig: Rig, blows: Blows) -> None:
    """SIGSTOP of it until another has taken over, and then SIGCONT: it wakes up and believes that it is the master."""
    async for _ in blows.moments(5, 12):
        key = blows.random.choice(KEYS)
        master = await rig.store.master_of(key)
        master.freeze()
        blows.hit()
        await rig.store.failed_over(key, former=master)
        master.resume()


async def kill_redis_connections(rig: Rig, blows: Blows) -> None:
    """Of every service, and of the upstream."""
    async for _ in blows.moments(1, 6):
        for node in rig.store.nodes():
            await kill_connections(node)
        blows.hit()


async def blackhole_gateway(rig: Rig, blows: Blows) -> None:
    """Not one byte between the first gateway and Redis, and no connection ends."""
    assert rig.proxy is not None
    rig.proxy.blackhole()
    blows.hit()
    await asyncio.sleep(BLACKHOLE_S)
    rig.proxy.heal()


async def restart_everything(rig: Rig, blows: Blows) -> None:
    """SIGTERM to one process after the other, each waited for until its successor is ready."""
    for post in rig.posts:
        await _restart(post, blows)


async def lose_gateway_for_good(rig: Rig, blows: Blows) -> None:
    """The gateway that everybody is connected to; it does not come back."""
    post = rig.of(GATEWAY)[0]
    post.vacant = True
    post.service.kill()
    blows.hit()


async def _restart(post: Post, blows: Blows) -> None:
    former = post.service
    former.terminate()
    blows.hit()
    await former.ended()
    successor = await eventually(lambda: post.service, "a successor", lambda service: service is not former)
    await successor.logged("ready")


def _kill_some(posts: list[Post], blows: Blows) -> None:
    alive = [post for post in posts if post.alive]
    for post in blows.random.sample(alive, blows.random.randint(1, len(alive)) if alive else 0):
        post.service.kill()
    blows.hit()


IMPATIENT: Final = Setup(settings={"PING_INTERVAL_MS": "3000", "PING_TIMEOUT_MS": "2000"})
SENTINEL: Final = Setup(redis="sentinel")
CLUSTER: Final = Setup(redis="cluster")
CROWD: Final = Setup(clients=1000, symbols=20, symbols_each=1, rate=100.0, gathered=True, prices=False)

FAULTS: Final[Mapping[str, Fault]] = {
    "gateway-kill": Fault("SIGKILL of a gateway, again and again", kill_gateways, repeats=True),
    "notifier-kill": Fault("SIGKILL of trade-notifiers, again and again", kill_notifiers, repeats=True),
    "ingest-kill": Fault("SIGKILL of price-ingests, again and again", kill_ingests, repeats=True),
    "gateway-freeze": Fault("SIGSTOP of a gateway for 20 s, clients stay", freeze_gateway),
    "gateway-freeze-noticed": Fault("the same, clients notice and leave", freeze_gateway, IMPATIENT),
    "redis-restart": Fault("SIGKILL and start of Redis with its append-only file", restart_redis, repeats=True),
    "redis-freeze": Fault("SIGSTOP of Redis for 14 s", freeze_redis),
    "client-kill": Fault("CLIENT KILL of every Redis connection", kill_redis_connections, repeats=True),
    "gateway-blackhole": Fault("network blackhole, gateway to Redis, 15 s", blackhole_gateway, Setup(proxied=True)),
    "rolling-restart": Fault("SIGTERM and start of every service in turn", restart_everything),
    "sentinel-failover": Fault("SIGKILL of the master under Sentinel", kill_master, SENTINEL, repeats=True),
    "sentinel-zombie": Fault("SIGSTOP of it until it is replaced, then SIGCONT", freeze_master, SENTINEL, repeats=True),
    "cluster-failover": Fault("SIGKILL of a master in a Cluster", kill_master, CLUSTER, repeats=True),
    "cluster-zombie": Fault("SIGSTOP of it until it is replaced, then SIGCONT", freeze_master, CLUSTER, repeats=True),
    "crowd": Fault("1,000 clients lose their gateway by SIGKILL", lose_gateway_for_good, CROWD),
}
"""By name, in the order in which `make chaos` runs them."""
