"""The client library of Redis and Valkey: the only file that imports it. `our_errors` raises `shared.bus.errors`.

Why it is set up as it is: the library's own retries would repeat writes whose reply was lost, so there are none; its
health check does not notice a dead peer, so it is off. Its time limit is off too, and `answered` sets ours: on Python
3.11 the library writes inside `asyncio.wait_for`, which can lose a cancellation, and a task that outlives its
cancellation keeps a service from stopping and a lost lease in use. A command that runs into the limit, or is cancelled,
drops its connection, so nobody reads another one's reply. Its classes for Sentinel and Cluster are not used: they retry
by themselves, and one error closes the connections that others wait on; see `shared.bus.servers`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache, partial
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import hiredis
import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.client import Pipeline
from redis.asyncio.client import PubSub as PubSub  # noqa: PLC0414 - for shared.bus.redis_pubsub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.bus.entries import parse_entries, parse_streams
from shared.bus.errors import (
    BusDeniedError,
    BusError,
    BusMovedError,
    BusRefusedError,
    BusUnavailableError,
    FencedError,
    GroupMissingError,
)

ANSWER_S: Final = 3.0
"""Longest wait for the answer to a command."""

CONNECT_TIMEOUT_S: Final = 1.0
MAX_CONNECTIONS: Final = 2048
"""Every blocking read holds one; beyond the library's own 100 a trade-notifier of many streams would fail."""

READ_ONLY: Final = frozenset({"read_chart"})
"""Scripts run as such, so that a user who may only read their keys may run them."""

_SCRIPTS: Final = Path(__file__).parent / "lua"

Client: TypeAlias = redis.Redis
Add: TypeAlias = Callable[[Pipeline, int], object]
ScriptCall: TypeAlias = tuple[Sequence[str], Sequence[str | bytes | int]]
"""Keys and arguments."""

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
_DENIED = (exceptions.AuthenticationError, exceptions.AuthorizationError)
_PASSING_WORDS = ("MISCONF", "LOADING", "NOREPLICAS", "UNBLOCKED", "WRONGTYPE")  # a key can be mended; clients stay


@contextmanager
def our_errors() -> Iterator[None]:
    """Raise what the library raises as ours."""
    try:
        yield
    except BusError:
        raise
    except (exceptions.RedisError, OSError) as error:
        raise _ours(error) from error


def _ours(error: Exception) -> BusError:
    text = str(error) or type(error).__name__
    if isinstance(error, exceptions.AskError):  # MovedError is one too
        return BusMovedError(error.host, error.port, asking=not isinstance(error, exceptions.MovedError))
    if isinstance(error, _DENIED):
        return BusDeniedError(text)
    if isinstance(error, _PASSING):
        handshake = _handshake_failure(error)
        return BusUnavailableError(text) if handshake is None else BusDeniedError(f"TLS: {handshake}")
    if text.startswith("NOGROUP") or "requires the key to exist" in text:
        return GroupMissingError(text)
    if text.startswith("FENCED"):
        return FencedError(text)
    return BusUnavailableError(text) if text.startswith(_PASSING_WORDS) else BusRefusedError(text)


def _handshake_failure(error: BaseException) -> ssl.SSLError | None:
    """What TLS itself objected to, deep in a failure to connect. A peer that hung up is no objection."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLError) and not isinstance(found, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return found
        found = found.__cause__ or found.__context__
    return None


@asynccontextmanager
async def answered(limit: float = ANSWER_S) -> AsyncIterator[None]:
    """Bound what is awaited inside to `limit` s, and raise its failures as ours."""
    with our_errors():
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError:
            raise BusUnavailableError(f"no answer within {limit:g} s") from None


class _Packing:
    """Has commands written by hiredis: the library's own way costs more than all else of a large commit."""

    def pack_command(self, *args: Any) -> list[bytes]:  # noqa: ANN401 - as the library's
        """A command as Redis reads it. What the library calls a command may be two words."""
        name, *rest = args
        words = (name if isinstance(name, bytes) else name.encode()).split()
        return [hiredis.pack_command((*words, *rest))]


