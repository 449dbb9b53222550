"""Redis and Valkey: the only file that knows the client library. Everything raises `shared.bus.errors` alone.

Why it is set up as it is: the library's own retries would repeat writes whose reply was lost, so there are none; its
health check does not notice a dead peer, so it is off. Its time limit is off too, and `_answered` sets ours: on Python
3.11 the library writes inside `asyncio.wait_for`, which can lose a cancellation, and a task that outlives its
cancellation keeps a service from stopping and a lost lease in use. A command that runs into the limit, or is cancelled,
drops its connection, so nobody reads another one's reply.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, Final, cast

import hiredis
import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.bus.entries import GroupInfo, PubSubEvent, StreamEnds, StreamEntry, entry_ms
from shared.bus.errors import BusError, BusRefusedError, BusUnavailableError, FencedError, GroupMissingError

ANSWER_S: Final = 3.0
"""Longest wait for the answer to a command."""

CONNECT_TIMEOUT_S: Final = 1.0
MAX_CONNECTIONS: Final = 2048
"""Every blocking read holds one; beyond the library's own 100 a trade-notifier of many streams would fail."""

LONGEST_BLOCK_MS: Final = 1500
"""A blocking read may not reach `ANSWER_S`."""

ScriptCall = tuple[Sequence[str], Sequence[str | bytes | int]]
"""Keys and arguments."""

_SCRIPTS: Final = Path(__file__).parent / "lua"

_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    OSError,
)
_FINAL = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except BusError:
        raise
    except _FINAL as error:
        raise BusRefusedError(str(error)) from error
    except _PASSING as error:
        raise BusUnavailableError(str(error) or type(error).__name__) from error
    except exceptions.RedisError as error:
        text = str(error)
        if text.startswith("NOGROUP") or "requires the key to exist" in text:
            raise GroupMissingError(text) from error
        if text.startswith("FENCED"):
            raise FencedError(text) from error
        if text.startswith(("MISCONF", "LOADING", "NOREPLICAS")):
            raise BusUnavailableError(text) from error
        raise BusRefusedError(text) from error


@asynccontextmanager
async def _answered(limit: float = ANSWER_S) -> AsyncIterator[None]:
    """Bound what is awaited inside to `limit` s, and raise its failures as ours."""
    with _our_errors():
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError:
            raise BusUnavailableError(f"no answer within {limit:g} s") from None


@cache
def _script_text(name: str) -> str:
    return (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")


class _Packing:
    """Has commands written by hiredis: the library's own way costs more than all else of a large commit."""

    def pack_command(self, *args: Any) -> list[bytes]:  # noqa: ANN401 - as the library's
        """A command as Redis reads it. What the library calls a command may be two words."""
        name, *rest = args
        words = (name if isinstance(name, bytes) else name.encode()).split()
        return [hiredis.pack_command((*words, *rest))]


class RedisPubSub:
    """One Pub/Sub connection. It does not outlive a failure: close it and open another."""

    def __init__(self, client: redis.Redis) -> None:
        self._pubsub = client.pubsub()

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Ask for channels; each is confirmed by a `PubSubEvent` without data."""
        async with _answered():
            await self._pubsub.subscribe(*channels)

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Leave channels. Messages already on their way still come."""
        async with _answered():
            await self._pubsub.unsubscribe(*channels)

    async def receive(self, timeout: float) -> PubSubEvent | None:  # noqa: ASYNC109 - the library's own timeout
        """The next message or confirmation, or None when `timeout` s passed without one.

        None that comes early means a dead connection: see `shared.bus.subscription`.
        """
        async with _answered(timeout + ANSWER_S):
            message: dict[str, Any] | None = await self._pubsub.get_message(timeout=timeout)
        if message is None or message["type"] not in ("message", "subscribe"):
            return None
        channel = cast("bytes", message["channel"]).decode()
        return PubSubEvent(channel, message["data"] if message["type"] == "message" else None)

    async def next_event(self) -> PubSubEvent:
        """The next message or confirmation, however long it takes: the way for many messages a second.

        It arms no timer and makes no task step for a message that has arrived; the library's `get_message`, with two
        timers each, costs as much as ten deliveries. A connection that the system gives up on is an error.
        """
        connection = cast("Any", self._pubsub.connection)  # the library's own annotation is None
        if connection is None or not connection.is_connected:
            raise BusUnavailableError("the Pub/Sub connection is dead")
        with _our_errors():
            while True:
                reply = await connection.read_response(timeout=inf, disconnect_on_error=False)
                if reply is None:  # ETIMEDOUT, which the library takes for a timeout of its own
                    raise BusUnavailableError("the Pub/Sub connection is dead")
                if reply[0] == b"message":
                    return PubSubEvent(reply[1].decode(), reply[2])
                await self._pubsub.handle_message(reply)  # type: ignore[no-untyped-call]  # it keeps the list of channels
                if reply[0] == b"subscribe":
                    return PubSubEvent(reply[1].decode(), None)

    async def close(self) -> None:
        """Drop the connection, whatever its state."""
        async with _answered():
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]  # the library left it out


