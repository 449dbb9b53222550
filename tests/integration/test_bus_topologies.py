"""The same promises of the bus on every Redis that `REDIS_URL` may name: plain, Sentinel, Cluster, TLS with ACL."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey, server_binary
from shared.bus.entries import PubSubEvent, StreamEnds
from shared.bus.errors import BusDeniedError, BusRefusedError, BusUnavailableError, FencedError, GroupMissingError
from shared.bus.redis_bus import RedisBus
from shared.bus.server_check import check_server
from shared.bus.servers import slot_of
from shared.lease import Lease
from shared.names import redis_keys
from tests.support.redis_node import RedisNode, TlsMissingError, free_ports
from tests.support.redis_topologies import ClusterSet, SentinelSet, TlsServer
from tests.support.tls_files import TlsFiles

LEAST_RIGHTS = "~* &* -@all +@read +@write +@pubsub +@scripting +@connection +time"
"""What README.md of shared/bus says that a user needs."""
SPREAD = [f"s{number}" for number in range(12)]
"""Streams in many slots, some at each of three masters."""


@pytest.fixture(scope="module")
def topologies() -> Iterator[dict[str, str]]:
    """Each kind of Redis once for all the tests here: mode -> URL, started when it is first asked for."""
    with ExitStack() as stack:
        yield _Started(stack)


class _Started(dict[str, str]):
    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, kind: str) -> str:
        if kind == "plain":
            self[kind] = self._stack.enter_context(EmbeddedValkey()).url
        elif kind == "unix":
            directory = Path(self._stack.enter_context(TemporaryDirectory(prefix="tickwire-")))
            socket = directory / "redis.sock"
            node = RedisNode(server_binary(), directory / "data", free_ports(1)[0], [f"unixsocket {socket}"])
            node.start()
            self._stack.callback(node.end)
            self[kind] = f"unix://{socket}"
        elif kind == "sentinel":
            self[kind] = self._stack.enter_context(SentinelSet()).url
        elif kind == "cluster":
            self[kind] = self._stack.enter_context(ClusterSet(1)).url
        else:
            try:
                self[kind] = self._stack.enter_context(TlsServer(LEAST_RIGHTS)).url
            except TlsMissingError as error:
                pytest.skip(str(error))
        return self[kind]


@pytest.fixture(params=["plain", "unix", "sentinel", "cluster", "tls"])
async def any_bus(request: pytest.FixtureRequest, topologies: dict[str, str]) -> AsyncIterator[RedisBus]:
    bus = RedisBus(topologies[request.param], "test")
    yield bus
    await bus.close()


@pytest.fixture
def tag() -> str:
    """What the keys of one test begin with."""
    return uuid4().hex


class TestEveryMode:
    async def test_it_is_what_the_url_says(self, any_bus: RedisBus) -> None:
        await check_server(any_bus)
        await any_bus.ping()

    async def test_messages_of_one_slot_come_in_order_to_a_sharded_subscriber(
        self, any_bus: RedisBus, tag: str
    ) -> None:
        channels = [f"{{{tag}}}:{number}" for number in range(4)]
        pubsub = any_bus.open_pubsub()
        await pubsub.subscribe(channels)
        assert {(await pubsub.receive(5)) for _ in channels} == {PubSubEvent(channel, None) for channel in channels}
        await any_bus.publish((channel, f"{n}".encode()) for n in range(50) for channel in channels)
        got = [await pubsub.receive(5) for _ in range(200)]
        assert got == [PubSubEvent(channel, f"{n}".encode()) for n in range(50) for channel in channels]
        await pubsub.unsubscribe(channels[:1])
        await any_bus.publish([(channels[0], b"left"), (channels[1], b"last")])
        assert await pubsub.receive(5) == PubSubEvent(channels[1], b"last")
        await pubsub.close()

    async def test_what_a_user_publishes_reaches_an_ordinary_subscriber(self, any_bus: RedisBus, tag: str) -> None:
        pubsub = any_bus.open_pubsub(sharded=False)
        await pubsub.subscribe([tag, f"{tag}:other-slot"])
        assert {(await pubsub.receive(5)), (await pubsub.receive(5))} == {
            PubSubEvent(tag, None),
            PubSubEvent(f"{tag}:other-slot", None),
        }
        await any_bus.publish([(tag, b"1"), (f"{tag}:other-slot", b"2")], sharded=False)
        assert {(await pubsub.receive(5)), (await pubsub.receive(5))} == {
            PubSubEvent(tag, b"1"),
            PubSubEvent(f"{tag}:other-slot", b"2"),
        }
        await pubsub.close()

    async def test_values_hashes_and_sets_of_any_slot(self, any_bus: RedisBus, tag: str) -> None:
        for number in range(20):
            key = f"{tag}:{number}"
            assert await any_bus.set_if_absent(key, "a") == b"a"
            assert await any_bus.set_if_absent(key, "b") == b"a"
            await any_bus.hash_set(f"{key}:h", {"x": b"1", "y": b"2"})
            await any_bus.hash_delete(f"{key}:h", ["y"])
            assert await any_bus.hash_all(f"{key}:h") == {b"x": b"1"}
        assert await any_bus.scored([(f"{tag}:none{number}", 1) for number in range(9)]) == [None] * 9

    async def test_a_script_runs_at_the_server_of_its_keys_and_is_fenced_there(
        self, any_bus: RedisBus, tag: str
    ) -> None:
        for number in range(8):
            lease, token = f"{{{tag}{number}}}:lease", f"{{{tag}{number}}}:token"
            assert await any_bus.run_script("acquire_lease", [lease, token], ["me", 10_000, 0]) == 1
            assert await any_bus.run_script("acquire_lease", [lease, token], ["you", 10_000, 0]) == 0
            with pytest.raises(FencedError):
                await any_bus.run_script("append_feed", [lease, f"{{{tag}{number}}}:s"], ["9:me", 10, "d", "x"])

    async def test_streams_of_many_slots_are_read_together(self, any_bus: RedisBus, tag: str) -> None:
        streams = [f"{tag}:{name}" for name in SPREAD]
        assert await any_bus.stream_ends(streams) == dict.fromkeys(streams, StreamEnds(None, "0-0"))
        for stream in streams:
            await any_bus.append(stream, [{"n": str(number)} for number in range(3)], 100)
        found = await any_bus.read(dict.fromkeys(streams, "0-0"), 10, 0)
        assert {stream: [e.fields[b"n"] for e in entries] for stream, entries in found.items()} == {
            stream: [b"0", b"1", b"2"] for stream in streams
        }
        ends = await any_bus.stream_ends(streams)
        assert {stream: end.last for stream, end in ends.items()} == await any_bus.last_ids(streams)
        assert [entry.id for entry in await any_bus.read_back(streams[0], ends[streams[0]].last, 2)] == [
            entry.id for entry in found[streams[0]][1:]
        ]
        assert await any_bus.find_streams(f"{tag}:*") == sorted(streams)
        assert await any_bus.length(streams[3]) == 3

    async def test_a_reader_of_many_slots_is_woken_by_the_first_entry(self, any_bus: RedisBus, tag: str) -> None:
        streams = [f"{tag}:{name}" for name in SPREAD]
        ends = dict.fromkeys(streams, "0-0")
        loop = asyncio.get_running_loop()
        reading = asyncio.ensure_future(any_bus.read(ends, 10, 1500))  # noqa: TID251 - awaited below
        await asyncio.sleep(0.1)
        began = loop.time()
        await any_bus.append(streams[7], [{"a": "1"}], 10)
        assert list(await reading) == [streams[7]]
        assert loop.time() - began < 1
        began = loop.time()
        assert await any_bus.read(dict.fromkeys(streams[:3], "0-0"), 10, 200) == {}
        assert 0.15 < loop.time() - began < 2

    async def test_groups_claim_acknowledge_and_say_how_far_they_are(self, any_bus: RedisBus, tag: str) -> None:
        with pytest.raises(GroupMissingError):
            await any_bus.group_info(tag, "g", 0)
        await any_bus.ensure_group(tag, "g")
        await any_bus.ensure_group(tag, "g")
        await any_bus.append(tag, [{"a": "1"}, {"a": "2"}], 100)
        lease, token = f"{{{tag}}}:lease", f"{{{tag}}}:token"
        assert await any_bus.run_script("acquire_lease", [lease, token], ["me", 10_000, 0]) == 1
        entries, _, _ = await any_bus.run_script("read_group", [lease, tag], ["1:me", "g", "me", 10])
        ids = [entry[0].decode() for entry in entries]
        assert (await any_bus.group_info(tag, "g", 0)).pending == 2
        assert [entry.id for entry in (await any_bus.claim(tag, "g", "you", "0-0", 10))[1]] == ids
        await any_bus.acknowledge(tag, "g", ids)
        assert (await any_bus.group_info(tag, "g", 0)).pending == 0

    async def test_a_lease_is_held_by_one(self, any_bus: RedisBus, tag: str) -> None:
        began = asyncio.Event()

        async def work() -> None:
            began.set()
            await asyncio.Event().wait()

        lease = Lease(any_bus, f"{{{tag}}}", "me")
        holding = asyncio.ensure_future(lease.hold(work))  # noqa: TID251 - cancelled and awaited below
        await asyncio.wait_for(began.wait(), 10)
        stamp = await any_bus.get(f"{{{tag}}}")
        assert stamp is not None
        assert stamp.endswith(b":me")
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding


async def test_replicas_confirm_what_a_script_wrote_on_the_same_connection() -> None:
    with SentinelSet() as redis:
        bus = RedisBus(redis.url, "test")
        keys = ["{k}:lease", "{k}:token"]
        args: list[str | bytes | int] = ["me", 60_000, 0]
        assert await bus.run_script_confirmed("acquire_lease", keys, args, 1, 2000) == (1, 1)
        replica = redis.nodes[1]
        replica.freeze()
        began = asyncio.get_running_loop().time()
        assert await bus.run_script_confirmed("acquire_lease", keys, args, 1, 300) == (2, 0)
        assert 0.25 < asyncio.get_running_loop().time() - began < 2
        replica.resume()
        with pytest.raises(FencedError):
            await bus.run_script_confirmed("append_feed", ["{k}:lease", "{k}:s"], ["9:me", 10, "d", "x"], 1, 300)
        await bus.close()


def test_keys_of_one_step_share_a_slot_and_a_name_without_a_tag_is_hashed_whole() -> None:
    channels = [redis_keys.price_channel(0), redis_keys.chart_channel(7)]
    keys = [*channels, redis_keys.PRICE_POSITIONS, redis_keys.price_snapshot(3), redis_keys.candle_history("A", "1m")]
    assert {slot_of(key) for key in keys} == {slot_of("prices")}
    assert all(redis_keys.is_own(channel) for channel in channels)
    assert slot_of("123456789") == 12739  # the check value of the Redis Cluster specification, 0x31C3
    assert slot_of("a{b}{c}") == slot_of("b")
    assert slot_of("foo{}bar") != slot_of("foo")


class TestSlots:
    async def test_on_one_server_all_streams_are_one_group(self, topologies: dict[str, str]) -> None:
        bus = RedisBus(topologies["plain"], "test")
        assert bus.slot_groups(SPREAD) == [SPREAD]
        assert bus.slot_groups([]) == []
        await bus.close()

    async def test_in_a_cluster_streams_are_grouped_by_slot(self, topologies: dict[str, str]) -> None:
        bus = RedisBus(topologies["cluster"], "test")
        assert bus.slot_groups(["{a}1", "b", "{a}2"]) == [["{a}1", "{a}2"], ["b"]]
        await bus.close()

    async def test_channels_of_two_slots_are_refused_on_one_connection(self, topologies: dict[str, str]) -> None:
        bus = RedisBus(topologies["cluster"], "test")
        pubsub = bus.open_pubsub()
        with pytest.raises(BusRefusedError, match="several slots"):
            await pubsub.subscribe(["a", "b"])
        await pubsub.close()
        await bus.close()

    async def test_a_slot_that_moves_is_followed_by_commands_and_ends_a_subscription(self) -> None:
        with ClusterSet() as redis:
            bus = RedisBus(redis.url, "test")
            await bus.append("{k}:s", [{"a": "1"}], 10)
            pubsub = bus.open_pubsub()
            await pubsub.subscribe(["{k}:c"])
            assert await pubsub.receive(5) == PubSubEvent("{k}:c", None)
            redis.move_slot("{k}:s")
            with pytest.raises(BusUnavailableError):
                await asyncio.wait_for(pubsub.next_event(), 10)
            await pubsub.close()
            await bus.append("{k}:s", [{"a": "2"}], 10)
            assert await bus.length("{k}:s") == 2
            pubsub = bus.open_pubsub()
            await pubsub.subscribe(["{k}:c"])
            assert await pubsub.receive(5) == PubSubEvent("{k}:c", None)
            await bus.publish([("{k}:c", b"here")])
            assert await pubsub.receive(5) == PubSubEvent("{k}:c", b"here")
            await pubsub.close()
            await bus.close()

    async def test_while_a_slot_moves_single_commands_follow_and_what_is_in_two_places_waits(self) -> None:
        with ClusterSet() as redis:
            bus = RedisBus(redis.url, "test")
            await bus.hash_set("{k}:stays", {"a": b"1"})
            _, target = redis.begin_move("{k}:stays")
            assert await bus.get("{k}:new") is None
            await bus.hash_set("{k}:new", {"b": b"2"})
            assert target.ask("CLUSTER", "COUNTKEYSINSLOT", str(slot_of("{k}:new"))) == 1
            assert await bus.hash_all("{k}:stays") == {b"a": b"1"}
            assert await bus.hash_all("{k}:new") == {b"b": b"2"}
            with pytest.raises(BusUnavailableError):
                await bus.run_script("append_feed", ["{k}:stays", "{k}:new"], ["1:me", 10, "d", "x"])
            await bus.close()


@pytest.fixture(scope="module")
def server() -> Iterator[TlsServer]:
    """A server with TLS whose user may do everything."""
    try:
        with TlsServer() as made:
            yield made
    except TlsMissingError as error:
        pytest.skip(str(error))


@pytest.mark.threat("T37")
class TestTls:
    async def test_a_certificate_of_another_authority_is_denied(self, server: TlsServer) -> None:
        others = server.directory / "others"
        others.mkdir()
        files = TlsFiles(others)
        files.write()
        bus = RedisBus(server.url_with(server.PASSWORD, files.ca), "test")
        with pytest.raises(BusDeniedError, match="certificate verify failed"):
            await bus.ping()
        await bus.close()

    async def test_a_wrong_password_is_denied_at_first_and_a_passing_fault_later(self, server: TlsServer) -> None:
        bus = RedisBus(server.url_with("wrong"), "test")
        with pytest.raises(BusDeniedError, match="password"):
            await bus.ping()
        bus.trust()
        with pytest.raises(BusUnavailableError, match="password"):
            await bus.ping()
        await bus.close()

    async def test_a_client_that_does_not_speak_tls_gets_nothing(self, server: TlsServer) -> None:
        bus = RedisBus(f"redis://127.0.0.1:{server.nodes[0].port}", "test")
        with pytest.raises(BusUnavailableError):
            await bus.ping()
        await bus.close()
