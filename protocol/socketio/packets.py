"""The five Socket.IO packets as a closed set of frozen values (protocol reference 3.1, 4).

A parser makes them out of Engine.IO messages and messages out of them. BINARY_EVENT and BINARY_ACK are no packets of
their own: they are how the JSON parser writes an `Event` or `Ack` that holds bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from decimal import Decimal

Value: TypeAlias = "bool | int | float | str | bytes | Decimal | Sequence[Value] | Mapping[str, Value] | None"
"""What an argument may be. Received values are only ever None, bool, int, float, str, bytes, list or dict."""

EventName: TypeAlias = str | int | float
"""Almost always a str: the protocol lets clients use numbers too (3.1), which no handler of ours is registered for."""

ROOT: Final = "/"
"""The namespace that is left out on the wire."""

RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"},
)
"""Names with a meaning of their own in client and server libraries: never sent, refused when received (3.1)."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Client to server: join, `data` is the auth object. Server to client: joined, `data` is `{sid[, pid]}`."""

    namespace: str = ROOT
    data: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Both ways: the sender ends this namespace; the transport stays."""

    namespace: str = ROOT


@dataclass(frozen=True, slots=True)
class Event:
    """Both ways. With an `ack_id` the sender asks for exactly one `Ack` of that id."""

    name: EventName
    args: tuple[Value, ...] = ()
    namespace: str = ROOT
    ack_id: int | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Both ways: the answer to the `Event` of that id."""

    ack_id: int
    args: tuple[Value, ...] = ()
    namespace: str = ROOT


@dataclass(frozen=True, slots=True)
class ConnectError:
    """Server to client only: the CONNECT was refused; stock clients do not try again by themselves (3.2)."""

    data: str | Mapping[str, Value]
    namespace: str = ROOT


Packet = Connect | Disconnect | Event | Ack | ConnectError
