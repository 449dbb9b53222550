"""The trade-notifier on what cryptofeed, NautilusTrader and hand-written publishers write: once each, in order."""

import gzip
import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from shared.bus.errors import GroupMissingError
from shared.bus.redis_bus import RedisBus
from shared.messages import Trade, decode_trade
from shared.names import metrics, redis_keys
from shared.upstream import Refusal
from tests.support.cluster import Cluster
from tests.support.recorded_market import recorded
from tests.support.waiting import eventually

NOTIFIER = "trade-notifier"
FEED = redis_keys.FEED_TRADES
SHARDS = 4
Fields = dict[str, str | bytes]


def recording(name: str) -> list[dict[str, Any]]:
    with gzip.open(recorded(f"upstream/{name}-stream-dump.jsonl.gz"), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


async def write(bus: RedisBus, entries: Iterable[tuple[str, Fields]]) -> None:
    """To several streams, as their publishers do: without a limit."""
    async with bus._client.pipeline(transaction=False) as pipe:
        for stream, fields in entries:
            pipe.xadd(stream, fields)  # type: ignore[arg-type]
        await pipe.execute()


async def all_trades(bus: RedisBus) -> list[Trade]:
    found = []
    for shard in range(SHARDS):
        log = redis_keys.trade_log(shard)
        reply = await bus.read({log: "0"}, count=1_000_000, block_ms=0)
        found += [decode_trade(entry.fields[b"d"]) for entry in reply.get(log, [])]
    return found


async def await_trades(bus: RedisBus, count: int) -> list[Trade]:
    return await eventually(lambda: all_trades(bus), "trades in the logs", lambda found: len(found) >= count)


async def all_done(bus: RedisBus, *streams: str) -> None:
    async def unfinished() -> int:
        try:
            infos = [await bus.group_info(stream, redis_keys.TRADE_GROUP, 0) for stream in streams]
        except GroupMissingError:
            return -1
        return sum(info.pending + (info.lag or 0) for info in infos)

    await eventually(unfinished, "entries not done", lambda count: count == 0)


async def test_cryptofeed_s_trades_are_logged_and_its_other_streams_left_alone(bus: RedisBus, cluster: Cluster) -> None:
    entries = [entry for entry in recording("cryptofeed") if entry["type"] == "stream"]
    await write(bus, ((entry["key"], entry["fields"]) for entry in entries))
    notifier = cluster.launch(NOTIFIER)
    written = [entry for entry in entries if entry["key"].startswith("trades-")]
    await all_done(bus, *{entry["key"] for entry in written})
    trades = await all_trades(bus)
    by_symbol: dict[str, list[str]] = {}
    for entry in written:
        by_symbol.setdefault(entry["fields"]["symbol"], []).append(entry["fields"]["id"])
    logged: dict[str, list[str]] = {}
    for trade in trades:
        logged.setdefault(trade.symbol, []).append(trade.id)
    assert logged == by_symbol
    assert Trade("9213679", "LRC-BTC", "177.0", "0.00000638", "buy", 1633998534486, "BINANCE") in trades
    assert await bus.length(redis_keys.DEAD_TRADES) == 0
    streams = len({entry["key"] for entry in written}) + 1
    assert (await notifier.scrape())[metrics.OWNED_STREAMS.name] == streams


async def test_nautilus_streams_and_a_single_one_by_name_give_each_trade_once(bus: RedisBus, cluster: Cluster) -> None:
    entries = recording("nautilus")
    for entry in entries:
        if "payload_hex" in entry:
            entry["fields"]["payload"] = bytes.fromhex(entry["payload_hex"])
    await write(bus, ((entry["key"], entry["fields"]) for entry in entries))
    notifier = cluster.launch(NOTIFIER, UPSTREAM_STREAMS="binance", SYMBOL_TEMPLATE="{venue}:{symbol}")
    trades_stream = "trader-TESTER-001:stream:data.trades.BINANCE.BTCUSDT"
    await all_done(bus, trades_stream, "binance")
    trades = await all_trades(bus)
    assert len(trades) == 10, "the four set-ups tell the same ten"
    assert trades[0] == Trade("3735693016", "BINANCE:BTCUSDT", "0.00017", "61685.99", "sell", 1723161601437, "BINANCE")
    scraped = await notifier.scrape()
    assert scraped[metrics.DUPLICATES.name] == 30
    assert scraped[metrics.NO_TRADES.name] == 22, "quotes and a bar, twice, of the stream that holds all kinds"
    assert await bus.length(redis_keys.DEAD_TRADES) == 0


async def test_a_stream_for_each_of_many_symbols_is_no_burden(bus: RedisBus, cluster: Cluster) -> None:
    count = 150  # more than the connections that the client library allows by itself
    trade: Fields = {"exchange": "B", "side": "buy", "amount": "1.0", "price": "2.0", "id": "None"}
    times: Fields = {"timestamp": "1626992741.421", "receipt_timestamp": "1626992742.2"}
    symbols = [f"S{number}-USDT" for number in range(count)]
    await write(bus, ((f"trades-B-{symbol}", {**trade, **times, "symbol": symbol}) for symbol in symbols))
    notifier = cluster.launch(NOTIFIER)
    trades = await await_trades(bus, count)
    assert sorted(trade.symbol for trade in trades) == sorted(symbols)
    owned = metrics.OWNED_STREAMS.name
    await eventually(notifier.scrape, "streams owned", lambda found: found[owned] == count + 1)
    await write(bus, ((f"trades-B-{symbol}", {**trade, **times, "symbol": symbol}) for symbol in symbols))
    await await_trades(bus, 2 * count)
    assert await notifier.stop() == 0


TRADES = [{"s": "BTC-USDT", "p": 64000.10, "q": 0.5, "t": 1763800000000 + number} for number in range(300)]


@pytest.mark.parametrize("pack", [json.dumps, msgspec.msgpack.encode], ids=["json", "msgpack"])
async def test_an_entry_of_many_trades_without_ids_is_done_once_though_its_readers_die(
    bus: RedisBus, cluster: Cluster, pack: Any
) -> None:
    entries: list[tuple[str, Fields]] = [(FEED, {"data": pack(TRADES)}) for _ in range(20)]
    await write(bus, entries)
    first = cluster.launch(NOTIFIER)
    await eventually(lambda: all_trades(bus), "some trades", lambda found: len(found) > 0)
    first.process.kill()
    cluster.launch(NOTIFIER)
    await write(bus, entries)
    await all_done(bus, FEED)
    trades = await all_trades(bus)
    assert [trade.ts for trade in trades] == [trade["t"] for trade in TRADES] * 40
    assert len({trade.id for trade in trades}) == 300 * 40
    assert {(trade.price, trade.amount) for trade in trades} == {("64000.1", "0.5")}


async def test_bad_payloads_become_dead_letters_with_the_limit_they_passed(bus: RedisBus, cluster: Cluster) -> None:
    good = {"symbol": "X", "price": "1", "amount": "2"}
    bad: list[tuple[Refusal, str, Fields]] = [
        (Refusal.BAD_PAYLOAD, "data", {"data": "{"}),
        (Refusal.PAYLOAD_TOO_LARGE, "payload", {"payload": b"[" + b" " * 70_000 + b"]"}),
        (Refusal.TOO_DEEP, "json", {"json": "[" * 60_000}),
        (Refusal.TOO_MANY_ITEMS, "data", {"data": json.dumps([good] * 1001)}),
        (Refusal.MISSING, "amount", {"data": json.dumps([good, {"symbol": "X", "price": "1"}, good])}),
    ]
    cluster.launch(NOTIFIER)
    await write(bus, ((FEED, fields) for _, _, fields in bad))
    await all_done(bus, FEED)
    letters = (await bus.read({redis_keys.DEAD_TRADES: "0"}, 100, 0))[redis_keys.DEAD_TRADES]
    found = [(letter.fields[b"reason"].decode(), letter.fields[b"field"].decode()) for letter in letters]
    assert found == [(reason, field) for reason, field, _ in bad]
    assert [letter.fields.get(b"limit") for letter in letters] == [None, b"65536", b"4", b"1000", None]
    assert len(await await_trades(bus, 2)) == 2, "the others of the last entry"


async def test_a_wrong_template_is_told_at_the_start(cluster: Cluster) -> None:
    notifier = cluster.launch(NOTIFIER, SYMBOL_TEMPLATE="{exchange}:{symbol}", SYMBOL_ALIASES="XBT")
    assert await notifier.ended() == 2
    said = notifier.log.read_text(encoding="utf-8")
    assert "SYMBOL_TEMPLATE='{exchange}:{symbol}'" in said
    assert "SYMBOL_ALIASES: 'XBT'" in said
