"""TCP connections that are no WebSockets (yet): how many there may be, and which give way.

Fed by `http.py` as they come, finish their first request head, and go; `server.py` reads how many there are. A head
that is never finished (slowloris) holds a place in a bounded queue, where the one that has waited longest gives way to
the next: who means it has finished in a moment, so a flood of them keeps out nobody but itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from services.gateway.addresses import NO_PROXIES, UNCOUNTED, TrustedProxies, parse_address
from services.gateway.admission import Refusal
from services.gateway.turnstile import Turnstile


class Visit(Protocol):
    """One TCP connection.

    Attributes:
        peer: address of its other end.
    """

    peer: str

    def turn_away(self) -> None:
        """Drop it."""

    def close(self) -> None:
        """Let what is written go out, then end it."""


@dataclass(frozen=True, slots=True)
class DoorwayLimits:
    """0 is no limit, everywhere.

    Attributes:
        max_sockets: TCP connections, WebSockets among them: what the process has file descriptors for.
        max_unfinished: TCP connections that have not finished their first request head.
        max_per_address: TCP connections of one address that are no WebSockets.
        proxies: whom no limit by address applies to, and whose PROXY header is believed.
        proxy_header: whether each connection begins with one.
    """

    max_sockets: int = 0
    max_unfinished: int = 0
    max_per_address: int = 0
    proxies: TrustedProxies = NO_PROXIES
    proxy_header: bool = False


NO_LIMITS: Final = DoorwayLimits()


class Doorway:
    """All of them.

    Args:
        limits: on them.
        websockets: how many WebSockets there are.
        on_refused: gets the reason for each that was dropped.

    Attributes:
        turnstile: for what they send.
    """

    def __init__(self, limits: DoorwayLimits, websockets: Callable[[], int], on_refused: Callable[[str], None]) -> None:
        self._limits = limits
        self._websockets = websockets
        self._on_refused = on_refused
        self._visits: dict[Visit, str] = {}
        self._unfinished: dict[Visit, None] = {}
        self._by_address: dict[str, int] = {}
        self.expects_proxy_header = limits.proxy_header
        self.turnstile = Turnstile()

    def __len__(self) -> int:
        return len(self._visits)

    def __iter__(self) -> Iterator[Visit]:
        return iter(list(self._visits))

    @property
    def unfinished(self) -> int:
        """How many have not finished their first request head."""
        return len(self._unfinished)

    def enter(self, visit: Visit) -> bool:
        """One has come; False when it was dropped."""
        limits = self._limits
        self._visits[visit] = UNCOUNTED
        self._unfinished[visit] = None
        if limits.max_sockets and len(self._visits) + self._websockets() > limits.max_sockets:
            return self._refuse(visit, Refusal.NO_SOCKETS)
        if limits.max_unfinished and len(self._unfinished) > limits.max_unfinished:
            self._refuse(next(iter(self._unfinished)), Refusal.UNFINISHED)
        if not limits.proxy_header:
            return self._count(visit)
        if limits.proxies.trusts(parse_address(visit.peer)):
            return True
        return self._refuse(visit, Refusal.NO_PROXY_HEADER)

    def introduce(self, visit: Visit, source: str | None) -> bool:
        """Its PROXY header has named the client; False when it was dropped for it."""
        if source is None:
            return True
        visit.peer = source
        return self._count(visit)

    def refuse_header(self, visit: Visit) -> None:
        """Its PROXY header is none: drop it."""
        self._refuse(visit, Refusal.NO_PROXY_HEADER)

    def finish_head(self, visit: Visit) -> None:
        """Its first request head is complete."""
        self._unfinished.pop(visit, None)

    def leave(self, visit: Visit) -> None:
        """It is gone, or a WebSocket; harmless when it had left."""
        self._unfinished.pop(visit, None)
        key = self._visits.pop(visit, UNCOUNTED)
        if key != UNCOUNTED:
            self._by_address[key] -= 1
            if not self._by_address[key]:
                del self._by_address[key]

    def _count(self, visit: Visit) -> bool:
        limits = self._limits
        if not limits.max_per_address:
            return True
        key = limits.proxies.key_of(parse_address(visit.peer))
        if key == UNCOUNTED:
            return True
        self._visits[visit] = key
        self._by_address[key] = self._by_address.get(key, 0) + 1
        if self._by_address[key] > limits.max_per_address:
            return self._refuse(visit, Refusal.ADDRESS_UNFINISHED)
        return True

    def _refuse(self, visit: Visit, reason: Refusal) -> bool:
        self._on_refused(reason.value)
        self.leave(visit)
        visit.turn_away()
        return False
