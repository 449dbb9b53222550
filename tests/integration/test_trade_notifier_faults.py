"""Replicas that die or freeze, and a Redis that does: no trade lost, none doubled, each symbol in order."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.names import metrics, redis_keys
from tests.support.cluster import Cluster, Service
from tests.support.trade_upstream import (
    FEED,
    Upstream,
    all_done,
    assert_all_arrived_once_and_in_order,
    log_length,
    logged_ids,
    pending,
)
from tests.support.waiting import eventually

NOTIFIER = "trade-notifier"
LEASE = redis_keys.feed_lease(FEED)


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """A server that a test may kill."""
    with EmbeddedValkey(append_only=True) as server:
        yield server


async def write_and_interrupt(bus: RedisBus, upstream: Upstream, interrupt: Callable[[], None]) -> None:
    """Write 3,000 trades and interrupt who does them when some are done, amid a batch."""
    before = await log_length(bus)
    writing = asyncio.get_running_loop().create_task(upstream.write(3000))
    await eventually(lambda: log_length(bus), "trades of this round", lambda length: length > before + 100)
    interrupt()
    await writing


async def notices_that_it_owns_nothing(former: Service) -> None:
    """By the fence, by its lease, or by the silence of Redis, whichever it meets first after waking up."""
    await eventually(former.scrape, "streams owned", lambda found: found[metrics.OWNED_STREAMS.name] == 0)


@pytest.mark.slow
async def test_owners_killed_and_frozen_midway_lose_double_and_reorder_nothing(bus: RedisBus, cluster: Cluster) -> None:
    upstream = Upstream(bus)
    cluster.launch(NOTIFIER)
    cluster.launch(NOTIFIER)
    for _ in range(3):
        victim = await cluster.holder(bus, LEASE)
        await write_and_interrupt(bus, upstream, victim.kill)
        cluster.launch(NOTIFIER)
        # What the dead one had in hand is done by another before the next round begins.
        await all_done(bus)
    frozen = await cluster.holder(bus, LEASE)
    await write_and_interrupt(bus, upstream, frozen.freeze)
    stopped_at = asyncio.get_running_loop().time()
    await upstream.write(3000)
    heir = await owner_other_than(bus, cluster, frozen)
    await upstream.write(3000)
    await asyncio.sleep(max(0.0, stopped_at + 6 - asyncio.get_running_loop().time()))
    frozen.thaw()
    await upstream.write(2000)
    await notices_that_it_owns_nothing(frozen)
    await assert_all_arrived_once_and_in_order(bus, upstream)
    assert upstream.count == 20_000
    assert await cluster.holder(bus, LEASE) is heir


async def owner_other_than(bus: RedisBus, cluster: Cluster, former: Service) -> Service:
    mark = f":{former.instance}".encode()
    await eventually(
        lambda: bus.get(LEASE), "another holder", lambda stamp: stamp is not None and not stamp.endswith(mark)
    )
    return await cluster.holder(bus, LEASE)


@pytest.mark.slow
async def test_a_frozen_owner_cannot_swallow_what_came_while_it_was_waiting_for_news(
    bus: RedisBus, cluster: Cluster
) -> None:
    upstream = Upstream(bus)
    first = cluster.launch(NOTIFIER)
    await first.logged("lease_acquired")
    await upstream.write(10)
    await all_done(bus)
    second = await cluster.start(NOTIFIER)
    first.freeze()  # idle, inside its wait
    await second.logged("lease_acquired")
    for _ in range(10):  # one by one: a reader that still waited at the server would be given the first
        await upstream.write(10)
        await asyncio.sleep(0.01)
    first.thaw()
    await notices_that_it_owns_nothing(first)
    await upstream.write(100)
    await assert_all_arrived_once_and_in_order(bus, upstream)
    assert await cluster.holder(bus, LEASE) is second


async def test_redis_killed_midway_comes_back_from_its_file_and_nothing_is_lost(
    own_valkey: EmbeddedValkey, own_bus: RedisBus, tmp_path: Path
) -> None:
    upstream = Upstream(own_bus)
    with Cluster(own_valkey.url, tmp_path) as cluster:
        notifier = cluster.launch(NOTIFIER)
        cluster.launch(NOTIFIER)
        await notifier.logged("ready")
        for _ in range(2):
            before = await log_length(own_bus)
            await upstream.write(5000)
            await eventually(lambda: log_length(own_bus), "progress", lambda length, b=before: length > b)  # type: ignore[misc]
            own_valkey.kill()
            await notifier.logged("redis_unavailable")
            own_valkey.start()
            await keep_trying("test", own_bus.ping)  # it answers at once, but not before its file is loaded
        await upstream.write(1000)
        await assert_all_arrived_once_and_in_order(own_bus, upstream)
        assert await notifier.stop() == 0


async def test_a_frozen_redis_is_waited_for(own_valkey: EmbeddedValkey, own_bus: RedisBus, tmp_path: Path) -> None:
    upstream = Upstream(own_bus)
    with Cluster(own_valkey.url, tmp_path) as cluster:
        notifier = cluster.launch(NOTIFIER)
        await notifier.logged("lease_acquired")
        await upstream.write(2000)
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            await notifier.logged("redis_unavailable")
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        await upstream.write(2000)
        await assert_all_arrived_once_and_in_order(own_bus, upstream)


async def test_a_full_redis_delays_trades_and_loses_none(
    own_valkey: EmbeddedValkey, own_bus: RedisBus, tmp_path: Path
) -> None:
    upstream = Upstream(own_bus)
    await upstream.write(3000)
    client = own_bus._client
    await client.config_set("maxmemory", "1mb")
    with Cluster(own_valkey.url, tmp_path) as cluster:
        notifier = cluster.launch(NOTIFIER)
        await notifier.logged("redis_unavailable", times=2)
        assert await log_length(own_bus) == 0
        await client.config_set("maxmemory", "0")
        await assert_all_arrived_once_and_in_order(own_bus, upstream)


async def test_a_deleted_group_is_made_again_where_it_was_and_repeats_nothing(bus: RedisBus, cluster: Cluster) -> None:
    upstream = Upstream(bus)
    notifier = cluster.launch(NOTIFIER)
    await upstream.write(500)
    await all_done(bus)
    await bus._client.xgroup_destroy(FEED, redis_keys.TRADE_GROUP)
    await upstream.write(500)
    await notifier.logged("group_made", times=2)
    await assert_all_arrived_once_and_in_order(bus, upstream)
    figures = await notifier.scrape()
    assert figures[metrics.DUPLICATES.name] == 100  # the upstream's own, none from reading anew


async def test_an_emptied_redis_is_taken_as_a_new_beginning(bus: RedisBus, cluster: Cluster) -> None:
    notifier = cluster.launch(NOTIFIER)
    await Upstream(bus).write(100)
    await eventually(lambda: log_length(bus), "trades in the log", lambda length: length == 100)
    await bus._client.flushall()
    upstream = Upstream(bus)
    await upstream.write(100)
    await assert_all_arrived_once_and_in_order(bus, upstream)
    assert notifier.process.poll() is None


async def test_what_upstream_trims_unread_or_pending_is_declared_as_a_gap(bus: RedisBus, cluster: Cluster) -> None:
    upstream = Upstream(bus)
    first = cluster.launch(NOTIFIER)
    await upstream.write(90)
    await all_done(bus)
    assert await first.stop() == 0
    # 300 entries and their 30 repetitions unread: 55 are read and left pending, then all but the newest 40 go.
    await upstream.write(300)
    await bus._client.xreadgroup(redis_keys.TRADE_GROUP, "someone", {FEED: ">"}, count=55)
    await bus._client.xtrim(FEED, maxlen=40, approximate=False)
    second = cluster.launch(NOTIFIER)
    await all_done(bus)
    gaps = [line["entries"] for line in second.lines("upstream_gap")]
    assert gaps == [55, 330 - 55 - 40]
    assert (await second.scrape())[metrics.TRIMMED.name] == 290
    await upstream.write(10)
    ids = sorted(number for ids in (await logged_ids(bus, redis_keys.trade_log, b"s")).values() for number in ids)
    assert ids[:90] == list(range(1, 91))
    await all_done(bus)
    assert len(second.lines("upstream_gap")) == 2
    assert await pending(bus) == 0
