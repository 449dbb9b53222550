"""Which streams are upstream, told by their names, and never more told by a name."""

import pytest

from shared.bus.redis_bus import RedisBus
from shared.upstream import FIXED_SOURCES, Holds, Source, UpstreamSettings, find_sources, unit_name
from shared.upstream.sources import pick_sources

NAUTILUS = "trader-TESTER-001:stream:data"


@pytest.mark.parametrize(
    ("stream", "holds"),
    [
        ("feed:prices:3", Holds.PRICES),
        ("feed:trades:12", Holds.TRADES),
        ("trades-BINANCE_FUTURES-CTK-USDT-PERP", Holds.TRADES),
        ("ticker-BINANCE-NKN-USDT", Holds.QUOTES),
        (f"{NAUTILUS}.trades.BINANCE.BTCUSDT", Holds.TRADES),
        (f"{NAUTILUS}.quotes.BINANCE.BTCUSDT", Holds.QUOTES),
        ("stream:data.trades.BINANCE.BTCUSDT", Holds.TRADES),
        ("binance", Holds.MIXED),
        ("{real-time}-trades-BINANCE-BTC-USDT", Holds.MIXED),
    ],
)
def test_a_known_name_says_what_may_be_in_a_stream(stream: str, holds: Holds) -> None:
    assert pick_sources([stream], ["binance", "{real-time}-*"]) == [Source(stream, holds)]


@pytest.mark.parametrize(
    "stream",
    [
        "feed:prices:x",
        "feed:prices:",
        "feed:tradesmen",
        "candles-BINANCE-BTC-USDT",
        "book-BINANCE-BTC-USDT",
        "trades_str-BINANCE-BTC-USDT",
        f"{NAUTILUS}.bars.BTCUSDT.BINANCE-1-MINUTE-LAST-EXTERNAL",
        "binance",
        "orders",
    ],
)
def test_any_other_stream_is_left_alone(stream: str) -> None:
    assert pick_sources([stream], []) == []


def test_the_cluster_never_reads_what_it_writes_itself() -> None:
    own = ["log:{trades:0}", "log:{users:3}", "dead:prices", "md:{prices}:x"]
    assert pick_sources([*own, "mine"], ["*"]) == [Source("mine", Holds.MIXED)]


def test_trades_are_looked_for_where_they_may_be() -> None:
    assert {holds: Source("x", holds).may_hold_trades for holds in Holds} == {
        Holds.PRICES: False,
        Holds.TRADES: True,
        Holds.QUOTES: False,
        Holds.MIXED: True,
    }


async def test_one_look_finds_streams_alone_and_the_fixed_ones_before_they_exist(bus: RedisBus) -> None:
    assert await find_sources(bus, UpstreamSettings()) == list(FIXED_SOURCES)
    for stream in ("trades-B-X", "feed:prices:1", "feed:trades", "mine:1", "candles-B-X", "ticker-B-X"):
        await bus.append(stream, [{"a": "b"}], 10)
    await bus._client.zadd("trades-B-ZSET", {"{}": 1.0})
    await bus._client.set("ticker-B-TEXT", "{}")
    await bus._client.xadd(b"trades-\xff", {"a": "b"})
    assert await find_sources(bus, UpstreamSettings(upstream_streams=("mine:*", "absent"))) == [
        *FIXED_SOURCES,
        Source("feed:prices:1", Holds.PRICES),
        Source("mine:1", Holds.MIXED),
        Source("ticker-B-X", Holds.QUOTES),
        Source("trades-B-X", Holds.TRADES),
    ]


@pytest.mark.parametrize(
    ("streams", "unit"),
    [
        (("feed:prices", "feed:trades"), ""),
        (("feed:prices:3", "feed:trades:3"), "3"),
        (("trades-BINANCE-BTC-USDT", "ticker-BINANCE-BTC-USDT"), "BINANCE-BTC-USDT"),
        (
            (f"{NAUTILUS}.trades.BINANCE.BTCUSDT", f"{NAUTILUS}.quotes.BINANCE.BTCUSDT"),
            f"{NAUTILUS}.BINANCE.BTCUSDT",
        ),
        (("stream:data.trades.B.X", "stream:data.quotes.B.X"), "stream:data.B.X"),
        (("binance",), "binance"),
        (("feed:prices:x",), "feed:prices:x"),
        (("trades-",), "trades-"),
    ],
)
def test_streams_of_one_symbol_share_a_unit(streams: tuple[str, ...], unit: str) -> None:
    assert {unit_name(stream) for stream in streams} == {unit}
