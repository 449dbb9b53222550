"""Trades survive lost replies, replicas of the notifier that come and go, and replicas of Redis that fall behind."""

import asyncio
import hashlib
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from services.trade_notifier.delivery import Appended, Delivery
from services.trade_notifier.recipients import FeedTrade
from services.trade_notifier.settings import NotifierSettings
from shared.bus.redis_bus import RedisBus
from shared.names import metrics, redis_keys
from shared.upstream import UpstreamTrade
from tests.support.cluster import Cluster
from tests.support.fault_proxy import FaultProxy
from tests.support.redis_cli import redis_cli
from tests.support.source_tree import ROOT
from tests.support.trade_upstream import (
    FEED,
    Upstream,
    all_done,
    assert_all_arrived_once_and_in_order,
    log_length,
    pending,
)
from tests.support.waiting import eventually

NOTIFIER = "trade-notifier"
LOG = redis_keys.trade_log(0)


def digest(script: str) -> bytes:
    """What a call of the script says to Redis."""
    text = (ROOT / f"shared/bus/lua/{script}.lua").read_bytes()
    return hashlib.sha1(text).hexdigest().encode()


@pytest.mark.parametrize("script", ["append_log", "finish_batch", "read_group", "acquire_lease", "raise_fence"])
async def test_a_reply_lost_after_its_script_ran_leaves_each_trade_once(
    bus: RedisBus, valkey: EmbeddedValkey, cluster: Cluster, script: str
) -> None:
    upstream = Upstream(bus)
    with FaultProxy(valkey.url) as proxy:
        notifier = cluster.launch(NOTIFIER, REDIS_URL=proxy.url)
        await upstream.write(300)
        await all_done(bus)
        proxy.swallow_reply(digest(script))
        await upstream.write(300)
        if script == "raise_fence":
            await bus._client.delete(redis_keys.feed_lease(FEED))
        await eventually(proxy.is_swallowed, f"the reply of {script} is lost")
        await notifier.logged("redis_unavailable")
        await upstream.write(300)
        await assert_all_arrived_once_and_in_order(bus, upstream)


@pytest.mark.slow
async def test_three_replicas_killed_and_started_at_random_lose_double_and_reorder_nothing(
    bus: RedisBus, cluster: Cluster
) -> None:
    upstream, chance = Upstream(bus), random.Random(5)
    alive = [cluster.launch(NOTIFIER) for _ in range(3)]
    await alive[0].logged("ready")

    async def write_on() -> None:
        while True:
            await upstream.write(250)
            await asyncio.sleep(0.05)

    writing = asyncio.get_running_loop().create_task(write_on())
    for _ in range(4):
        holder = await cluster.holder(bus, redis_keys.feed_lease(FEED))
        await asyncio.sleep(chance.uniform(0.0, 0.5))  # the moment is what varies
        await eventually(lambda: pending(bus), "something in hand")
        before = await log_length(bus)
        others = [notifier for notifier in alive if notifier is not holder]
        victims = [holder, *chance.sample(others, chance.choice([0, 0, 1]))]
        for victim in victims:
            victim.kill()
        alive = [notifier for notifier in alive if notifier not in victims]
        alive += [cluster.launch(NOTIFIER) for _ in victims]
        await eventually(lambda: log_length(bus), "progress", lambda length, b=before: length > b + 250)  # type: ignore[misc]
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    await assert_all_arrived_once_and_in_order(bus, upstream)


