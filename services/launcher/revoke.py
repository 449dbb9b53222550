"""`tickwire revoke`: refuse a user's tokens, or one token, before they expire; list what is revoked; take it back.

Writes to `redis_keys.REVOCATIONS`, which every gateway follows (`shared.revocations`).
"""

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from services.launcher.errors import LauncherError
from services.launcher.redis_url import open_bus
from services.launcher.tokens import parse_duration
from shared.bus.errors import BusRefusedError, BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.identity import MAX_SUBJECT_LENGTH
from shared.revocations import LONGEST_S, MAX_REVOCATIONS, Kind, Listed, note_revocation, read_revocations

_SUB_OR_JTI: Final = "give either --sub USER or --jti ID"


def parse_target(sub: str, jti: str) -> tuple[Kind, str]:
    """Whom or what to revoke.

    Raises:
        ValueError: neither or both are given, or it can be neither.
    """
    if bool(sub) == bool(jti):
        raise ValueError(_SUB_OR_JTI)
    kind, value = (Kind.SUB, sub) if sub else (Kind.JTI, jti)
    if value.count(".") == 2 and value.startswith("ey"):  # noqa: PLR2004 - header, claims, signature
        raise ValueError(f"that is a whole token; --{kind} takes what its claim `{kind}` says")
    if len(value) > MAX_SUBJECT_LENGTH * 2 or not value.isprintable():
        raise ValueError(f"that cannot be the `{kind}` of a token")
    return kind, value


def parse_lifetime(text: str) -> int:
    """For how long to revoke, seconds.

    Raises:
        ValueError: it is no duration, or too long.
    """
    seconds = parse_duration(text)
    if seconds > LONGEST_S:
        raise ValueError(f"{text} is too long; at most {LONGEST_S // 86_400}d: no token should live longer")
    return seconds


async def revoke(redis_url: str, kind: Kind, value: str, seconds: int, say: Callable[[str], None]) -> None:
    """Revoke for so many seconds.

    Raises:
        LauncherError: Redis does not take it, or has too many already.
    """

    async def work(bus: RedisBus) -> None:
        entry = await note_revocation(bus, kind, value, seconds)
        if entry is None:
            raise LauncherError(
                f"{MAX_REVOCATIONS} users and tokens are revoked already",
                "to end so many sessions, change the key that their tokens are signed with",
            )
        again = "; tokens issued from now on are accepted" if kind is Kind.SUB else ""
        say(f"revoked {kind} {value} until {_utc(entry, seconds)}, at every gateway within five seconds{again}")

    await _with_bus(redis_url, work)


async def undo(redis_url: str, kind: Kind, value: str, clock: Clock, say: Callable[[str], None]) -> None:
    """Take a revocation back.

    Raises:
        LauncherError: there is none, or Redis does not take it.
    """

    async def work(bus: RedisBus) -> None:
        word = (await read_revocations(bus)).words.get((kind, value))
        if word is None or not word.holds(clock.now_ms()):
            raise LauncherError(f"{kind} {value} is not revoked", "tickwire revoke --list shows what is")
        if await note_revocation(bus, kind, value, 0) is None:
            raise LauncherError("the list of revocations is full", "it forgets entries that are seven days old")
        say(f"{kind} {value} is no longer revoked")

    await _with_bus(redis_url, work)


async def show(redis_url: str, clock: Clock, say: Callable[[str], None]) -> None:
    """Print what is revoked, the newest last.

    Raises:
        LauncherError: Redis does not answer.
    """

    async def work(bus: RedisBus) -> None:
        lines = list(_lines(await read_revocations(bus), clock.now_ms()))
        for line in lines or ["nothing is revoked"]:
            say(line)

    await _with_bus(redis_url, work)


def _lines(listed: Listed, now_ms: int) -> Iterator[str]:
    for word in listed.words.values():
        if word.holds(now_ms):
            shown = word.value if word.value.isprintable() else repr(word.value)
            yield f"{word.kind} {shown} until {_utc(word.entry, (word.until_ms - word.at_ms) // 1000)}"


def _utc(entry: str, seconds: int) -> str:
    """So many seconds after an entry of Redis."""
    ends = int(entry.partition("-")[0]) // 1000 + seconds
    return datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


async def _with_bus(redis_url: str, work: Callable[[RedisBus], Awaitable[None]]) -> None:
    bus = open_bus(redis_url, "tickwire-revoke")
    try:
        await work(bus)
    except BusUnavailableError as error:
        raise LauncherError(f"Redis does not answer: {error}", "set REDIS_URL, or use --redis-url") from error
    except BusRefusedError as error:
        raise LauncherError(f"Redis refuses: {error}", "check the user and password of REDIS_URL") from error
    finally:
        await bus.close()
