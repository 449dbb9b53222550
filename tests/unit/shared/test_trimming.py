"""Streams are kept to their limits, and no living reader misses an entry."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared import trimming
from shared.bus.redis_bus import RedisBus
from shared.log_readers import LIVE_MS, LogReaders
from shared.names import metrics, redis_keys
from shared.telemetry import Telemetry
from shared.trimming import IDLE_MS, PRICE_READER, Keep, PriceReaders, Trimmer, UpstreamTrimming
from shared.upstream import UpstreamSettings
from tests.support.manual_clock import ManualClock

LOG = redis_keys.trade_log(0)
FEED = redis_keys.FEED_TRADES
GROUP = redis_keys.TRADE_GROUP
NODE = 10
"""Entries of a stream's node: only whole ones are trimmed."""

HOUR = Keep(3_600_000, 1000)
FEW = Keep(3_600_000, 100)


@pytest.fixture
async def bus(bus: RedisBus) -> AsyncIterator[RedisBus]:
    """One whose server has small nodes, so that short streams show what becomes of long ones."""
    usual = (await bus._client.config_get("stream-node-max-entries"))["stream-node-max-entries"]
    await bus._client.config_set("stream-node-max-entries", NODE)
    yield bus
    await bus._client.config_set("stream-node-max-entries", str(usual))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def trimmer(bus: RedisBus, telemetry: Telemetry, clock: ManualClock) -> Trimmer:
    return Trimmer(bus, telemetry, clock)


async def write(bus: RedisBus, stream: str, number: int) -> None:
    await bus.append(stream, [{"n": str(n)} for n in range(number)], 1_000_000)


async def write_old(bus: RedisBus, stream: str, number: int, *, ms: int) -> None:
    """Entries of so many ms ago."""
    seconds, micros = await bus._client.time()
    for _ in range(number):
        await bus._client.xadd(stream, {"n": "old"}, id=f"{seconds * 1000 + micros // 1000 - ms}-*")


async def ids(bus: RedisBus, stream: str) -> list[str]:
    return [entry.id for entry in (await bus.read({stream: "0"}, 1_000_000, 0)).get(stream, [])]


def shown(telemetry: Telemetry, definition: metrics.MetricDef, labels: str = "") -> float:
    lines = telemetry.exposition("")[0].decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{definition.name}{labels} "))


def events(lines: Sequence[Mapping[str, Any]], event: str) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["event"] == event]


class Reader:
    """Reads a log from its beginning at its own pace, and remembers what it saw."""

    def __init__(self, bus: RedisBus, name: str) -> None:
        self._bus = bus
        self._told = LogReaders(bus, name)
        self.position = "0-0"
        self.seen: list[str] = []

    async def tell(self) -> None:
        await self._told.tell({LOG: self.position})

    async def read(self, count: int) -> None:
        found = await self._bus.read({LOG: self.position}, count, 0)
        self.seen += [entry.id for entry in found.get(LOG, [])]
        self.position = self.seen[-1] if self.seen else self.position


class GroupReader:
    """A consumer group that reads at its own pace, and acknowledges at another."""

    def __init__(self, bus: RedisBus, name: str) -> None:
        self._bus = bus
        self.name = name
        self.in_hand: list[str] = []
        self.seen: list[str] = []

    @property
    def position(self) -> str:
        """Its oldest pending entry, or the last one that it was given."""
        return self.in_hand[0] if self.in_hand else self.seen[-1]

    async def read(self, count: int, keep: int) -> None:
        await self._bus._client.xreadgroup(self.name, "c", {LOG: ">"}, count=count)
        _, entries, trimmed = await self._bus.claim(LOG, self.name, "c", "0-0", 1_000_000)
        assert trimmed == 0
        self.in_hand = [entry.id for entry in entries]
        done, self.in_hand = self.in_hand[: -keep or None], self.in_hand[-keep:] if keep else []
        if done:
            await self._bus.acknowledge(LOG, self.name, done)
            self.seen += done


