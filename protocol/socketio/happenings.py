"""What may happen to one client's namespaces: what `connection.py` tells its caller, as frozen values.

`Connection.receive_message` returns one `Happening`; `AckTimedOut` comes from the passing of time instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.socketio.packets import EventName, Value


@dataclass(frozen=True, slots=True)
class ConnectRequested:
    """The peer wants to join: call `accept` or `refuse`. `auth` is `{}` if it sent none.

    With recovery it may hold `pid` and `offset` (5), secrets like the token beside them: never log it.
    """

    namespace: str
    auth: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class EventReceived:
    """The peer sent an event; with an `ack_id` it waits for one `send_ack`."""

    namespace: str
    name: EventName
    args: tuple[Value, ...]
    ack_id: int | None


@dataclass(frozen=True, slots=True)
class AckReceived:
    """The peer answered the event that was sent with this `token`."""

    namespace: str
    token: object
    args: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class AckUnknown:
    """The peer answered something that was never asked, or too late: count it, else ignore it."""

    namespace: str
    ack_id: int


@dataclass(frozen=True, slots=True)
class AckTimedOut:
    """The peer did not answer the event that was sent with this `token` in time, or never will."""

    namespace: str
    token: object


@dataclass(frozen=True, slots=True)
class NamespaceLeft:
    """The peer left cleanly. No reply; the transport stays. `unanswered` are the tokens of acks that never come."""

    namespace: str
    unanswered: tuple[object, ...] = ()


Happening = ConnectRequested | EventReceived | AckReceived | AckUnknown | NamespaceLeft
