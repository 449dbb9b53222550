"""Limits of one user over all its connections, at whatever gateways: how many of them, their events, subscriptions.

Fed by `arrivals.py` (who comes and goes) and `handlers.py` (what they do). Each gateway keeps one record of each user
that it has, in Redis, written once in `TICK_S` for all that have changed and every `RENEW_S` for the others; the answer
says what the other gateways have. Nobody waits for that: a client is let in by what is known here, and put out within
a quarter of a second or so where the cluster says that it is too many (see `presence.py` for when that is certain).
While Redis is away nobody is put out, each gateway counts for itself, and whoever comes is judged afterwards.
"""

import asyncio
import heapq
import random
from collections.abc import Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, NamedTuple

from services.gateway.presence import NOWHERE, Guest, Presence, Share, User
from services.gateway.requests import RequestError
from services.gateway.subscriptions import Subscriptions
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.bus.redis_client import ScriptCall
from shared.bus.retrying import keep_trying
from shared.names import error_codes, redis_keys
from shared.names.close_reasons import MOVED
from shared.names.events import NAMESPACE, ServerEvent

TICK_S: Final = 0.1
RENEW_S: Final = 10.0
LIFE_MS: Final = 30_000
"""How long a record counts that is not renewed; two renewals may fail."""

BATCH: Final = 500
NAMED: Final = 100
"""Connections of one user that its record names; more are only counted."""

SILENT_S: Final = 4 * TICK_S
"""A gateway that has not beaten for so long may be dead: no subscription is refused because of what it had."""

NAME_BYTES: Final = 9
SCOPE: Final = "user"

CONNECTIONS: Final = "connections"
EVENTS: Final = "events"
SUBSCRIPTIONS: Final = "subscriptions"


class UserLimits(NamedTuple):
    """What one user may have in the whole cluster; 0: no limit.

    Attributes:
        connections: where the token does not say it.
        event_rate: events a second.
        subscriptions: prices, trades and charts.
        grace_s: a client above `connections` is asked to come back for so long, since former ones of it may be dead.
    """

    connections: int
    event_rate: float
    subscriptions: int
    grace_s: float = 0.0


