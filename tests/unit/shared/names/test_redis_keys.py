"""Redis keys and shards."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.names import redis_keys
from shared.names.redis_keys import is_partition, shard_of


def hash_tag(key: str) -> str:
    """What Redis Cluster hashes of a key."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return tag if opened and closed and tag else key


@pytest.mark.parametrize(
    ("name", "shards", "shard"),
    [("BTC-USDT", 16, 15), ("ETH-USDT", 16, 5), ("BTC-USDT", 4, 3), ("ann", 4, 3), ("", 16, 0)],
)
def test_the_shard_of_a_name_never_changes_between_releases(name: str, shards: int, shard: int):
    assert shard_of(name, shards) == shard


@given(st.text(max_size=40), st.integers(1, 1024))
def test_every_name_has_a_shard(name: str, shards: int):
    assert 0 <= shard_of(name, shards) < shards


def test_symbols_spread_evenly():
    counts = Counter(shard_of(f"SYM{number}-USDT", 16) for number in range(1600))
    assert len(counts) == 16
    assert max(counts.values()) < 2 * 100


def test_keys_that_one_atomic_step_touches_share_a_slot():
    prices = {redis_keys.PRICE_POSITIONS, redis_keys.PRICE_EPOCH, redis_keys.PRICE_LEASE}
    prices |= {f"{redis_keys.PRICE_LEASE}:token"} | {redis_keys.price_snapshot(shard) for shard in range(16)}
    assert len({hash_tag(key) for key in prices}) == 1
    log = redis_keys.trade_log(3)
    assert hash_tag(log) == hash_tag(redis_keys.log_seen(log)) == hash_tag(redis_keys.log_fences(log))
    stream = redis_keys.FEED_TRADES
    assert hash_tag(redis_keys.feed_lease(stream)) == hash_tag(redis_keys.feed_position(stream)) == stream


def test_different_shards_have_different_keys():
    for make in (redis_keys.price_channel, redis_keys.price_snapshot, redis_keys.trade_log, redis_keys.user_log):
        assert len({make(shard) for shard in range(64)}) == 64


@pytest.mark.parametrize(
    ("stream", "answer"),
    [
        ("feed:trades:0", True),
        ("feed:trades:12", True),
        ("feed:trades", False),
        ("feed:trades:", False),
        ("feed:trades:a", False),
        ("feed:trades:1:2", False),
        ("feed:trades:\u0661", False),
        ("feed:prices:1", False),
    ],
)
def test_a_partition_is_the_feeds_name_and_a_number(stream: str, answer: bool):  # noqa: FBT001 - a parameter
    assert is_partition(stream, redis_keys.FEED_TRADES) is answer
