"""What the services ask of Redis, on a real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.bus import redis_client
from shared.bus.entries import PubSubEvent, StreamEnds, StreamEntry, parse_entries
from shared.bus.errors import BusRefusedError, BusUnavailableError, FencedError, GroupMissingError
from shared.bus.redis_bus import RedisBus
from shared.bus.redis_pubsub import RedisPubSub

Call = Callable[[RedisBus], Awaitable[object]]

READS: dict[str, Call] = {
    "ping": lambda bus: bus.ping(),
    "get": lambda bus: bus.get("key"),
    "hash_all": lambda bus: bus.hash_all("key"),
    "read": lambda bus: bus.read({"stream": "0-0"}, 10, 50),
    "stream_ends": lambda bus: bus.stream_ends(["stream", "other"]),
    "find_streams": lambda bus: bus.find_streams("*"),
    "length": lambda bus: bus.length("stream"),
}
WRITES: dict[str, Call] = {
    "publish": lambda bus: bus.publish([("channel", b"x")]),
    "run_script": lambda bus: bus.run_script("acquire_lease", ["{k}", "{k}:t"], ["me", 1000, 0]),
    "set_if_absent": lambda bus: bus.set_if_absent("key", "value"),
    "hash_set": lambda bus: bus.hash_set("hash", {"a": b"1"}),
    "hash_delete": lambda bus: bus.hash_delete("hash", ["a"]),
    "append": lambda bus: bus.append("stream", [{"a": "1"}], 10),
    "ensure_group": lambda bus: bus.ensure_group("stream", "group"),
}
ALL = READS | WRITES


async def add(bus: RedisBus, entry_id: str, fields: Mapping[str, str | bytes], stream: str = "s") -> None:
    await bus._client.xadd(stream, dict(fields), id=entry_id)  # type: ignore[arg-type]  # the library's invariant dict


async def deliver(bus: RedisBus, count: int, consumer: str = "dead") -> None:
    """Read entries as a consumer that never acknowledges them."""
    await bus._client.xreadgroup("g", consumer, {"s": ">"}, count=count)


class TestKeysAndHashes:
    async def test_a_value_that_is_not_there_is_none(self, bus: RedisBus):
        assert await bus.get("nothing") is None

    async def test_the_first_value_stands(self, bus: RedisBus):
        assert await bus.set_if_absent("key", "first") == b"first"
        assert await bus.set_if_absent("key", "second") == b"first"
        assert await bus.get("key") == b"first"

    async def test_fields_of_a_hash_are_set_read_and_deleted(self, bus: RedisBus):
        assert await bus.hash_all("h") == {}
        await bus.hash_set("h", {"a": b"\xff\x00", "b": b"2"})
        assert await bus.hash_all("h") == {b"a": b"\xff\x00", b"b": b"2"}
        await bus.hash_delete("h", ["a", "missing"])
        assert await bus.hash_all("h") == {b"b": b"2"}


class TestScripts:
    async def test_a_script_runs_and_returns_what_it_returns(self, bus: RedisBus):
        assert await bus.run_script("acquire_lease", ["k", "k:t"], ["me", 1000, 0]) == 1
        assert await bus.run_script("acquire_lease", ["k", "k:t"], ["other", 1000, 0]) == 0

    async def test_a_script_that_the_server_forgot_is_sent_again(self, bus: RedisBus):
        await bus.run_script("acquire_lease", ["k", "k:t"], ["me", 1000, 0])
        await bus._client.script_flush()
        assert await bus.run_script("acquire_lease", ["k", "k:t"], ["me", 1000, 1]) == 1

    async def test_a_script_that_finds_a_newer_holder_raises_fenced(self, bus: RedisBus):
        await bus._client.set("lease", "2:other")
        with pytest.raises(FencedError):
            await bus.run_script("commit_prices", ["lease", "epoch", "at"], ["1:me", "", "e", 0])


class TestStreams:
    async def test_entries_come_after_the_position_and_in_order(self, bus: RedisBus):
        await bus.append("s", [{"n": str(number), "raw": b"\xff"} for number in range(5)], 100)
        entries = (await bus.read({"s": "0-0"}, 100, 0))["s"]
        assert [entry.fields[b"n"] for entry in entries] == [b"0", b"1", b"2", b"3", b"4"]
        assert entries[0].fields[b"raw"] == b"\xff"
        assert (await bus.read({"s": entries[2].id}, 1, 0))["s"] == entries[3:4]
        assert await bus.read({"s": entries[-1].id}, 100, 0) == {}

    async def test_entries_between_two_ids_come_in_order_without_the_first_one(self, bus: RedisBus):
        for number in range(1, 6):
            await add(bus, f"{number}-0", {"n": str(number)})
        found = await bus.read_between("s", "1-0", "4-0", 2)
        assert found == [StreamEntry("2-0", {b"n": b"2"}), StreamEntry("3-0", {b"n": b"3"})]
        assert [entry.id for entry in await bus.read_between("s", "3-0", f"4-{2**64 - 1}", 9)] == ["4-0"]
        assert await bus.read_between("nothing", "0-0", "9-0", 9) == []

    async def test_several_streams_are_read_together_and_an_absent_one_is_left_out(self, bus: RedisBus):
        await add(bus, "1-0", {"a": "1"}, "s")
        await add(bus, "2-0", {"b": "2"}, "t")
        assert await bus.read({"s": "0-0", "t": "0-0", "absent": "0-0"}, 10, 0) == {
            "s": [StreamEntry("1-0", {b"a": b"1"})],
            "t": [StreamEntry("2-0", {b"b": b"2"})],
        }

    async def test_a_blocking_read_returns_when_something_comes_and_at_the_latest_after_its_time(self, bus: RedisBus):
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await bus.read({"s": "0-0"}, 10, 100) == {}
        assert loop.time() - began >= 0.09
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(bus.read({"s": "0-0"}, 10, 10_000))
            await asyncio.sleep(0.05)
            await bus.append("s", [{"a": "1"}], 10)
        assert len(reading.result()["s"]) == 1

    async def test_a_stream_is_trimmed_to_about_its_length(self, bus: RedisBus):
        for _ in range(10):
            await bus.append("s", [{"a": "1"}] * 100, 100)
        assert 100 <= await bus.length("s") <= 300
        assert await bus.length("absent") == 0

    async def test_the_ends_of_a_stream_outlive_its_entries(self, bus: RedisBus):
        for entry_id in ("1-0", "2-0", "3-0"):
            await add(bus, entry_id, {"a": "1"})
        assert await bus.stream_ends(["s", "absent"]) == {
            "s": StreamEnds("1-0", "3-0"),
            "absent": StreamEnds(None, "0-0"),
        }
        await bus._client.xtrim("s", maxlen=1, approximate=False)
        assert (await bus.stream_ends(["s"]))["s"] == StreamEnds("3-0", "3-0", trimmed=True)
        await bus._client.xtrim("s", maxlen=0, approximate=False)
        assert (await bus.stream_ends(["s"]))["s"] == StreamEnds(None, "3-0", trimmed=True)
        assert await bus.last_ids(["s", "absent"]) == {"s": "3-0", "absent": "0-0"}

    async def test_streams_are_found_by_pattern_in_order_and_nothing_but_streams(self, bus: RedisBus):
        for name in ("feed:b", "feed:a", "other"):
            await add(bus, "1-0", {"a": "1"}, name)
        await bus.hash_set("feed:hash", {"a": b"1"})
        assert await bus.find_streams("feed:*") == ["feed:a", "feed:b"]

    def test_entries_of_a_script_may_have_lost_their_fields(self):
        reply = [[b"1-0", [b"a", b"1", b"b", b"2"]], [b"2-0", None]]
        assert parse_entries(reply) == [StreamEntry("1-0", {b"a": b"1", b"b": b"2"}), StreamEntry("2-0", {})]


class TestGroups:
    async def test_making_a_group_twice_is_harmless_and_makes_the_stream(self, bus: RedisBus):
        await bus.ensure_group("s", "g")
        await bus.ensure_group("s", "g")
        info = await bus.group_info("s", "g", 0)
        assert (info.length, info.pending, info.oldest_pending_ms) == (0, 0, 0)

    async def test_it_tells_what_is_not_read_and_what_is_not_done(self, bus: RedisBus):
        await bus.ensure_group("s", "g")
        for number in range(1, 6):
            await add(bus, f"{number}000-0", {"a": "1"})
        await deliver(bus, 2)
        info = await bus.group_info("s", "g", 5000)
        assert (info.length, info.lag, info.pending, info.oldest_pending_ms) == (5, 3, 2, 4000)
        await bus.acknowledge("s", "g", ["1000-0", "2000-0"])
        assert (await bus.group_info("s", "g", 5000)).pending == 0

    async def test_pending_entries_of_the_dead_are_claimed_and_trimmed_ones_are_counted(self, bus: RedisBus):
        await bus.ensure_group("s", "g")
        for number in range(1, 5):
            await add(bus, f"{number}-0", {"n": str(number)})
        await deliver(bus, 4)
        await bus._client.xtrim("s", maxlen=3, approximate=False)
        following, entries, trimmed = await bus.claim("s", "g", "alive", "0-0", 2)
        rest = await bus.claim("s", "g", "alive", following, 10)
        assert [entry.id for entry in entries + rest[1]] == ["2-0", "3-0", "4-0"]
        assert trimmed + rest[2] == 1
        assert rest[0] == "0-0"

    @pytest.mark.parametrize("made", [False, True])
    async def test_a_group_that_is_gone_is_told_apart(self, bus: RedisBus, made: bool):  # noqa: FBT001 - a parameter
        if made:
            await add(bus, "1-0", {"a": "1"})
        with pytest.raises(GroupMissingError):
            await bus.group_info("s", "g", 0)
        with pytest.raises(GroupMissingError):
            await bus.claim("s", "g", "me", "0-0", 10)


class TestPubSub:
    @pytest.fixture
    async def pubsub(self, bus: RedisBus) -> AsyncIterator[RedisPubSub]:
        made = bus.open_pubsub()
        yield made
        await made.close()

    async def test_a_subscription_is_confirmed_then_messages_come(self, bus: RedisBus, pubsub: RedisPubSub):
        await pubsub.subscribe(["a"])
        assert await pubsub.receive(5) == PubSubEvent("a", None)
        await bus.publish([("a", b"\xff"), ("b", b"no"), ("a", b"2")])
        assert await pubsub.receive(5) == PubSubEvent("a", b"\xff")
        assert await pubsub.receive(5) == PubSubEvent("a", b"2")
        assert await pubsub.receive(0.05) is None

    async def test_a_channel_that_was_left_is_silent(self, bus: RedisBus, pubsub: RedisPubSub):
        await pubsub.subscribe(["a", "b"])
        assert {await pubsub.receive(5), await pubsub.receive(5)} == {PubSubEvent("a", None), PubSubEvent("b", None)}
        await pubsub.unsubscribe(["a"])
        assert await pubsub.receive(0.2) is None
        await bus.publish([("a", b"1"), ("b", b"2")])
        assert await pubsub.receive(5) == PubSubEvent("b", b"2")

    async def test_events_come_in_order_however_long_they_take(self, bus: RedisBus, pubsub: RedisPubSub):
        await pubsub.subscribe(["a"])
        assert await pubsub.next_event() == PubSubEvent("a", None)
        first = asyncio.ensure_future(pubsub.next_event())  # noqa: TID251 - awaited below
        await asyncio.sleep(0)
        assert not first.done()
        await bus.publish([("a", b"1"), ("a", b"2")])
        assert await asyncio.wait_for(first, 10) == PubSubEvent("a", b"1")
        assert await asyncio.wait_for(pubsub.next_event(), 10) == PubSubEvent("a", b"2")

    async def test_leaving_a_channel_is_no_event(self, bus: RedisBus, pubsub: RedisPubSub):
        await pubsub.subscribe(["a", "b"])
        assert {(await pubsub.next_event()).channel, (await pubsub.next_event()).channel} == {"a", "b"}
        await pubsub.unsubscribe(["a"])
        await bus.publish([("b", b"2")])
        assert (await asyncio.wait_for(pubsub.next_event(), 10)).channel == "b"

    async def test_a_connection_that_dies_while_it_is_waited_on_is_an_error(self, bus: RedisBus, pubsub: RedisPubSub):
        await pubsub.subscribe(["a"])
        await pubsub.next_event()
        await bus._client.client_kill_filter(_type="pubsub")
        with pytest.raises(BusUnavailableError):
            await asyncio.wait_for(pubsub.next_event(), 10)

    async def test_a_dead_connection_is_an_error(self, bus: RedisBus, pubsub: RedisPubSub):
        await pubsub.subscribe(["a"])
        await pubsub.receive(5)
        await bus._client.client_kill_filter(_type="pubsub")

        async def receive_for_long() -> None:
            for _ in range(50):
                await pubsub.receive(0.1)

        with pytest.raises(BusUnavailableError):
            await receive_for_long()


class TestFailures:
    @pytest.mark.parametrize("call", ALL.values(), ids=ALL)
    async def test_nobody_listening_is_unavailable(self, call: Call):
        with EmbeddedValkey() as server:
            url = server.url
        bus = RedisBus(url, "test")
        with pytest.raises(BusUnavailableError, match="connecting to"):
            await call(bus)
        await bus.close()

    async def test_a_host_that_is_not_there_is_unavailable(self):
        bus = RedisBus("redis://no-such-host.invalid:6379", "test")
        with pytest.raises(BusUnavailableError):
            await bus.ping()
        await bus.close()

    async def test_a_wrong_password_is_refused(self, redis_url: str):
        bus = RedisBus(redis_url.replace("redis://", "redis://nobody:wrong@"), "test")
        with pytest.raises(BusRefusedError, match=r"(?i)username-password|password"):
            await bus.ping()
        await bus.close()

    async def test_no_password_where_one_is_needed_is_refused(self, bus: RedisBus, redis_url: str):
        await bus._client.config_set("requirepass", "secret")
        try:
            stranger = RedisBus(redis_url, "stranger")
            with pytest.raises(BusRefusedError, match="Authentication required"):
                await stranger.ping()
            await stranger.close()
        finally:
            await bus._client.config_set("requirepass", "")

    async def test_a_command_without_permission_is_refused(self, bus: RedisBus, redis_url: str):
        await bus._client.acl_setuser(
            "reader", enabled=True, passwords=["+pw"], categories=["+@read", "+@connection"], keys=["*"]
        )
        limited = RedisBus(redis_url.replace("redis://", "redis://reader:pw@"), "test")
        try:
            assert await limited.get("key") is None
            with pytest.raises(BusRefusedError, match="no permissions"):
                await limited.hash_set("h", {"a": b"1"})
        finally:
            await limited.close()
            await bus._client.acl_deluser("reader")

    async def test_a_key_of_another_type_is_waited_for_until_somebody_mends_it(self, bus: RedisBus):
        await bus.set_if_absent("key", "text")
        for call in (bus.hash_all("key"), bus.read({"key": "0"}, 1, 0), bus.append("key", [{"a": "1"}], 1)):
            with pytest.raises(BusUnavailableError, match="WRONGTYPE"):
                await call
        with pytest.raises(BusUnavailableError):
            await bus.stream_ends(["key"])

    async def test_full_memory_is_unavailable_for_writes_alone(self, bus: RedisBus):
        await bus._client.config_set("maxmemory", "1")
        try:
            for name in ("set_if_absent", "hash_set", "append", "run_script"):
                with pytest.raises(BusUnavailableError):
                    await WRITES[name](bus)
            await bus.publish([("channel", b"x")])
            assert await bus.get("key") is None
        finally:
            await bus._client.config_set("maxmemory", "0")

    async def test_a_read_only_replica_is_unavailable_for_writes(self, bus: RedisBus):
        await bus._client.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(BusUnavailableError):
                await bus.hash_set("h", {"a": b"1"})
        finally:
            await bus._client.replicaof("NO", "ONE")

    async def test_a_server_that_accepts_and_never_answers_is_unavailable(self):
        connections: list[asyncio.StreamWriter] = []

        async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)

        silent = await asyncio.start_server(accept, "127.0.0.1", 0)
        bus = RedisBus(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}", "test")
        began = asyncio.get_running_loop().time()
        with pytest.raises(BusUnavailableError, match="no answer within 3 s"):
            await bus.ping()
        assert asyncio.get_running_loop().time() - began < 2 * redis_client.ANSWER_S
        await bus.close()
        for writer in connections:
            writer.close()
            await writer.wait_closed()
        silent.close()
        await silent.wait_closed()

    async def test_the_bus_works_again_when_the_server_is_back(self, tmp_path: Path):
        with EmbeddedValkey(directory=tmp_path, append_only=True) as server:
            bus = RedisBus(server.url, "test")
            await bus.set_if_absent("key", "kept")
            server.kill()
            with pytest.raises(BusUnavailableError):
                await bus.ping()
            server.start()
            assert await bus.get("key") == b"kept"
            await bus.close()


class TestCancellation:
    @pytest.mark.parametrize("call", ALL.values(), ids=ALL)
    @pytest.mark.parametrize("connected", [False, True])
    async def test_a_call_cancelled_at_any_step_ends_there(self, redis_url: str, call: Call, connected: bool):  # noqa: FBT001
        for steps in range(60):
            bus = RedisBus(redis_url, "test")
            if connected:
                await bus.ping()
            task = asyncio.ensure_future(call(bus))  # noqa: TID251 - cancelled and awaited here
            for _ in range(steps):
                await asyncio.sleep(0)
            finished = task.done()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert finished or task.cancelled(), f"outlived its cancellation at step {steps}"
            await bus.close()
            if finished:
                break

    async def test_the_next_call_never_gets_the_answer_of_a_cancelled_one(self, bus: RedisBus):
        await bus.set_if_absent("mine", "mine")
        await bus.set_if_absent("yours", "yours")
        for steps in range(12):
            task = asyncio.ensure_future(bus.get("yours"))  # noqa: TID251 - as above
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert await bus.get("mine") == b"mine"
