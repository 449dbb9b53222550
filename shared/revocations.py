"""Tokens that are refused before they expire: by user (`sub`) or by token (`jti`), never by a token's text.

Fed by the stream `redis_keys.REVOCATIONS`, where `tickwire revoke` writes; asked by the gateway for each token that it
accepts, and told by it which connections to end. Entries hold:

- `kind`: `sub` or `jti`; `value`: which user or token;
- `for`: seconds for which it holds, 0 to take an earlier one back.

A moment is Redis's own, the entry's id. A revoked user may log in anew: tokens issued up to that moment are refused,
later ones are not. The newest word on a user or token counts, so the list can be read again at any time; it is, every
`REREAD_S` and after every outage, which heals what a failover or a trimming took away. What is known stays in force
for its time even where Redis has lost it.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from shared.bus.entries import StreamEntry, entry_ms, entry_order
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.clock import Clock
from shared.identity import Identity
from shared.log import get_logger
from shared.names import metrics, redis_keys
from shared.telemetry import Telemetry

log = get_logger(__name__)

MAX_REVOCATIONS: Final = 100_000
LONGEST_S: Final = 7 * 86_400
MAX_VALUE_BYTES: Final = 1024
REREAD_S: Final = 30.0

_BLOCK_MS: Final = 1_000
_PAGE: Final = 500
_LOG_S: Final = 60.0
"""At most one line of each kind of trouble in so long."""

_LOG_REVOKED_S: Final = 1.0
_START: Final = "0-0"


class Kind(StrEnum):
    """What is revoked: everything of a user, or one token."""

    SUB = "sub"
    JTI = "jti"

    __hash__ = str.__hash__  # an enumeration's own is ten times slower, and this one is part of every key


@dataclass(frozen=True, slots=True)
class Revocation:
    """The last word on a user or a token.

    Attributes:
        kind: which of the two.
        value: its `sub` or `jti`.
        entry: id of the entry that says so.
        until_ms: when it ends, by Redis's clock; its own moment where it takes an earlier one back.
    """

    kind: Kind
    value: str
    entry: str
    until_ms: int

    @property
    def at_ms(self) -> int:
        """Its moment, by Redis's clock."""
        return entry_ms(self.entry)

    def holds(self, now_ms: int) -> bool:
        """Whether it is in force."""
        return now_ms < self.until_ms


Words = dict[tuple[Kind, str], Revocation]
OnRevoked = Callable[[Sequence[Revocation]], None]


class Listed(NamedTuple):
    """The list as it was read.

    Attributes:
        words: the last word on each user and token, the newest last.
        end: where the list ends.
        rejected: entries that could not be read.
        dropped: words that were passed over, because there were too many.
    """

    words: Words
    end: str
    rejected: int
    dropped: int


async def note_revocation(bus: RedisBus, kind: Kind, value: str, seconds: int) -> str | None:
    """Revoke a user or a token for `seconds`, or take that back (0); the entry's id, None where the list is full.

    Raises:
        BusUnavailableError: noted or not.
    """
    fields: list[str | int] = ["kind", kind.value, "value", value, "for", seconds]
    entry = await bus.run_script(
        "note_revocation", [redis_keys.REVOCATIONS], [LONGEST_S * 1000, MAX_REVOCATIONS, *fields]
    )
    return None if entry is None else entry.decode()


async def read_revocations(bus: RedisBus, seen: str = _START) -> Listed:
    """The whole list; of what could not be read, only entries after `seen` are counted.

    Raises:
        BusUnavailableError: Redis is away.
    """
    words: Words = {}
    position, rejected, dropped = _START, 0, 0
    while entries := await _page(bus, position, 0):
        position = entries[-1].id
        for entry in entries:
            word = _parse(entry)
            if word is None:
                rejected += entry_order(entry.id) > entry_order(seen)
                continue
            words.pop((word.kind, word.value), None)
            words[word.kind, word.value] = word
            if len(words) > MAX_REVOCATIONS:
                del words[next(iter(words))]
                dropped += 1
    return Listed(words, position, rejected, dropped)


