"""The commands that the services need, on whatever Redis `REDIS_URL` names; raises `shared.bus.errors` alone.

A command goes to the server that has its key, in at most `ANSWER_S`. MOVED and ASK are followed: the command was not
run. Nothing else is repeated here: who can, repeats (see `shared.bus.retrying`), and finds the servers looked up anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast

from shared.bus.entries import GroupInfo, StreamEnds, StreamEntry, entry_ms
from shared.bus.errors import BusMovedError, BusRefusedError, BusUnavailableError, GroupMissingError
from shared.bus.redis_client import (
    ANSWER_S,
    Add,
    Client,
    ScriptCall,
    command,
    our_errors,
    run_pipeline,
    run_script,
    run_script_then_wait,
    run_scripts,
)
from shared.bus.redis_pubsub import RedisPubSub
from shared.bus.servers import OneServer, open_servers
from shared.redis_url import Mode

LONGEST_BLOCK_MS: Final = 1500
"""A blocking read may not reach `ANSWER_S`."""

POLL_S: Final = 0.01
"""Between two looks at streams of several slots: no one command can wait for them."""

REDIRECTIONS: Final = 5

T = TypeVar("T")


class RedisBus:
    """Commands that the services need, named by what they are for.

    Args:
        url: as `shared.redis_url` describes.
        client_name: shown by CLIENT LIST.

    Raises:
        ValueError: no URL of ours.
    """

    def __init__(self, url: str, client_name: str) -> None:
        self._servers = open_servers(url, client_name)

    @property
    def mode(self) -> Mode:
        """What the URL names."""
        return self._servers.url.mode

    @property
    def where(self) -> str:
        """Addresses that the URL names, without a login."""
        return self._servers.url.where

    @property
    def _client(self) -> Client:
        """Tests reach past the commands with it, on one server."""
        assert isinstance(self._servers, OneServer)
        return self._servers.client

    def trust(self) -> None:
        """From now on a login that fails is a passing fault: a password is being changed, or a failover going on."""
        self._servers.is_trusted = True

    async def ping(self) -> None:
        """Return when Redis answers; in a cluster, when every master does."""
        for client in await self._masters():
            await self._on(client, lambda client: client.ping())

    async def hello(self) -> list[dict[str, Any]]:
        """What each master says of itself: `server`, `version`, `mode`, `role`, ..."""
        replies = [await self._on(client, lambda client: command(client, "HELLO")) for client in await self._masters()]
        return [
            {_text(name): _told(value) for name, value in zip(reply[::2], reply[1::2], strict=True)}
            for reply in replies
        ]

    async def close(self) -> None:
        """Close every connection."""
        async with self._servers.answered():
            await self._servers.close()

    def open_pubsub(self, *, sharded: bool = True) -> RedisPubSub:
        """A Pub/Sub connection, connected by its first `subscribe`; ordinary for channels that users PUBLISH to."""
        return RedisPubSub(self._servers, sharded=sharded)

    async def publish(self, messages: Iterable[tuple[str, bytes]], *, sharded: bool = True) -> None:
        """Publish (channel, payload) pairs in one round trip for each slot; see `open_pubsub` for `sharded`."""
        pairs = list(messages)
        word = "SPUBLISH" if sharded else "PUBLISH"
        await self._pipeline([channel for channel, _ in pairs], lambda pipe, at: pipe.execute_command(word, *pairs[at]))

    async def run_script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:  # noqa: ANN401 - as the script returns
        """Run `lua/{name}.lua` atomically and return what it returns.

        Raises:
            FencedError: the script found a newer lease token.
        """
        return await self._run(keys[0], lambda client: run_script(client, name, keys, args))

    async def run_script_confirmed(
        self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int], replicas: int, timeout_ms: int
    ) -> tuple[Any, int]:
        """The same, then wait up to `timeout_ms` until so many replicas have what was written on that connection.

        What counts is what this one call wrote: a script that wrote nothing is confirmed at once.

        Returns:
            What the script returns, and how many replicas confirmed: 0 where that could not be asked.
        """
        return await self._run(
            keys[0],
            lambda client: run_script_then_wait(client, name, keys, args, replicas, timeout_ms),
            limit=ANSWER_S + timeout_ms / 1000,
        )

    async def run_scripts(self, name: str, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run a script for each (keys, args), each atomic by itself, in one round trip for each slot.

        Some of them may be run twice, where the server has forgotten the script.
        """
        return await self._by_slot(
            [keys[0] for keys, _ in calls], lambda client, at: run_scripts(client, name, calls, at)
        )

    async def expire(self, keys: Sequence[str], lifetime_ms: int) -> list[bool]:
        """Have keys live so long from now on, in one round trip for each slot; whether each is still there."""
        return [bool(kept) for kept in await self._pipeline(keys, lambda pipe, at: pipe.pexpire(keys[at], lifetime_ms))]

    async def get(self, key: str) -> bytes | None:
        """A plain value."""
        return cast("bytes | None", await self._run(key, lambda client: client.get(key)))

    async def set_if_absent(self, key: str, value: str) -> bytes:
        """Set a value unless there is one; return the one that stands."""

        async def work(client: Client) -> bytes:
            await client.set(key, value, nx=True)
            return cast("bytes", await client.get(key))

        return await self._run(key, work)

    async def hash_all(self, key: str) -> dict[bytes, bytes]:
        """A whole hash, empty where there is none."""
        return cast("dict[bytes, bytes]", await self._run(key, lambda client: client.hgetall(key)))

    async def hash_get(self, key: str, field: str) -> bytes | None:
        """One field of a hash."""
        return cast("bytes | None", await self._run(key, lambda client: client.hget(key, field)))

    async def hash_length(self, key: str) -> int:
        """How many fields a hash has."""
        return cast("int", await self._run(key, lambda client: client.hlen(key)))

    async def hash_set(self, key: str, values: Mapping[str, bytes]) -> None:
        """Set fields of a hash."""
        await self._run(key, lambda client: client.hset(key, mapping=cast("Any", values)))

    async def hash_delete(self, key: str, fields: Sequence[str | bytes]) -> None:
        """Delete fields of a hash."""
        await self._run(key, lambda client: client.hdel(key, *cast("Any", fields)))

    async def scored(self, wanted: Iterable[tuple[str, int]]) -> list[bytes | None]:
        """The member of each (sorted set, score), None where there is none; in one round trip for each slot."""
        pairs = list(wanted)
        replies = await self._pipeline(
            [key for key, _ in pairs],
            lambda pipe, at: pipe.zrangebyscore(pairs[at][0], pairs[at][1], pairs[at][1], start=0, num=1),
        )
        return [found[0] if found else None for found in replies]

    async def append(self, stream: str, entries: Iterable[Mapping[str, str | bytes]], max_length: int) -> None:
        """Append entries in one round trip, trimming the stream to about `max_length`."""
        rows = list(entries)
        await self._pipeline(
            [stream] * len(rows),
            lambda pipe, at: pipe.xadd(stream, cast("Any", rows[at]), maxlen=max_length, approximate=True),
        )

    def slot_groups(self, keys: Iterable[str]) -> list[list[str]]:
        """Keys by slot: those that one command may name together. All in one group where there is one server."""
        groups: dict[int, list[str]] = {}
        for key in keys:
            groups.setdefault(self._servers.slot(key), []).append(key)
        return list(groups.values())

    async def read(self, positions: Mapping[str, str], count: int, block_ms: int) -> dict[str, list[StreamEntry]]:
        """Entries after each stream's position; waits up to `block_ms` (0: not at all) for the first.

        Streams of several slots are looked at by turns, at most a hundred times a second: a reader that minds has one
        call going for each of `slot_groups`.
        """
        block_ms = min(block_ms, LONGEST_BLOCK_MS)
        groups = self.slot_groups(positions)
        if len(groups) == 1:
            return await self._read(positions, count, block_ms)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + block_ms / 1000
        while True:
            found: dict[str, list[StreamEntry]] = {}
            for group in groups:
                found |= await self._read({stream: positions[stream] for stream in group}, count, 0)
            if found or loop.time() >= deadline:
                return found
            await asyncio.sleep(POLL_S)

    async def _read(self, positions: Mapping[str, str], count: int, block_ms: int) -> dict[str, list[StreamEntry]]:
        wanted = cast("Any", dict(positions))
        reply = await self._run(
            next(iter(positions)), lambda client: client.xread(wanted, count=count, block=block_ms or None)
        )
        return cast("dict[str, list[StreamEntry]]", reply)

    async def read_between(self, stream: str, after: str, until: str, count: int) -> list[StreamEntry]:
        """The first entries behind an id, up to another one and including it."""
        reply = await self._run(stream, lambda client: client.xrange(stream, min=f"({after}", max=until, count=count))
        return cast("list[StreamEntry]", reply)

    async def read_back(self, stream: str, until: str, count: int) -> list[StreamEntry]:
        """The last entries up to and including an id, in their order."""
        reply = await self._run(stream, lambda client: client.xrevrange(stream, max=until, count=count))
        return cast("list[StreamEntry]", reply)[::-1]

    async def last_ids(self, streams: Sequence[str]) -> dict[str, str]:
        """The newest id that each stream ever had, `0-0` for a stream that does not exist."""
        return {stream: ends.last for stream, ends in (await self.stream_ends(streams)).items()}

    async def stream_ends(self, streams: Sequence[str]) -> dict[str, StreamEnds]:
        """Oldest and newest id of each stream, in one round trip for each slot."""
        replies = await self._pipeline(streams, lambda pipe, at: pipe.xinfo_stream(streams[at]))
        return {stream: _ends(reply) for stream, reply in zip(streams, replies, strict=True)}

    async def find_streams(self, pattern: str) -> list[str]:
        """Names of the streams that match a glob pattern, in order of name; no name that is not UTF-8."""
        found: set[bytes] = set()
        for client in await self._masters():
            cursor = 0
            while True:  # a step of the scan has a time limit, the whole has none: it grows with the number of keys
                cursor, keys = await self._on(client, _scan_from(cursor, pattern))
                found.update(cast("list[bytes]", keys))
                if cursor == 0:
                    break
        return sorted(_readable(found))

    async def ensure_group(self, stream: str, group: str) -> None:
        """Make a consumer group that begins with the stream's first entry, unless it exists; makes the stream too."""
        try:
            await self._run(stream, lambda client: client.xgroup_create(stream, group, id="0", mkstream=True))
        except BusRefusedError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def claim(
        self, stream: str, group: str, consumer: str, start: str, count: int
    ) -> tuple[str, list[StreamEntry], int]:
        """Take over pending entries of every consumer, oldest first, from id `start`.

        Returns:
            The id to go on from (`0-0`: no more), the entries, and how many had been trimmed away unread.
        """
        following, entries, *deleted = await self._run(
            stream, lambda client: client.xautoclaim(stream, group, consumer, 0, start_id=start, count=count)
        )
        return _text(following), _entries(entries), len(deleted[0]) if deleted else 0

    async def acknowledge(self, stream: str, group: str, ids: Sequence[str]) -> None:
        """Take entries off the group's pending list."""
        await self._run(stream, lambda client: client.xack(stream, group, *ids))

    async def group_info(self, stream: str, group: str, now_ms: int) -> GroupInfo:
        """How far a group is.

        Raises:
            GroupMissingError: there is no such stream or group.
        """
        return await self._run(stream, lambda client: _group_info(client, stream, group, now_ms))

    async def length(self, stream: str) -> int:
        """Entries in a stream, 0 where there is none."""
        return int(await self._run(stream, lambda client: client.xlen(stream)))

    async def _run(self, key: str, work: Callable[[Client], Awaitable[T]], limit: float = ANSWER_S) -> T:
        """Have work done by the server that has a key, following it where it moves."""
        deadline = asyncio.get_running_loop().time() + limit
        for _ in range(REDIRECTIONS):
            left = deadline - asyncio.get_running_loop().time()
            try:
                async with self._servers.answered(left):
                    return await work(await self._servers.serving(key))
            except BusMovedError as moved:
                if moved.asking:
                    return await self._ask(moved, work, left)
        raise BusUnavailableError(f"{key} is sent from node to node")

    async def _ask(self, moved: BusMovedError, work: Callable[[Client], Awaitable[T]], limit: float) -> T:
        """One command at the node that its slot is moving to; a pipeline is turned away until the move is over."""
        async with self._servers.answered(limit):
            node = await self._servers.at((moved.host, moved.port))
            async with node.client() as connection:
                await command(connection, "ASKING")
                return await work(connection)

    async def _on(self, client: Client, work: Callable[[Client], Awaitable[T]]) -> T:
        async with self._servers.answered():
            return await work(client)

    async def _masters(self) -> list[Client]:
        async with self._servers.answered():
            return await self._servers.masters()

    async def _pipeline(self, keys: Sequence[str], add: Add) -> list[Any]:
        """A command for each key, in one round trip for each slot; the replies in the order of the keys."""
        return await self._by_slot(keys, lambda client, at: run_pipeline(client, add, at))

    async def _by_slot(
        self, keys: Sequence[str], work: Callable[[Client, Sequence[int]], Awaitable[list[Any]]]
    ) -> list[Any]:
        """Work done for the positions of each slot's keys at its server; the results in the order of the keys."""
        groups: dict[int, list[int]] = {}
        for at, key in enumerate(keys):
            groups.setdefault(self._servers.slot(key), []).append(at)
        replies: list[Any] = [None] * len(keys)
        for group in groups.values():
            found = await self._run(keys[group[0]], partial(_swapped, work, group))
            for at, reply in zip(group, found, strict=True):
                replies[at] = reply
        return replies


