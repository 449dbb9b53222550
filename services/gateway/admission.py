"""Whether one more client may come: limits of the gateway and of each address. Pure; time is an argument, in seconds.

Fed by `server.py` with each handshake; a client counts once, however many TCP connections it polls with. An address is
kept only while it has clients or its bucket is not full again, so that no number of addresses grows it.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.gateway.addresses import UNCOUNTED
from services.gateway.limits import TokenBucket

SWEEP: Final = 4
"""Addresses looked at for each new one: more leave than come, once they are idle."""


ROOM_AGAIN: Final = 0.95
"""Of the limit: a gateway that was full is ready again below that, so that it does not come and go with each client."""


class Fullness:
    """Whether a gateway has room: a readiness check, so that whoever balances sends new clients elsewhere.

    Args:
        limit: of clients; 0: none.
        count: how many there are.
    """

    def __init__(self, limit: int, count: Callable[[], int]) -> None:
        self._limit = limit
        self._count = count
        self._is_full = False

    def check(self) -> str | None:
        """None while there is room."""
        clients = self._count()
        self._is_full = bool(self._limit) and clients >= self._limit * (ROOM_AGAIN if self._is_full else 1)
        return f"{clients} clients of at most {self._limit}" if self._is_full else None


class Refusal(StrEnum):
    """Why not; a metric label and what the client is told."""

    STOPPING = "stopping"
    FULL = "full"
    TOO_FAST = "too many new clients"
    ADDRESS_FULL = "too many clients from this address"
    ADDRESS_TOO_FAST = "too many new clients from this address"
    NO_SOCKETS = "too many TCP connections"
    UNFINISHED = "too many unfinished requests"
    ADDRESS_UNFINISHED = "too many requests from this address"
    NO_PROXY_HEADER = "no PROXY header from a trusted proxy"

    @property
    def is_of_address(self) -> bool:
        """Whether others are let in meanwhile."""
        return self in (Refusal.ADDRESS_FULL, Refusal.ADDRESS_TOO_FAST, Refusal.ADDRESS_UNFINISHED)


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """0 is no limit, everywhere.

    Attributes:
        max_connections: clients at once.
        max_accepts: new clients a second.
        max_per_address: clients at once of one address.
        max_accepts_per_address: new clients a second of one address.
    """

    max_connections: int = 0
    max_accepts: float = 0
    max_per_address: int = 0
    max_accepts_per_address: float = 0


class _Address:
    __slots__ = ("bucket", "clients")

    def __init__(self, burst: float, now: float) -> None:
        self.clients = 0
        self.bucket = TokenBucket(burst, now)


class Admission:
    """The clients of a gateway, counted.

    Args:
        limits: on them.
        now: the event loop's clock.
    """

    def __init__(self, limits: AdmissionLimits, now: float) -> None:
        self._limits = limits
        self._accepts = TokenBucket(limits.max_accepts, now)
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._by_address = bool(limits.max_per_address or limits.max_accepts_per_address)

    def __len__(self) -> int:
        """How many addresses are kept."""
        return len(self._addresses)

    def judge(self, address: str, clients: int, now: float) -> Refusal | None:
        """Judge a handshake; the address first, so that one alone cannot use up what is everybody's.

        Args:
            address: whose; `UNCOUNTED` where none is.
            clients: how many there are already.
            now: the event loop's clock.
        """
        limits = self._limits
        refusal = self._judge_address(address, now)
        if refusal is not None:
            return refusal
        if limits.max_connections and clients >= limits.max_connections:
            return Refusal.FULL
        if limits.max_accepts and self._accepts.take(limits.max_accepts, limits.max_accepts, now):
            return Refusal.TOO_FAST
        return None

    def enter(self, address: str) -> None:
        """A client that was judged has come."""
        if address in self._addresses:
            self._addresses[address].clients += 1

    def leave(self, address: str) -> None:
        """It has gone."""
        if address in self._addresses:
            self._addresses[address].clients -= 1

    def _judge_address(self, address: str, now: float) -> Refusal | None:
        if not self._by_address or address == UNCOUNTED:
            return None
        limits = self._limits
        rate = limits.max_accepts_per_address
        known = self._addresses.get(address)
        if known is None:
            self._sweep(now)
            known = self._addresses[address] = _Address(rate, now)
        if limits.max_per_address and known.clients >= limits.max_per_address:
            return Refusal.ADDRESS_FULL
        if rate and known.bucket.take(rate, rate, now):
            return Refusal.ADDRESS_TOO_FAST
        return None

    def _sweep(self, now: float) -> None:
        """Drop what need not be remembered, a few at a time, oldest first."""
        rate = self._limits.max_accepts_per_address
        for _ in range(min(SWEEP, len(self._addresses))):
            address, known = self._addresses.popitem(last=False)
            if known.clients or (rate and not known.bucket.is_full(rate, rate, now)):
                self._addresses[address] = known