@pytest.mark.parametrize("seed", range(6))
async def test_readers_of_any_pace_see_every_entry_while_the_stream_is_trimmed_under_them(
    bus: RedisBus, trimmer: Trimmer, seed: int
) -> None:
    chance = random.Random(seed)
    limit = chance.choice([1, 30, 200])
    await bus._client.xgroup_create(LOG, "g", "0", mkstream=True)
    readers, group = [Reader(bus, f"r{n}") for n in range(3)], GroupReader(bus, "g")
    written: list[str] = []
    for _ in range(30):
        await write(bus, LOG, chance.randint(1, 60))
        written += [entry_id for entry_id in await ids(bus, LOG) if entry_id not in written]
        for reader in readers:
            await reader.read(chance.choice([1, 20, 300]))
            await reader.tell()
        await group.read(chance.choice([1, 30, 300]), keep=chance.choice([0, 1, 40]))
        await trimmer.trim_log(LOG, Keep(3_600_000, limit))
        slowest = min(written.index(position) for position in (group.position, *(r.position for r in readers)))
        assert await bus.length(LOG) <= max(limit, len(written) - slowest) + NODE
    for reader in readers:
        await reader.read(1_000_000)
        assert reader.seen == written
    await group.read(1_000_000, keep=0)
    assert group.seen == written


async def test_without_readers_a_stream_is_cut_to_its_length(
    bus: RedisBus, trimmer: Trimmer, telemetry: Telemetry
) -> None:
    await write(bus, LOG, 5000)
    before = await ids(bus, LOG)
    await trimmer.trim_log(LOG, FEW)
    after = await ids(bus, LOG)
    assert after == before[-len(after) :]
    assert 100 <= len(after) < 100 + NODE
    assert shown(telemetry, metrics.TRIM_ENTRIES, '{kind="log"}') == 5000 - len(after)
    assert shown(telemetry, metrics.TRIM_POSTPONED, '{kind="log"}') == 0


async def test_what_is_old_goes_but_for_the_entry_that_was_the_last_when_the_window_began(
    bus: RedisBus, trimmer: Trimmer
) -> None:
    await bus._client.config_set("stream-node-max-entries", 1)
    await write_old(bus, LOG, 30, ms=HOUR.ms + 60_000)
    await write_old(bus, LOG, 3, ms=HOUR.ms - 60_000)
    before = await ids(bus, LOG)
    await trimmer.trim_log(LOG, HOUR)
    assert await ids(bus, LOG) == before[29:]


async def test_an_idle_stream_keeps_its_newest_entry_however_old(bus: RedisBus, trimmer: Trimmer) -> None:
    await bus._client.config_set("stream-node-max-entries", 1)
    await write_old(bus, LOG, 5, ms=10 * HOUR.ms)
    before = await ids(bus, LOG)
    await trimmer.trim_log(LOG, HOUR)
    assert await ids(bus, LOG) == before[-1:]
    await trimmer.trim_log("log:{absent}", HOUR)
    assert await bus.length("log:{absent}") == 0


async def test_a_reader_that_is_behind_postpones_and_is_named_once_a_minute(
    bus: RedisBus, trimmer: Trimmer, telemetry: Telemetry, clock: ManualClock
) -> None:
    await write(bus, LOG, 500)
    position = (await ids(bus, LOG))[49]
    await LogReaders(bus, "slow").tell({LOG: position})
    await LogReaders(bus, "quick").tell({LOG: (await ids(bus, LOG))[499]})
    with capture_logs() as lines:
        for _ in range(3):
            await trimmer.trim_log(LOG, FEW)
        (line,) = events(lines, "trim_postponed")
        assert (line["reader"], line["stream"], line["position"]) == ("slow", LOG, position)
        assert line["entries"] == await bus.length(LOG)
        clock.seconds += 61
        await trimmer.trim_log(LOG, FEW)
        assert len(events(lines, "trim_postponed")) == 2
    assert (await ids(bus, LOG))[9] == position  # its own node stays whole
    assert shown(telemetry, metrics.TRIM_POSTPONED, '{kind="log"}') == 1
    await LogReaders(bus, "slow").leave([LOG])
    await trimmer.trim_log(LOG, FEW)
    assert shown(telemetry, metrics.TRIM_POSTPONED, '{kind="log"}') == 0
    assert await bus.length(LOG) < 100 + NODE


