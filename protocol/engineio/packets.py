"""The seven Engine.IO packets as a closed set of frozen values (protocol reference 2.1).

`codec.py` makes them out of frames and frames out of them, `session.py` says what each one means. Which side may send
a packet stands in its docstring.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Open:
    """Server to client, once, first packet of a connection. Times in milliseconds, `max_payload` in bytes."""

    sid: str
    upgrades: tuple[str, ...]
    ping_interval: int
    ping_timeout: int
    max_payload: int


@dataclass(frozen=True, slots=True)
class Close:
    """Both ways: the sender is leaving. On WebSocket peers simply close the socket."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Server to client; from a client only with `probe`, on a WebSocket that wants to take over from polling."""

    probe: bool = False


@dataclass(frozen=True, slots=True)
class Pong:
    """Client to server; from a server only with `probe`."""

    probe: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """Both ways: what the layer above says, text or binary."""

    data: str | bytes


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Client to server on a probing WebSocket: from now on this is the transport."""


@dataclass(frozen=True, slots=True)
class Noop:
    """Server to client: ends a parked polling request while an upgrade goes on."""


Packet = Open | Close | Ping | Pong | Message | Upgrade | Noop