class TestConfirmation:
    """A Redis with a replica, and a notifier that wants it to have every trade."""

    @pytest.fixture
    async def replica(self, own_valkey: EmbeddedValkey, own_bus: RedisBus) -> AsyncIterator[EmbeddedValkey]:
        redis_cli(own_valkey.url, "CONFIG SET repl-diskless-sync-delay 0")
        with EmbeddedValkey() as made:
            redis_cli(made.url, f"REPLICAOF 127.0.0.1 {own_valkey.port}")

            async def confirmed() -> int:
                await own_bus._client.set("probe", 1)
                return int(await own_bus._client.wait(1, 100))

            await eventually(confirmed, "the replica follows")
            yield made
            with suppress(ProcessLookupError):
                os.kill(made.pid, signal.SIGCONT)

    @pytest.fixture
    def own_cluster(self, own_valkey: EmbeddedValkey, tmp_path: Path):
        with Cluster(own_valkey.url, tmp_path) as made:
            made.settings |= {"LOG_REPLICAS": "1", "LOG_REPLICAS_MS": "100"}
            yield made

    async def test_nothing_is_acknowledged_that_the_replica_lacks_and_when_it_is_back_each_trade_is_there_once(
        self, replica: EmbeddedValkey, own_bus: RedisBus, own_cluster: Cluster
    ) -> None:
        upstream = Upstream(own_bus)
        notifier = own_cluster.launch(NOTIFIER)
        await upstream.write(500)
        await all_done(own_bus)
        assert (await notifier.scrape())[metrics.UNCONFIRMED.name] == 0
        position = await own_bus.get(redis_keys.feed_position(FEED))
        written = await log_length(own_bus)
        os.kill(replica.pid, signal.SIGSTOP)
        await upstream.write(500)
        unconfirmed = await eventually(
            notifier.scrape, "appended again and again", lambda found: found[metrics.UNCONFIRMED.name] > 20
        )
        assert await log_length(own_bus) > written
        assert await own_bus.get(redis_keys.feed_position(FEED)) == position
        assert await pending(own_bus) > 0
        assert unconfirmed[metrics.TRADES.name] == 500
        assert len(notifier.lines("append_unconfirmed")) == 1
        os.kill(replica.pid, signal.SIGCONT)
        await assert_all_arrived_once_and_in_order(own_bus, upstream)
        figures = await notifier.scrape()
        assert (figures[metrics.TRADES.name], figures[metrics.DUPLICATES.name]) == (1000, 100)

    async def test_a_repetition_over_another_connection_is_confirmed_no_sooner(
        self, replica: EmbeddedValkey, own_valkey: EmbeddedValkey, own_bus: RedisBus
    ) -> None:
        other = RedisBus(own_valkey.url, "other")
        trades = [FeedTrade(UpstreamTrade("1", "BTC", "1", "2", None, 3, None, ()), FEED, "1-0")]
        first, second = (
            Delivery(bus, 1, NotifierSettings(log_replicas=1, log_replicas_ms=50)) for bus in (own_bus, other)
        )
        await first.open(FEED, "1:a")
        os.kill(replica.pid, signal.SIGSTOP)
        assert await first.append(FEED, "1:a", trades) == Appended(1, 0, [LOG])
        assert await second.append(FEED, "1:a", trades) == Appended(0, 0, [LOG])
        os.kill(replica.pid, signal.SIGCONT)
        again = await eventually(lambda: second.append(FEED, "1:a", trades), "confirmed", lambda it: not it.unconfirmed)
        assert again == Appended(0, 0, [])
        await other.close()

    async def test_a_notifier_told_to_stop_meanwhile_leaves_the_rest_to_the_next_one(
        self, replica: EmbeddedValkey, own_bus: RedisBus, own_cluster: Cluster
    ) -> None:
        upstream = Upstream(own_bus)
        first = own_cluster.launch(NOTIFIER)
        await first.logged("lease_acquired")
        os.kill(replica.pid, signal.SIGSTOP)
        await upstream.write(200)
        await first.logged("append_unconfirmed")
        assert await first.stop() == 0
        assert not first.lines("stop_deadline_passed")
        assert await pending(own_bus) > 0
        own_cluster.launch(NOTIFIER)
        os.kill(replica.pid, signal.SIGCONT)
        await assert_all_arrived_once_and_in_order(own_bus, upstream)

    async def test_the_replica_that_takes_over_midway_ends_with_each_trade_once_and_in_order(
        self,
        replica: EmbeddedValkey,
        own_valkey: EmbeddedValkey,
        own_bus: RedisBus,
        own_cluster: Cluster,
        tmp_path: Path,
    ) -> None:
        upstream = Upstream(own_bus)
        await upstream.write(10_000)
        async with own_bus._client.client() as one:
            await one.set("probe", 2)
            assert await one.wait(1, 10_000) == 1  # as an upstream should
        former = own_cluster.launch(NOTIFIER)
        await eventually(lambda: log_length(own_bus), "progress", lambda length: length > 1000)
        own_valkey.kill()
        redis_cli(replica.url, "REPLICAOF NO ONE")
        heir = RedisBus(replica.url, "test")
        assert 0 < await log_length(heir) < 10_000
        (tmp_path / "heir").mkdir()
        with Cluster(replica.url, tmp_path / "heir") as second:
            second.launch(NOTIFIER)
            await assert_all_arrived_once_and_in_order(heir, upstream)
        await heir.close()
        former.kill()