async def test_a_stream_that_is_another_one_s_to_trim_is_postponed_here_no_more(
    bus: RedisBus, trimmer: Trimmer, telemetry: Telemetry
) -> None:
    await write(bus, LOG, 500)
    await LogReaders(bus, "slow").tell({LOG: "0-0"})
    await trimmer.trim_log(LOG, FEW)
    trimmer.forget(LOG)
    assert shown(telemetry, metrics.TRIM_POSTPONED, '{kind="log"}') == 0


@pytest.mark.parametrize("word", [f"{{now-{LIVE_MS + 1000}}} 5-0", "nonsense", "5-0", "12 x"])
async def test_a_reader_that_died_or_spoke_nonsense_holds_nothing_and_is_forgotten(
    bus: RedisBus, trimmer: Trimmer, word: str
) -> None:
    seconds, _ = await bus._client.time()
    word = word.replace(f"{{now-{LIVE_MS + 1000}}}", str(seconds * 1000 - LIVE_MS - 1000))
    await bus.hash_set(redis_keys.log_readers(LOG), {"dead": word.encode()})
    await write(bus, LOG, 500)
    await trimmer.trim_log(LOG, FEW)
    assert await bus.length(LOG) < 100 + NODE
    assert await bus.hash_all(redis_keys.log_readers(LOG)) == {}


async def test_a_position_ahead_of_the_stream_is_one_that_begins_anew(bus: RedisBus, trimmer: Trimmer) -> None:
    await write(bus, LOG, 500)
    await LogReaders(bus, "lost").tell({LOG: "9999999999999-0"})
    await trimmer.trim_log(LOG, FEW)
    assert await bus.length(LOG) == 500


async def test_ids_are_compared_to_the_last_of_their_64_bits(bus: RedisBus, trimmer: Trimmer) -> None:
    await bus._client.config_set("stream-node-max-entries", 1)
    made = [f"{2**53 + n // 3}-{2**64 - 3 + n % 3}" for n in range(12)]
    for entry_id in made:
        await bus._client.xadd(LOG, {"n": "1"}, id=entry_id)
    await LogReaders(bus, "one").tell({LOG: made[4]})
    await trimmer.trim_log(LOG, Keep(3_600_000, 7))  # as far as made[5], which is the same to a float
    assert await ids(bus, LOG) == made[4:]


async def test_what_the_fuse_cut_unread_is_told_once_for_each_reader(
    bus: RedisBus, trimmer: Trimmer, telemetry: Telemetry
) -> None:
    await write(bus, LOG, 500)
    position = (await ids(bus, LOG))[100]
    await LogReaders(bus, "slow").tell({LOG: position})
    await LogReaders(bus, "quick").tell({LOG: (await ids(bus, LOG))[450]})
    await bus._client.xtrim(LOG, maxlen=200, approximate=False)
    with capture_logs() as lines:
        for _ in range(3):
            await trimmer.trim_log(LOG, HOUR)
    (line,) = events(lines, "unread_entries_trimmed")
    assert (line["reader"], line["stream"], line["position"]) == ("slow", LOG, position)
    assert shown(telemetry, metrics.TRIM_UNREAD) == 1
    await LogReaders(bus, "slow").tell({LOG: (await ids(bus, LOG))[-1]})
    await trimmer.trim_log(LOG, HOUR)
    assert shown(telemetry, metrics.TRIM_UNREAD) == 1