class RedisBus:
    """Commands that the services need, named by what they are for."""

    def __init__(self, url: str, client_name: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            client_name=client_name,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_keepalive=True,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            max_connections=MAX_CONNECTIONS,
        )
        pool = self._client.connection_pool
        pool.connection_class = type("PackingConnection", (_Packing, pool.connection_class), {})
        # The library's own readers of entries cost as much again as all else that is done with an entry.
        self._client.set_response_callback("XREAD", cast("Any", _streams))
        self._client.set_response_callback("XREVRANGE", cast("Any", parse_entries))
        self._scripts: dict[str, Any] = {}  # the library's Script objects are untyped
        self._loaded: dict[str, str] = {}

    async def ping(self) -> None:
        """Return when Redis answers."""
        async with _answered():
            await self._client.ping()

    async def close(self) -> None:
        """Close every connection."""
        async with _answered():
            await self._client.aclose()

    def open_pubsub(self) -> RedisPubSub:
        """A Pub/Sub connection, connected by its first `subscribe`."""
        return RedisPubSub(self._client)

    async def publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish (channel, payload) pairs in one round trip."""
        async with _answered(), self._client.pipeline(transaction=False) as pipe:
            for channel, payload in messages:
                pipe.publish(channel, payload)
            await pipe.execute()

    async def run_script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:  # noqa: ANN401 - as the script returns
        """Run `lua/{name}.lua` atomically and return what it returns.

        Raises:
            FencedError: the script found a newer lease token.
        """
        async with _answered():
            return await self._script(name)(keys=keys, args=args)

    async def run_script_confirmed(
        self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int], replicas: int, timeout_ms: int
    ) -> tuple[Any, int]:
        """Run a script as `run_script` does, then wait until `replicas` replicas have what it wrote, or `timeout_ms`.

        What counts is what this one call wrote: a script that wrote nothing is confirmed at once.

        Returns:
            What the script returns, and how many replicas have it.
        """
        async with _answered(ANSWER_S + timeout_ms / 1000), self._client.client() as one:  # WAIT is by connection
            reply = await self._script(name)(keys=keys, args=args, client=one)
            return reply, int(await one.wait(replicas, timeout_ms))

    def _script(self, name: str) -> Any:  # noqa: ANN401 - the library's Script objects are untyped
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self._client.register_script(_script_text(name))
        return script

    async def run_scripts(self, name: str, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run a script for each (keys, args), each atomic by itself, in one round trip; returns as `run_script`."""
        text = _script_text(name)
        async with _answered(), self._client.pipeline(transaction=False) as pipe:
            digest = await self._client.script_load(text) if name not in self._loaded else self._loaded[name]
            self._loaded[name] = digest
            for keys, args in calls:
                pipe.evalsha(digest, len(keys), *keys, *args)
            try:
                return list(await pipe.execute())
            except exceptions.NoScriptError:  # the server was restarted
                self._loaded.pop(name, None)
                raise BusUnavailableError(f"the server has lost the script {name}") from None

    async def expire(self, keys: Sequence[str], lifetime_ms: int) -> list[bool]:
        """Have keys live so long from now on, in one round trip; says of each whether it is still there."""
        async with _answered(), self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.pexpire(key, lifetime_ms)
            return [bool(kept) for kept in await pipe.execute()]

    def slot_groups(self, keys: Sequence[str]) -> list[list[str]]:
        """The keys that one command may name together."""
        return [list(keys)]

    async def get(self, key: str) -> bytes | None:
        """A plain value."""
        async with _answered():
            return cast("bytes | None", await self._client.get(key))

    async def set_if_absent(self, key: str, value: str) -> bytes:
        """Set a value unless there is one; return the one that stands."""
        async with _answered():
            await self._client.set(key, value, nx=True)
            return cast("bytes", await self._client.get(key))

    async def hash_all(self, key: str) -> dict[bytes, bytes]:
        """A whole hash, empty where there is none."""
        async with _answered():
            return cast("dict[bytes, bytes]", await self._client.hgetall(key))

    async def hash_set(self, key: str, values: Mapping[str, bytes]) -> None:
        """Set fields of a hash."""
        async with _answered():
            await self._client.hset(key, mapping=cast("Any", values))

    async def hash_delete(self, key: str, fields: Sequence[str]) -> None:
        """Delete fields of a hash."""
        async with _answered():
            await self._client.hdel(key, *fields)

    async def scored(self, wanted: Iterable[tuple[str, int]]) -> list[bytes | None]:
        """The member of each (sorted set, score), None where there is none; in one round trip."""
        async with _answered(), self._client.pipeline(transaction=False) as pipe:
            for key, score in wanted:
                pipe.zrangebyscore(key, score, score, start=0, num=1)
            return [found[0] if found else None for found in await pipe.execute()]

    async def append(self, stream: str, entries: Iterable[Mapping[str, str | bytes]], max_length: int) -> None:
        """Append entries in one round trip, trimming the stream to about `max_length`."""
        async with _answered(), self._client.pipeline(transaction=False) as pipe:
            for fields in entries:
                pipe.xadd(stream, cast("Any", fields), maxlen=max_length, approximate=True)
            await pipe.execute()

    async def read(self, positions: Mapping[str, str], count: int, block_ms: int) -> dict[str, list[StreamEntry]]:
        """Entries after each stream's position; waits up to `block_ms` (0: not at all) for the first."""
        block = min(block_ms, LONGEST_BLOCK_MS) or None
        async with _answered():
            reply = await self._client.xread(cast("Any", dict(positions)), count=count, block=block)
        return cast("dict[str, list[StreamEntry]]", reply)

    async def read_back(self, stream: str, until: str, count: int) -> list[StreamEntry]:
        """The last entries up to and including an id, in their order."""
        async with _answered():
            reply = await self._client.xrevrange(stream, max=until, count=count)
        return cast("list[StreamEntry]", reply)[::-1]

    async def last_ids(self, streams: Sequence[str]) -> dict[str, str]:
        """The newest id that each stream ever had, `0-0` for a stream that does not exist."""
        return {stream: ends.last for stream, ends in (await self.stream_ends(streams)).items()}

    async def stream_ends(self, streams: Sequence[str]) -> dict[str, StreamEnds]:
        """Oldest and newest id of each stream, in one round trip."""
        async with _answered(), self._client.pipeline(transaction=False) as pipe:
            for stream in streams:
                pipe.xinfo_stream(stream)
            replies = await pipe.execute(raise_on_error=False)
        return {stream: _ends(reply) for stream, reply in zip(streams, replies, strict=True)}

    async def find_streams(self, pattern: str) -> list[str]:
        """Names of the streams that match a glob pattern, in order of name; no name that is not UTF-8."""
        found: set[bytes] = set()
        cursor = 0
        while True:  # a step of the scan has a time limit, the whole has none: it grows with the number of keys
            async with _answered():
                cursor, keys = await self._client.scan(cursor, match=pattern, count=1000, _type="STREAM")
            found.update(cast("list[bytes]", keys))
            if cursor == 0:
                break
        return sorted(_readable(found))

    async def ensure_group(self, stream: str, group: str) -> None:
        """Make a consumer group that begins with the stream's first entry, unless it exists; makes the stream too."""
        async with _answered():
            try:
                await self._client.xgroup_create(stream, group, id="0", mkstream=True)
            except exceptions.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def claim(
        self, stream: str, group: str, consumer: str, start: str, count: int
    ) -> tuple[str, list[StreamEntry], int]:
        """Take over pending entries of every consumer, oldest first, from id `start`.

        Returns:
            The id to go on from (`0-0`: no more), the entries, and how many had been trimmed away unread.
        """
        async with _answered():
            reply = await self._client.xautoclaim(stream, group, consumer, 0, start_id=start, count=count)
        following, entries, *deleted = reply
        return _text(following), _entries(entries), len(deleted[0]) if deleted else 0

    async def acknowledge(self, stream: str, group: str, ids: Sequence[str]) -> None:
        """Take entries off the group's pending list."""
        async with _answered():
            await self._client.xack(stream, group, *ids)

    async def group_info(self, stream: str, group: str, now_ms: int) -> GroupInfo:
        """How far a group is.

        Raises:
            GroupMissingError: there is no such stream or group.
        """
        async with _answered():
            length = await self._client.xlen(stream)
            try:
                groups = await self._client.xinfo_groups(stream)
            except exceptions.ResponseError as error:
                raise GroupMissingError(stream) from error
            found = next((item for item in groups if _text(item["name"]) == group), None)
            if found is None:
                raise GroupMissingError(f"{stream} {group}")
            summary = await self._client.xpending(stream, group)
        oldest = summary.get("min")
        age = max(0, now_ms - entry_ms(_text(oldest))) if oldest else 0
        return GroupInfo(length, found.get("lag"), int(summary["pending"]), age)

    async def length(self, stream: str) -> int:
        """Entries in a stream, 0 where there is none."""
        async with _answered():
            return int(await self._client.xlen(stream))


