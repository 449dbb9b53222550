"""Whoever may write to Redis is trusted no further than that: it stops no service and reaches no stranger."""

import ast
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pytest

from shared.bus.redis_bus import RedisBus
from shared.bus.redis_client import command
from shared.clock import SystemClock
from shared.messages import MAX_BUS_MESSAGE, DecodeError, decode_price_batch
from shared.names import redis_keys
from tests.support.cluster import Cluster, Service, token
from tests.support.hostile_messages import (
    batches,
    blobs,
    feed_entries,
    near_candles,
    near_prices,
    near_trades,
    running_pickle,
)
from tests.support.source_tree import SOURCES, parse, python_files
from tests.support.waiting import eventually
from tests.support.wire_socket import Json, WireSocket, joined, listening

GOOD: Final = "GOOD"
ROOM_FOR: Final = 400_000_000
"""Bytes by which a service may have grown. One read may bring all the 10 MB entries at once, three times over: as they
came, as objects, and as what the allocator keeps. The server's `proto-max-bulk-len` is what bounds an entry."""

UNSAFE_MODULES: Final = {"pickle", "cPickle", "dill", "marshal", "shelve", "yaml", "jsonpickle", "cloudpickle"}
UNSAFE_CALLS: Final = {"eval", "exec", "compile", "__import__"}


@dataclass
class Witness:
    """A client in the middle of it, and what it was sent."""

    bus: RedisBus
    services: dict[str, Service]
    events: list[list[Json]] = field(default_factory=list)
    last: int = 0

    def __call__(self, *event: Json) -> None:
        """Take one event."""
        self.events.append(list(event))

    def got(self, name: str, **wanted: Json) -> bool:
        """Whether an event with such a payload came."""
        return any(event[0] == name and wanted.items() <= event[1].items() for event in self.events)

    async def good_feed_goes_on(self) -> None:
        """One more price and one more trade arrive."""
        self.last += 1
        number = self.last
        trade = {"symbol": GOOD, "price": f"{number}", "amount": "1", "id": f"good-{number}", "user_id": "alice"}
        await self.bus.append(redis_keys.FEED_TRADES, [trade], 100_000)
        for name in ("trade:new", "trade:notification"):
            await eventually(partial(self.got, name, id=f"good-{number}"), f"{name} {number}")
        await eventually(partial(self.got, "price:update", symbol=GOOD, price=number), f"price {number}")

    def nothing_strange_came(self) -> None:
        """Nothing but the good symbol, and nothing to somebody else."""
        for name, *args in self.events:
            assert name in {"hello", "price:update", "trade:new", "trade:notification", "chart:update"}, (name, args)
            if name != "hello":
                assert args[0]["symbol"] == GOOD
                assert args[0].get("user_id", "alice") == "alice"
            if name.startswith("trade:"):
                assert args[0]["id"].startswith("good-"), args


@asynccontextmanager
async def watching(cluster: Cluster, bus: RedisBus) -> AsyncIterator[Witness]:
    cluster.settings["PRICE_BATCH_AUDIENCE"] = "off"
    names = ("price-ingest", "trade-notifier", "metrics", "gateway")
    await cluster.start(*names)
    services = {service.name: service for service in cluster.services}
    gateway = services["gateway"]
    witness = Witness(bus, services)
    before = {name: service.rss() for name, service in services.items()}
    async with joined(gateway.port, {"token": token("alice", now_ms=SystemClock().now_ms())}) as client:
        assert (await client.call("subscribe:price", [GOOD]))["ok"]
        assert (await client.call("subscribe:trades", [GOOD]))["ok"]
        assert (await client.call("subscribe:chart", GOOD, "1m"))["ok"]
        client.events.clear()
        async with listening(client, witness):
            await witness.good_feed_goes_on()
            yield witness
            await witness.good_feed_goes_on()
            witness.nothing_strange_came()
    for name, service in services.items():
        assert service.process.poll() is None, service.tail()
        await eventually(service.rss, f"{name} is small again", (before[name] + ROOM_FOR).__gt__)
        assert b"Traceback" not in service.log.read_bytes(), service.tail()


