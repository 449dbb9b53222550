"""A running trade-notifier keeps both ends to their lengths, and says when a reader keeps it from that."""

import pytest

from shared.bus.redis_bus import RedisBus
from shared.log_readers import LogReaders
from shared.names import metrics, redis_keys
from tests.support.cluster import Cluster
from tests.support.trade_upstream import FEED, Upstream, all_done, logged_ids
from tests.support.waiting import eventually

LIMITS = {"TRADE_LOG_LENGTH": "1000", "UPSTREAM_KEEP_LENGTH": "1000", "TRADE_SHARDS": "1"}
LOG = redis_keys.trade_log(0)
SLACK = 100
"""Entries of one node of a stream: only whole ones go."""


@pytest.mark.slow
async def test_the_feed_and_the_logs_are_trimmed_once_they_are_read_and_never_before(
    bus: RedisBus, cluster: Cluster
) -> None:
    notifier = cluster.launch("trade-notifier", **LIMITS)
    upstream, slow = Upstream(bus), LogReaders(bus, "slow")
    await upstream.write(1500)
    await all_done(bus)
    position = (await bus.read({LOG: "0"}, 200, 0))[LOG][-1].id
    await slow.tell({LOG: position})
    postponed = f'{metrics.TRIM_POSTPONED.name}{{kind="log"}}'
    await eventually(notifier.scrape, "the log is postponed", lambda found: found[postponed] == 1)
    # Nobody reads prices here; until price-ingest is known to be gone, it is one of the feed's readers.
    await notifier.logged("trim_postponed", times=2)
    assert {line["reader"] for line in notifier.lines("trim_postponed")} == {"slow", "price-ingest"}
    assert await bus.length(LOG) >= 1300
    assert await bus.length(FEED) == 1650
    cluster.launch("price-ingest")
    await eventually(lambda: bus.length(FEED), "the feed is trimmed", lambda length: length <= 1000 + SLACK)
    await slow.tell({LOG: (await bus.last_ids([LOG]))[LOG]})
    await eventually(lambda: bus.length(LOG), "the log is trimmed", lambda length: length <= 1000 + SLACK)
    figures = await eventually(notifier.scrape, "nothing is postponed", lambda found: found[postponed] == 0)
    assert figures[metrics.TRIM_UNREAD.name] == 0
    left = {symbol: len(ids) for symbol, ids in (await logged_ids(bus, redis_keys.trade_log, b"s")).items()}
    assert sum(left.values()) >= 1000