class Revocations:
    """What is revoked, as one gateway knows it. `start` before clients are let in, then `run` in a task.

    Args:
        bus: where the list is.
        clock: ends revocations.
        telemetry: counts.
    """

    def __init__(self, bus: RedisBus, clock: Clock, telemetry: Telemetry) -> None:
        self._bus = bus
        self._clock = clock
        self._words: Words = {}
        self._position = _START
        self._rejected = telemetry.counter(metrics.REVOCATIONS_REJECTED)
        self._dropped = telemetry.counter(metrics.REVOCATIONS_DROPPED)
        self._log_due: dict[str, float] = {}
        self._unlogged = 0
        telemetry.gauge(metrics.REVOCATIONS).set_function(lambda: len(self._words))

    async def start(self) -> None:
        """Return when the whole list is known: waits for Redis."""

        async def read() -> None:
            await self._read_all()

        await keep_trying("revocations-start", read)

    async def run(self, on_revoked: OnRevoked) -> None:
        """Follow the list until cancelled; `on_revoked` gets what comes into force."""
        await keep_trying("revocations", lambda: self._follow(on_revoked))

    def refuses(self, identity: Identity) -> bool:
        """Whether an identity is revoked at this moment."""
        now = self._clock.now_ms()
        if identity.token_id is not None:
            word = self._words.get((Kind.JTI, identity.token_id))
            if word is not None and word.holds(now):
                return True
        word = self._words.get((Kind.SUB, identity.user_id))
        if word is None or not word.holds(now):
            return False
        return identity.issued is None or identity.issued * 1000 <= word.at_ms

    async def _follow(self, on_revoked: OnRevoked) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._tell(on_revoked, await self._read_all())
            reread = loop.time() + REREAD_S
            while loop.time() < reread:
                entries = await _page(self._bus, self._position, _BLOCK_MS)
                if entries:
                    self._position = entries[-1].id
                    words = [_parse(entry) for entry in entries]
                    self._count_rejected(words.count(None))
                    self._tell(on_revoked, self._take(word for word in words if word is not None))
                    await asyncio.sleep(0)

    async def _read_all(self) -> list[Revocation]:
        """Read the whole list; what of it is new and in force."""
        words, self._position, rejected, dropped = await read_revocations(self._bus, self._position)
        self._count_rejected(rejected)
        self._count_dropped(dropped)
        now = self._clock.now_ms()
        self._words = {key: word for key, word in self._words.items() if word.holds(now)}
        return self._take(word for key, word in words.items() if key in self._words or word.holds(now))

    def _take(self, words: Iterable[Revocation]) -> list[Revocation]:
        """Believe what is newer than what is known; what of it is in force."""
        now = self._clock.now_ms()
        fresh, dropped = [], 0
        for word in words:
            key = word.kind, word.value
            known = self._words.get(key)
            if known is not None and not _is_newer(word.entry, known.entry):
                continue
            self._words.pop(key, None)
            self._words[key] = word
            if word.holds(now):
                fresh.append(word)
            if len(self._words) > MAX_REVOCATIONS:
                del self._words[next(iter(self._words))]
                dropped += 1
        self._count_dropped(dropped)
        return fresh

    def _count_dropped(self, count: int) -> None:
        self._dropped.inc(count)
        if count and self._may_log("dropped"):
            log.error(
                "revocations_dropped",
                limit=MAX_REVOCATIONS,
                hint="so many cannot be told apart from an attack on Redis; change the key that tokens are signed with",
            )

    def _tell(self, on_revoked: OnRevoked, words: Sequence[Revocation]) -> None:
        if not words:
            return
        self._unlogged += len(words)
        if self._may_log("revoked", _LOG_REVOKED_S):
            log.info("revoked", revocations=self._unlogged)
            self._unlogged = 0
        on_revoked(words)

    def _count_rejected(self, count: int) -> None:
        self._rejected.inc(count)
        if count and self._may_log("rejected"):
            log.warning("revocations_rejected", stream=redis_keys.REVOCATIONS, entries=count)

    def _may_log(self, what: str, interval_s: float = _LOG_S) -> bool:
        now = self._clock.monotonic()
        if now < self._log_due.get(what, 0.0):
            return False
        self._log_due[what] = now + interval_s
        return True


def _is_newer(entry: str, known: str) -> bool:
    return entry != known and entry_order(entry) > entry_order(known)


async def _page(bus: RedisBus, position: str, block_ms: int) -> list[StreamEntry]:
    found = await bus.read({redis_keys.REVOCATIONS: position}, _PAGE, block_ms)
    return found.get(redis_keys.REVOCATIONS, [])


def _parse(entry: StreamEntry) -> Revocation | None:
    """What an entry says; None for one that is none of ours."""
    kind, value, lasts = (entry.fields.get(name, b"") for name in (b"kind", b"value", b"for"))
    if not 0 < len(value) <= MAX_VALUE_BYTES or not lasts.isdigit() or len(lasts) > len(str(LONGEST_S)):
        return None
    try:
        word = Revocation(Kind(kind.decode()), value.decode(), entry.id, entry_ms(entry.id) + int(lasts) * 1000)
    except ValueError:
        return None
    return word if int(lasts) <= LONGEST_S else None
