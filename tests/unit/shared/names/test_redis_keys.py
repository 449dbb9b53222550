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
    prices = {redis_keys.PRICE_POSITIONS, redis_keys.CHART_POSITIONS, redis_keys.PRICE_EPOCH, redis_keys.PRICE_HOMES}
    prices |= {redis_keys.price_snapshot(shard) for shard in range(16)}
    prices |= {redis_keys.chart_snapshot(shard) for shard in range(16)} | {redis_keys.candle_history("X", "1m")}
    for unit in range(redis_keys.PRICE_UNITS):
        lease = redis_keys.price_lease(unit)
        prices |= {lease, f"{lease}:token", redis_keys.price_forward(unit)}
    assert len({hash_tag(key) for key in prices}) == 1
    log = redis_keys.trade_log(3)
    assert hash_tag(log) == hash_tag(redis_keys.log_seen(log)) == hash_tag(redis_keys.log_fences(log))
    stream = redis_keys.FEED_TRADES
    assert hash_tag(redis_keys.feed_lease(stream)) == hash_tag(redis_keys.feed_position(stream)) == stream


@given(st.text(st.characters(codec=None), max_size=128))
def test_nothing_of_a_user_id_is_part_of_its_key(user_id: str):
    key = redis_keys.user_open(user_id)
    slots = {f"users-open:{slot}" for slot in range(redis_keys.USER_SLOTS)}
    assert hash_tag(key) in slots
    assert len(key.rpartition(":")[2]) == 32
    assert set(key.rpartition(":")[2]) <= set("0123456789abcdef")


def test_different_shards_have_different_keys():
    for make in (
        redis_keys.price_channel,
        redis_keys.price_snapshot,
        redis_keys.price_lease,
        redis_keys.price_forward,
        redis_keys.chart_channel,
        redis_keys.chart_snapshot,
        redis_keys.trade_log,
        redis_keys.user_log,
    ):
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


@pytest.mark.parametrize(
    "stream", ["feed:trades", "feed:trades:3", "{real-time}-trades-BINANCE-BTC-USDT", "a{b", "trades-X{Y}Z{W}"]
)
def test_what_belongs_to_a_stream_shares_its_slot_whatever_its_name(stream: str):
    keys = {redis_keys.feed_lease(stream), redis_keys.feed_position(stream), redis_keys.relay_lease(stream)}
    assert len(keys) == 3
    assert {hash_tag(key) for key in keys} == {hash_tag(stream)}


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        ("trades-BINANCE-BTC-USDT", "BINANCE-BTC-USDT"),
        ("ticker-BINANCE-BTC-USDT", "BINANCE-BTC-USDT"),
        ("me:stream:data.trades.B.X", "me:stream:data.B.X"),
        ("stream:data.quotes.B.X", "stream:data.B.X"),
        ("candles-BINANCE-BTC-USDT", "candles-BINANCE-BTC-USDT"),
        ("ticker-", "ticker-"),
    ],
)
def test_a_foreign_stream_s_name_can_be_had_without_its_kind(stream: str, rest: str):
    assert redis_keys.without_kind(stream) == rest


def test_the_cluster_knows_its_own_keys():
    own = [redis_keys.trade_log(0), redis_keys.DEAD_TRADES, redis_keys.PRICE_EPOCH, redis_keys.SERVICE_REPORTS]
    assert all(redis_keys.is_own(key) for key in own)
    assert not any(redis_keys.is_own(key) for key in (redis_keys.FEED_TRADES, "trades-B-X", "log"))