def parse_entries(reply: object) -> list[StreamEntry]:
    """Entries as Redis sends them, also from a Lua script: `[[id, [field, value, ...]], ...]`."""
    return [
        StreamEntry(entry_id.decode(), dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {})
        for entry_id, flat in cast("list[tuple[bytes, list[bytes] | None]]", reply)
    ]


def _ends(reply: Any) -> StreamEnds:  # noqa: ANN401 - a mapping, or the error in its place
    if isinstance(reply, exceptions.ResponseError) and "no such key" in str(reply):
        return StreamEnds(None, "0-0")
    if isinstance(reply, Exception):
        with _our_errors():
            raise reply
    first = reply["first-entry"]
    trimmed = reply.get("entries-added", reply["length"] + 1) > reply["length"]
    return StreamEnds(_text(first[0]) if first else None, _text(reply["last-generated-id"]), trimmed)


def _readable(keys: Iterable[bytes]) -> Iterator[str]:
    for key in keys:
        with suppress(UnicodeDecodeError):
            yield key.decode()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _entries(raw: Iterable[tuple[bytes, dict[bytes, bytes] | None]]) -> list[StreamEntry]:
    return [StreamEntry(_text(entry_id), fields or {}) for entry_id, fields in raw]


def _streams(reply: object) -> dict[str, list[StreamEntry]]:
    found = cast("list[tuple[bytes, object]] | None", reply)
    return {name.decode(): parse_entries(entries) for name, entries in found or ()}