class Users:
    """The users of a gateway's clients. Anonymous clients are not here.

    Args:
        loop: the gateway's; its clock alone is used.
        bus: keeps what the gateways know.
        instance: this gateway.
        limits: the cluster's.

    Attributes:
        refused: limit -> what was refused because of it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, bus: RedisBus, instance: str, limits: UserLimits) -> None:
        self._bus = bus
        self._instance = instance
        self._limits = limits
        self._loop = loop
        self._users: dict[str, User] = {}
        self._changed: dict[User, None] = {}
        self._in_doubt: dict[User, None] = {}
        self._due: list[tuple[float, int, User]] = []
        self._numbered = 0
        self._beats: dict[bytes, float] = {}
        self._looked = 0.0
        self._beaten: dict[str, float] = {}
        self._alive: dict[str, float] = {}
        self.refused = dict.fromkeys((CONNECTIONS, EVENTS, SUBSCRIPTIONS), 0)

    def __len__(self) -> int:
        return len(self._users)

    # What clients do

    def admit(self, former: Presence | None, user_id: str, granted: int | None, pid: str | None) -> None:
        """Look whether a connection may speak for a user, before it is told so; `arrive` has the arguments.

        Raises:
            RequestError: this gateway alone has as many as the user may have.
        """
        user, limit = self._users.get(user_id), self._limit(granted)
        here = 0 if user is None else len(user.presences)
        if user is None or here < limit or (former is not None and former.user is user):
            return
        name = None if pid is None else _name(pid)
        if all(presence.name != name for presence in user.presences):
            now = self._loop.time()
            user.full_since = now if user.full_since is None else user.full_since
            if now - user.full_since < self._limits.grace_s:
                raise RequestError(error_codes.CONNECTIONS_HELD, limit=int(limit), actual=here + 1)
            self.refused[CONNECTIONS] += 1
            raise _too_many(limit, here + 1)

    def arrive(
        self,
        former: Presence | None,
        user_id: str,
        granted: int | None,
        guest: Guest,
        subscriptions: Subscriptions,
        pid: str | None,
    ) -> Presence:
        """A connection speaks for a user from now on.

        It is told and ended later, by `Guest.kick`, if the cluster says that it is one too many.

        Args:
            former: what this returned for the same connection before.
            user_id: the user.
            granted: connections that its token allows; None for the cluster's limit.
            guest: the client.
            subscriptions: the client's.
            pid: its session's, if it can come back.
        """
        if former is not None:
            if former.user.user_id == user_id and not former.is_gone:
                former.limit = self._limit(granted)
                return former
            self.leave(former)
        now = self._loop.time()
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = User(user_id)
            self._schedule(user, now + RENEW_S * random.uniform(0.5, 1))  # noqa: S311 - spreads them
        self._numbered += 1
        name = _name(pid or f"{self._instance}:{self._numbered}")
        presence = Presence(user, guest, subscriptions, name, self._limit(granted), now)
        if len(user.presences) >= presence.limit:
            self._loop.call_soon(self._put_out, presence)
        user.presences.append(presence)
        self._changed[user] = None
        return presence

    def leave(self, presence: Presence) -> None:
        """A connection has ended, or speaks for another user; harmless when it has left."""
        if not presence.is_gone:
            presence.is_gone = True
            presence.user.presences.remove(presence)
            presence.user.full_since = None
            self._changed[presence.user] = None

    def take(self, presence: Presence | None, now: float) -> float:
        """Count one event; 0.0 when it is allowed, else the seconds to wait."""
        if presence is None or not self._limits.event_rate:
            return 0.0
        wait = presence.user.take(self._limits.event_rate, now)
        self.refused[EVENTS] += wait > 0
        return wait

    def check_room_for_one(self, presence: Presence | None) -> None:
        """One more subscription.

        Raises:
            RequestError: the user may not have more.
        """
        limit = self._limits.subscriptions
        if presence is None or not limit:
            return
        user = presence.user
        elsewhere = user.subscriptions_elsewhere(self._loop.time() - SILENT_S, self._beaten)
        if user.subscriptions + elsewhere >= limit:
            self.refused[SUBSCRIPTIONS] += 1
            raise RequestError(error_codes.SUBSCRIPTION_LIMIT, limit=limit, scope=SCOPE)

    def subscriptions_changed(self, presence: Presence | None) -> None:
        """A client has perhaps subscribed or left something: the other gateways are to know."""
        if presence is not None and presence.user.subscriptions != presence.user.told_subscriptions:
            self._changed[presence.user] = None

    # What the cluster knows

    async def run(self) -> None:
        """Tell the cluster and hear of it, until cancelled."""
        await keep_trying("users", self._tell_regularly, on_lost=self._fall_back)

    async def _tell_regularly(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._renew_due(self._loop.time())
            await self._tell()
            if self._users:
                await self._beat()  # behind all that was changed before it
                if self._in_doubt:
                    self._ask_again()
                    await self._tell()

    async def _tell(self) -> None:
        changed = iter(tuple(self._changed))
        while batch := list(islice(changed, BATCH)):
            asked = [tuple(user.presences) for user in batch]
            for user in batch:
                del self._changed[user]
                user.told_subscriptions = user.subscriptions
            try:
                replies = await self._bus.run_scripts("note_user", [self._call(user) for user in batch])
            except BusUnavailableError:
                self._changed.update(dict.fromkeys(batch))
                raise
            for user, presences, reply in zip(batch, asked, replies, strict=True):
                self._hear(user, presences, reply)

    def _call(self, user: User) -> ScriptCall:
        named = user.presences[:NAMED]
        known = sum(presence.is_noted for presence in named)
        figures = (LIFE_MS, len(user.presences), user.told_subscriptions, known)
        return [redis_keys.user_open(user.user_id)], (self._instance, *figures, *(it.name for it in named))

    def _hear(self, user: User, asked: Sequence[Presence], reply: Any) -> None:  # noqa: ANN401 - as the script returns
        """What the other gateways have of a user."""
        moved, told = reply
        records = zip(told[::3], told[1::3], told[2::3], strict=True)
        user.others = {name.decode(): Share(*figures) for name, *figures in records} if told else NOWHERE
        for presence in asked:
            presence.is_noted = True
            if moved and presence.name.encode() in moved and not presence.is_gone:
                presence.subscriptions.outbox.link.end(MOVED)
        excess, in_doubt = user.judge(asked, self._alive)
        if in_doubt:
            self._in_doubt[user] = None
        else:
            self._in_doubt.pop(user, None)
        for presence in excess:
            self._put_out(presence)

    async def _beat(self) -> None:
        """Say that this gateway lives, and see which others have done so since it looked last.

        A gateway tells what has changed, then beats: who has beaten twice since a moment had told, in between, all that
        it knew by then.
        """
        looked = self._loop.time()
        reply = await self._bus.run_script("beat_gateway", [redis_keys.USER_GATEWAYS], [self._instance, LIFE_MS])
        beats = {name: float(at) for name, at in zip(reply[::2], reply[1::2], strict=True)}
        for name, at in beats.items():
            if name in self._beats and at > self._beats[name]:
                gateway = name.decode()
                self._alive[gateway], self._beaten[gateway] = self._beaten.get(gateway, 0.0), self._looked
        for name in self._beats.keys() - beats.keys():
            self._alive.pop(name.decode(), None)
            self._beaten.pop(name.decode(), None)
        self._beats, self._looked = beats, looked

    def _ask_again(self) -> None:
        """Some who could not be told may be by now: they are, by what Redis says then."""
        for user in self._in_doubt:
            if user.is_decided(self._alive):
                self._changed[user] = None

    def _renew_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            user = heapq.heappop(self._due)[2]
            if self._users.get(user.user_id) is not user:
                continue
            if user.presences or user in self._changed:
                self._changed[user] = None
                self._schedule(user, now + RENEW_S)
            else:
                self._forget(user)

    def _schedule(self, user: User, due: float) -> None:
        self._numbered += 1
        heapq.heappush(self._due, (due, self._numbered, user))

    def _forget(self, user: User) -> None:
        del self._users[user.user_id]
        self._in_doubt.pop(user, None)

    def _fall_back(self) -> None:
        """Redis is away: what is known here alone counts, and nothing is kept of who has left."""
        for user in list(self._users.values()):
            user.others = NOWHERE
            if not user.presences:
                self._forget(user)
                self._changed.pop(user, None)

    def _put_out(self, presence: Presence) -> None:
        if not presence.is_gone:
            self.refused[CONNECTIONS] += 1
            error = _too_many(presence.limit, presence.user.connections)
            presence.guest.emit(NAMESPACE, ServerEvent.ERROR, error.payload)
            presence.guest.kick()

    def _limit(self, granted: int | None) -> float:
        return (self._limits.connections or float("inf")) if granted is None else granted


def _too_many(limit: float, actual: int) -> RequestError:
    return RequestError(error_codes.CONNECTION_LIMIT, limit=int(limit), actual=actual)


def _name(text: str) -> str:
    """How a record names a connection: tells nothing of its `pid`, which is the client's secret."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=NAME_BYTES).hexdigest()