def _swapped(
    work: Callable[[Client, Sequence[int]], Awaitable[list[Any]]], positions: Sequence[int], client: Client
) -> Awaitable[list[Any]]:
    return work(client, positions)


def _scan_from(cursor: int, pattern: str) -> Callable[[Client], Awaitable[tuple[int, list[bytes | str]]]]:
    return lambda client: client.scan(cursor, match=pattern, count=1000, _type="STREAM")


async def _group_info(client: Client, stream: str, group: str, now_ms: int) -> GroupInfo:
    length = await client.xlen(stream)
    try:
        with our_errors():
            groups = await client.xinfo_groups(stream)
    except BusRefusedError as error:
        raise GroupMissingError(stream) from error
    found = next((item for item in groups if _text(item["name"]) == group), None)
    if found is None:
        raise GroupMissingError(f"{stream} {group}")
    summary = await client.xpending(stream, group)
    oldest = summary.get("min")
    age = max(0, now_ms - entry_ms(_text(oldest))) if oldest else 0
    return GroupInfo(length, found.get("lag"), int(summary["pending"]), age)


def _ends(info: Mapping[str, Any] | None) -> StreamEnds:
    if info is None:
        return StreamEnds(None, "0-0")
    first = info["first-entry"]
    trimmed = info.get("entries-added", info["length"] + 1) > info["length"]
    return StreamEnds(_text(first[0]) if first else None, _text(info["last-generated-id"]), trimmed)


def _readable(keys: Iterable[bytes]) -> Iterator[str]:
    for key in keys:
        with suppress(UnicodeDecodeError):
            yield key.decode()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _told(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def _entries(raw: Iterable[tuple[bytes, dict[bytes, bytes] | None]]) -> list[StreamEntry]:
    return [StreamEntry(_text(entry_id), fields or {}) for entry_id, fields in raw]