def open_client(url: str, client_name: str) -> Client:
    """A client of one server; nothing is connected yet."""
    by_tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
    client = redis.Redis.from_url(
        url,
        client_name=client_name,
        driver_info=None,  # a command more than the users of deploy/redis need: Redis 7.0 does not know it
        socket_timeout=None,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        **by_tcp,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        max_connections=MAX_CONNECTIONS,
    )
    pool = client.connection_pool
    pool.connection_class = type("PackingConnection", (_Packing, pool.connection_class), {})
    # The library's own readers of entries cost as much again as all else that is done with an entry.
    client.set_response_callback("XREAD", cast("Any", parse_streams))
    client.set_response_callback("XRANGE", cast("Any", parse_entries))
    client.set_response_callback("XREVRANGE", cast("Any", parse_entries))
    return client


async def command(client: Client, *words: str | bytes | int) -> Any:  # noqa: ANN401 - as the command returns
    """What a server answers to a command that the library has no method for."""
    return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library left it out


async def drop_idle(client: Client) -> None:
    """Close connections that nobody uses now: after a failure each may be dead, and finding out costs a time limit."""
    await client.connection_pool.disconnect(inuse_connections=False)


async def ask_once(url: str, limit: float, *words: str) -> Any:  # noqa: ANN401 - as the command returns
    """What a server answers to one command over a connection of its own, in at most `limit` s."""
    client = open_client(url, "tickwire-topology")
    try:
        async with answered(limit):
            return await command(client, *words)
    finally:
        async with answered(limit):
            await client.aclose()


async def run_pipeline(client: Client, add: Add, positions: Sequence[int]) -> list[Any]:
    """Commands of one slot in one round trip: `add(pipe, position)` puts each in. Replies in order.

    A stream that does not exist is a reply, None, and no error. Where the slot moved away under the commands, those
    before have been run, so nothing follows it: only if none was is the error a `BusMovedError`.
    """
    async with client.pipeline(transaction=False) as pipe:
        for position in positions:
            add(pipe, position)
        replies = await pipe.execute(raise_on_error=False)
    for number, reply in enumerate(replies):
        if isinstance(reply, exceptions.AskError) and number > 0:
            raise BusUnavailableError("the slot moved under a pipeline") from reply
        if isinstance(reply, exceptions.ResponseError) and "no such key" in str(reply):
            replies[number] = None
        elif isinstance(reply, Exception):
            raise reply
    return replies


async def run_script(client: Client, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:  # noqa: ANN401 - as the script returns
    """Run `lua/{name}.lua`, which the server may have forgotten."""
    text, digest = _script(name)
    mode = "_RO" if name in READ_ONLY else ""
    try:
        return await command(client, f"EVALSHA{mode}", digest, len(keys), *keys, *args)
    except exceptions.NoScriptError:
        return await command(client, f"EVAL{mode}", text, len(keys), *keys, *args)


async def run_scripts(
    client: Client,
    name: str,
    calls: Sequence[ScriptCall],
    positions: Sequence[int],
) -> list[Any]:
    """The same for the (keys, args) at some positions, in one round trip."""
    text, digest = _script(name)

    def add(words: tuple[str, str], pipe: Pipeline, at: int) -> None:
        keys, args = calls[at]
        pipe.execute_command(*words, len(keys), *keys, *args)

    try:
        return await run_pipeline(client, partial(add, ("EVALSHA", digest)), positions)
    except exceptions.NoScriptError:
        return await run_pipeline(client, partial(add, ("EVAL", text)), positions)


async def run_script_then_wait(
    client: Client, name: str, keys: Sequence[str], args: Sequence[str | bytes | int], replicas: int, timeout_ms: int
) -> tuple[Any, int]:
    """The same, then WAIT on the same connection: the script's result, and how many replicas have what it wrote."""
    text, digest = _script(name)
    for words in (("EVALSHA", digest), ("EVAL", text)):
        async with client.pipeline(transaction=False) as pipe:
            pipe.execute_command(*words, len(keys), *keys, *args)
            pipe.execute_command("WAIT", replicas, timeout_ms)
            result, confirmed = await pipe.execute(raise_on_error=False)
        if not isinstance(result, exceptions.NoScriptError):
            break
    if isinstance(result, Exception):
        raise result
    return result, 0 if isinstance(confirmed, Exception) else int(confirmed)


@cache
def _script(name: str) -> tuple[str, str]:
    """Its text, and the digest by which Redis remembers it."""
    text = (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()