class TestUpstream:
    async def test_the_notifiers_group_counts_though_nobody_reads_and_though_it_is_gone(
        self, bus: RedisBus, trimmer: Trimmer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trimming, "IDLE_MS", -1)  # nobody is active
        await write(bus, FEED, 500)
        with capture_logs() as lines:
            await trimmer.trim_upstream(FEED, FEW, GROUP, {})
            assert await bus.length(FEED) == 500
            await bus.ensure_group(FEED, GROUP)
            await bus._client.xreadgroup(GROUP, "owner", {FEED: ">"}, count=300)
            await bus.acknowledge(FEED, GROUP, (await ids(bus, FEED))[:250])
            await trimmer.trim_upstream(FEED, FEW, GROUP, {})
        assert await bus.length(FEED) == 250
        assert [line["reader"] for line in events(lines, "trim_postponed")] == [GROUP]

    async def test_another_group_counts_while_it_is_active_from_its_oldest_pending_entry(
        self, bus: RedisBus, trimmer: Trimmer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await write(bus, FEED, 500)
        await bus.ensure_group(FEED, "theirs")
        await bus.ensure_group(FEED, "never-read")
        await bus._client.xreadgroup("theirs", "c", {FEED: ">"}, count=400)
        await bus.acknowledge(FEED, "theirs", (await ids(bus, FEED))[:120])
        await trimmer.trim_upstream(FEED, FEW, "", {})
        assert await bus.length(FEED) == 380
        monkeypatch.setattr(trimming, "IDLE_MS", -1)
        await trimmer.trim_upstream(FEED, FEW, "", {})
        assert await bus.length(FEED) < 100 + NODE

    async def test_a_pending_entry_that_others_trimmed_holds_nothing(self, bus: RedisBus, trimmer: Trimmer) -> None:
        await write(bus, FEED, 500)
        await bus.ensure_group(FEED, "theirs")
        await bus._client.xreadgroup("theirs", "c", {FEED: ">"}, count=500)
        await bus.acknowledge(FEED, "theirs", (await ids(bus, FEED))[1:])
        await bus._client.xtrim(FEED, maxlen=400, approximate=False)
        await trimmer.trim_upstream(FEED, FEW, "", {})
        assert await bus.length(FEED) < 100 + NODE

    @pytest.mark.parametrize(
        ("which", "wanted"),
        [("feed", [FEED, f"{FEED}:3", redis_keys.FEED_PRICES]), ("off", []), ("all", ["trades-x", FEED])],
    )
    async def test_the_setting_says_which_streams(
        self, bus: RedisBus, trimmer: Trimmer, which: Any, wanted: list[str]
    ) -> None:
        made = UpstreamTrimming(trimmer, UpstreamSettings(upstream_trim=which, upstream_keep_length=100))
        for stream in ("trades-x", FEED):
            await write(bus, stream, 500)
            await made.trim(stream, "", {})
            assert (await bus.length(stream) < 200) is (stream in wanted)
        assert all(made.wants(stream) for stream in wanted)


class TestPriceReaders:
    async def test_it_is_as_far_as_the_older_of_its_positions(self, bus: RedisBus, clock: ManualClock) -> None:
        readers = PriceReaders(bus, "me", clock)
        assert readers.positions(FEED) == {PRICE_READER: "0-0"}
        await bus.hash_set(redis_keys.PRICE_POSITIONS, {FEED: b"10-0", "one-lane": b"5-0"})
        await bus.hash_set(redis_keys.CHART_POSITIONS, {FEED: b"9-0"})
        await readers.look()
        assert readers.positions(FEED) == {PRICE_READER: "9-0"}
        assert readers.positions("one-lane") == {PRICE_READER: "0-0"}

    async def test_it_counts_until_no_replica_of_it_was_seen_for_long(self, bus: RedisBus, clock: ManualClock) -> None:
        readers = PriceReaders(bus, "me", clock)
        await bus.run_script("count_replicas", [redis_keys.PRICE_REPLICAS], ["price-ingest-1", 60_000])
        clock.seconds += IDLE_MS / 1000 + 1
        await readers.look()
        assert readers.positions(FEED) != {}
        await bus.run_script("count_replicas", [redis_keys.PRICE_REPLICAS], ["price-ingest-1", 0])
        clock.seconds += IDLE_MS / 1000 - 1
        await readers.look()
        assert readers.positions(FEED) != {}
        clock.seconds += 2
        await readers.look()
        assert readers.positions(FEED) == {}
        assert await bus._client.exists(redis_keys.PRICE_REPLICAS) == 0
