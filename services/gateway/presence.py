"""What a gateway knows of one user: its connections here, how many there are elsewhere, and who of them is too many.

Filled by `users.py` out of Redis; no I/O here. The newest gives way, and only where it is certain: a connection that
other gateways' records put above the limit is kept until each gateway that is counted against it has given signs of
life since it came. So whoever comes back from a gateway that was killed is not refused for the sake of its own ghosts,
and an attacker's surplus lives as long as two beats.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from protocol.socketio.packets import Value
from services.gateway.limits import TokenBucket
from services.gateway.subscriptions import Subscriptions

BURST_S = 4
"""A user's events at once, in seconds of its rate."""

LEAST_RATE = 1.0
"""Events a second that every gateway grants, however small its share of the user's connections."""


class Share(NamedTuple):
    """What another gateway has of a user."""

    connections: int
    subscriptions: int


NOWHERE: Mapping[str, Share] = MappingProxyType({})


class Guest(Protocol):
    """The client at the other end of a connection; `Client` is one."""

    def emit(self, namespace: str, event: str, *args: Value) -> None:
        """Tell it something."""

    def kick(self) -> None:
        """End its connection for good."""


class Presence:
    """One connection of a user.

    Attributes:
        user: whose.
        guest: who is told when it is too many.
        subscriptions: what it gets; they are counted for the user.
        name: how the records in Redis know it, the same when the client comes back with its `pid`.
        limit: how many connections of the user its token allows.
        arrived: when, on the loop's clock, s.
        is_noted: whether Redis has it.
        is_confirmed: whether it is known not to be too many.
        is_gone: whether it has left.
    """

    __slots__ = (
        "arrived",
        "guest",
        "is_confirmed",
        "is_gone",
        "is_noted",
        "limit",
        "name",
        "subscriptions",
        "user",
    )

    def __init__(
        self, user: "User", guest: Guest, subscriptions: Subscriptions, name: str, limit: float, arrived: float
    ) -> None:
        self.user = user
        self.guest = guest
        self.subscriptions = subscriptions
        self.name = name
        self.limit = limit
        self.arrived = arrived
        self.is_noted = False
        self.is_confirmed = False
        self.is_gone = False


class User:
    """One user with a connection here, or that had one a moment ago.

    Attributes:
        user_id: the token's `sub`.
        presences: its connections here, oldest first.
        others: gateway -> what it has, as Redis said last.
        told_subscriptions: of those here, as Redis was told last.
        full_since: when somebody first came who was one too many, if no connection has ended since.
    """

    __slots__ = ("_bucket", "full_since", "others", "presences", "told_subscriptions", "user_id")

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.presences: list[Presence] = []
        self.others = NOWHERE
        self.told_subscriptions = 0
        self.full_since: float | None = None
        self._bucket: TokenBucket | None = None

    @property
    def connections(self) -> int:
        """In the whole cluster, as far as is known here."""
        return len(self.presences) + sum(share.connections for share in self.others.values())

    @property
    def subscriptions(self) -> int:
        """Of its connections here."""
        return sum(len(presence.subscriptions) for presence in self.presences)

    def subscriptions_elsewhere(self, since: float, alive: Mapping[str, float]) -> int:
        """Of its connections at other gateways that have lived since then; `alive` as for `judge`."""
        return sum(share.subscriptions for share in self._certain(since, alive))

    def take(self, rate: float, now: float) -> float:
        """Count one event against this gateway's share of the user's rate; 0.0, or the seconds to wait."""
        share = len(self.presences) / max(1, self.connections)
        own_rate = max(LEAST_RATE, rate * share)
        burst = own_rate * BURST_S
        if self._bucket is None:
            self._bucket = TokenBucket(burst, now)
        return self._bucket.take(own_rate, burst, now)

    def judge(self, asked: Iterable[Presence], alive: Mapping[str, float]) -> tuple[list[Presence], bool]:
        """Decide about the connections that Redis was asked for, now that `others` is what it answered.

        Args:
            asked: oldest first.
            alive: gateway -> a moment after which it certainly lived, on the clock of `Presence.arrived`.

        Returns:
            Those that are too many, and whether others are left that cannot be told yet.
        """
        excess: list[Presence] = []
        in_doubt = False
        elsewhere = self.connections - len(self.presences)
        before = 0
        for presence in asked:
            if presence.is_gone:
                continue
            if not presence.is_confirmed:
                if elsewhere + before < presence.limit:
                    presence.is_confirmed = True
                elif before + self._certain_connections(presence, alive) >= presence.limit:
                    excess.append(presence)
                    continue
                else:
                    in_doubt = True
            before += 1
        return excess, in_doubt

    def is_decided(self, alive: Mapping[str, float]) -> bool:
        """Whether there are enough signs of life by now to put out one of those that could not be told."""
        return any(
            not presence.is_confirmed and before + self._certain_connections(presence, alive) >= presence.limit
            for before, presence in enumerate(self.presences)
        )

    def _certain_connections(self, presence: Presence, alive: Mapping[str, float]) -> int:
        return sum(share.connections for share in self._certain(presence.arrived, alive))

    def _certain(self, since: float, alive: Mapping[str, float]) -> Iterable[Share]:
        """What gateways have that have lived since then."""
        return (share for gateway, share in self.others.items() if alive.get(gateway, -1.0) >= since)