async def write(bus: RedisBus, *words: str | bytes | int) -> None:
    await command(bus._client, *words)


async def add(bus: RedisBus, stream: str, fields: Iterable[tuple[str, str | bytes]], entry: str = "*") -> None:
    await write(bus, "XADD", stream, entry, *(word for pair in fields for word in pair))


async def was_refused(bus: RedisBus, dead: str, stream: str) -> bool:
    """Whether one of the last dead letters came from a stream."""
    return any(letter.fields[b"stream"] == stream.encode() for letter in await bus.read_back(dead, "+", 50))


@pytest.mark.threat("T1")
async def test_a_hostile_upstream_stops_nothing_and_reaches_nobody(cluster: Cluster, bus: RedisBus, tmp_path: Path):
    proof = tmp_path / "executed"
    async with watching(cluster, bus) as witness:
        for feed in (redis_keys.FEED_PRICES, redis_keys.FEED_TRADES):
            for entry in feed_entries("EVIL"):
                await add(bus, feed, entry.items())
            for blob in blobs(proof):
                await add(bus, feed, [("symbol", blob[:1_000_000])])
                await add(bus, feed, [("data", blob)])
                await bus.publish([(feed, blob)], sharded=False)
                await bus.publish([(redis_keys.relay_beat(feed), blob)], sharded=False)
            trade = {"symbol": "EVIL", "price": "1", "amount": "1"}
            for number, entry_id in enumerate((f"{2**62}-1", f"{2**64 - 1}-{2**64 - 1}")):
                await add(bus, f"{feed}:{number}", trade.items(), entry_id)
                dead = redis_keys.DEAD_PRICES if feed == redis_keys.FEED_PRICES else redis_keys.DEAD_TRADES
                await eventually(partial(was_refused, bus, dead, f"{feed}:{number}"), "the id is refused")
        await witness.good_feed_goes_on()
        for name in ("price-ingest", "trade-notifier"):
            scraped = await witness.services[name].scrape()
            refused = sum(value for series, value in scraped.items() if "dead_letters_total{" in series)
            assert refused > 20, name
            assert scraped['tickwire_dead_letters_total{reason="time_in_the_future"}'] > 0, name
    assert not proof.exists()


async def forge_publications(bus: RedisBus, proof: Path) -> None:
    epoch = ((await bus.get(redis_keys.PRICE_EPOCH)) or b"").decode()
    shard = redis_keys.shard_of(GOOD, 16)
    charts = [[0, {"1m": [candle]}] for candle in near_candles()]
    for blob in [*blobs(proof), *batches(epoch, list(near_prices()), GOOD)]:
        await bus.publish([(redis_keys.price_channel(shard), blob)])
    for blob in [*blobs(proof), *batches(epoch, charts, GOOD)]:
        await bus.publish([(redis_keys.chart_channel(shard), blob)])
    for blob in [*blobs(proof), b'{"connections":1e999}', b'{"connections":' + b"9" * 5000 + b"}"]:
        await bus.publish([(redis_keys.CLUSTER_METRICS, blob)])


async def forge_state(bus: RedisBus, proof: Path) -> None:
    shard = redis_keys.shard_of(GOOD, 16)
    for number, blob in enumerate([*blobs(proof), *map(msgspec.msgpack.encode, near_prices())]):
        await write(bus, "HSET", redis_keys.price_snapshot(shard), f"EVIL-{number}", blob)
        await write(bus, "HSET", redis_keys.chart_snapshot(shard), f"EVIL-{number}", blob)
        await write(bus, "HSET", redis_keys.SERVICE_REPORTS, blob[:100], blob)
        await write(bus, "HSET", redis_keys.PRICE_POSITIONS, blob[:100], blob[:100])
        await write(bus, "HSET", redis_keys.PRICE_HOMES, blob[:100], blob[:100])
        await write(bus, "XADD", redis_keys.price_forward(number % 16), "*", "t", blob)
        await write(bus, "ZADD", redis_keys.candle_history(GOOD, "1m"), number, blob)
        await write(bus, "HSET", redis_keys.log_readers(redis_keys.trade_log(0)), f"evil-{number}", blob[:100])
    ticks = [["EVIL", 1, price, 5, 5, 5] for price in ("NaN", "x", "1e999")]
    await write(bus, "XADD", redis_keys.price_forward(0), "*", "t", msgspec.msgpack.encode(ticks))


async def forge_logs(bus: RedisBus, proof: Path) -> None:
    for shard in range(4):
        for kind, log in ((b"s", redis_keys.trade_log(shard)), (b"u", redis_keys.user_log(shard))):
            for blob in blobs(proof):
                await add(bus, log, [("d", blob), (kind.decode(), GOOD), ("x", "y")])
                await add(bus, log, [("d", b"\x90"), (kind.decode(), blob[:2000])])
                await add(bus, log, [("x", blob[:100])])
            for trade in near_trades("OTHER"):
                await add(bus, log, [("d", msgspec.msgpack.encode(trade)), ("s", GOOD), ("u", "bob")])
            await add(bus, log, [("d", b"\x90"), ("s", "X"), ("u", "bob")], f"{2**62}-1")


@pytest.mark.threat("T1")
async def test_forged_messages_of_services_are_refused_and_counted(cluster: Cluster, bus: RedisBus, tmp_path: Path):
    proof = tmp_path / "executed"
    async with watching(cluster, bus) as witness:
        await forge_publications(bus, proof)
        await witness.good_feed_goes_on()
        await forge_state(bus, proof)
        await forge_logs(bus, proof)
        await witness.good_feed_goes_on()
        scraped = await witness.services["gateway"].scrape()
        for source in ("prices", "charts", "metrics"):
            assert scraped[f'tickwire_bus_rejected_total{{source="{source}"}}'] > 5, source
        assert scraped["tickwire_log_rejected_total"] > 20
    assert not proof.exists()


@pytest.mark.threat("T1")
async def test_a_forged_session_gives_nobody_another_s_notifications(cluster: Cluster, bus: RedisBus):
    await cluster.start("trade-notifier", "gateway")
    gateway = cluster.services[-1]
    encode = msgspec.msgpack.encode
    forged = [
        encode([1, "sid", "victim", "0-0", {}, {}, [], True]),
        encode([1, "sid", None, "x", {}, {}, []]),
        encode([1, "sid", None, "0-0", {}, {GOOD: "9" * 40}, []]),
        encode([1, "sid", None, "0-0", {"{}": [True, 100]}, {}, []]),
        encode([1, "sid", None, "0-0", {}, {}, [[GOOD, "7w"]]]),
        encode([1, "sid", None, "0-0", {}, {}, [], False, 10**30 % 2**64, []]),
        running_pickle(Path("/nowhere")),
        b"\x91" * 100_000,
    ]
    cursor = await _cursor(gateway)
    for number, record in enumerate(forged):
        pid = f"{number:024}"
        await write(bus, "HSET", redis_keys.session(pid), "o", "x", "u", "", "d", record)
        async with joined(gateway.port, {"pid": pid, "offset": cursor}) as client:
            assert not (await client.call("unsubscribe:price", [GOOD])).get("error")
    assert gateway.process.poll() is None
    assert (await gateway.scrape())['tickwire_bus_rejected_total{source="sessions"}'] == len(forged)


async def _cursor(gateway: Service) -> str:
    from tests.support.wire_client import connect  # noqa: PLC0415

    async with await connect(gateway.port) as wire:
        client = WireSocket(wire)
        client.join()
        return str((await client.next("hello"))[1])


@pytest.mark.threat("T1")
def test_what_is_too_large_is_refused_before_it_is_looked_into():
    with pytest.raises(DecodeError, match="bytes, more than"):
        decode_price_batch(b"\x90" + bytes(MAX_BUS_MESSAGE))


@pytest.mark.threat("T1")
@pytest.mark.parametrize("path", list(python_files(*SOURCES)), ids=str)
def test_no_source_can_run_what_it_reads(path: Path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            assert not {name.name.partition(".")[0] for name in node.names} & UNSAFE_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in UNSAFE_MODULES
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in UNSAFE_CALLS
