"""The heartbeat of one Engine.IO life: when the next ping is due, then when its pong is (protocol reference 2.6).

`session.py` owns one for each life, and the settings that all of them share. `now` is an argument everywhere.
"""

from dataclasses import dataclass
from enum import Enum, auto, unique
from math import inf
from typing import Final

MS: Final = 1_000
"""Milliseconds of a second: settings are in the unit of the wire, deadlines in that of clocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """One object shared by all sessions. Milliseconds and bytes, all positive; told to the client at open.

    Attributes:
        upgrades: whether a polling client is offered WebSocket.
        upgrade_timeout: how long a probing WebSocket may take.
        close_timeout: how long a close packet waits for a GET.
    """

    ping_interval: int = 25_000
    ping_timeout: int = 20_000
    max_payload: int = 1_000_000
    upgrades: bool = True
    upgrade_timeout: int = 10_000
    close_timeout: int = 30_000


@unique
class Beat(Enum):
    """What a deadline asks for."""

    PING = auto()
    """Send a ping."""
    TIMEOUT = auto()
    """The peer is gone."""


class Heartbeat:
    """Two deadlines in turn: the next ping, then its pong.

    Deadlines follow from scheduled times, not from when `handle_deadline` is called, so that lateness does not add up.
    Only when it is called more than half a ping timeout late, because this process stood still and may have unread
    pongs, does the peer get its time from then on instead.

    Args:
        settings: shared by all.
        now: when the life begins; the first ping is due one interval later.

    Attributes:
        pinged_at: when the ping was sent whose pong is awaited; `inf` while none is.
    """

    __slots__ = ("_awaiting_pong", "_due", "_extended", "_settings", "pinged_at")

    def __init__(self, settings: SessionSettings, now: float) -> None:
        self._settings = settings
        self._due = now + settings.ping_interval / MS
        self._awaiting_pong = False
        self._extended = False
        self.pinged_at = inf

    @property
    def due(self) -> float:
        """When to call `handle_deadline`; `inf` once stopped."""
        return self._due

    @property
    def last_pong(self) -> float:
        """When the peer last proved that it lives, or its life began; the schedule tells, so nothing is kept."""
        settings = self._settings
        waits = settings.ping_timeout * (2 if self._extended else 1) if self._awaiting_pong else 0
        return self._due - (settings.ping_interval + waits) / MS

    def handle_deadline(self, now: float) -> Beat | None:
        """Let time pass. Harmless when called too early or too late.

        Returns:
            What to do, if anything.
        """
        if now < self._due:
            return None
        stood_still = self._stood_still(now)
        if not self._awaiting_pong:
            self._awaiting_pong = True
            self._extended = False
            self.pinged_at = now
            self._due = (now if stood_still else self._due) + self._settings.ping_timeout / MS
            return Beat.PING
        if stood_still:
            self._due = now + self._settings.ping_timeout / MS / 2
            return None
        return Beat.TIMEOUT

    def is_overdue(self, now: float) -> bool:
        """Whether the pong is late, even if no timer has run since."""
        return self._awaiting_pong and now >= self._due and not self._stood_still(now)

    def receive_pong(self, now: float) -> None:
        """Schedule the next ping. A pong that nobody asked for changes nothing: it must not put off pings."""
        if self._awaiting_pong:
            self._awaiting_pong = False
            self.pinged_at = inf
            self._due = now + self._settings.ping_interval / MS

    def receive_message(self) -> None:
        """Give a pong more time, once: what arrives before it proves life, and may be what delays it."""
        if self._awaiting_pong and not self._extended:
            self._extended = True
            self._due += self._settings.ping_timeout / MS

    def forgive_pong(self) -> None:
        """Stop waiting for a pong because the transport changes; the next ping comes when it would have come anyway."""
        if self._awaiting_pong:
            settings = self._settings
            waited = settings.ping_timeout * (2 if self._extended else 1)
            self._awaiting_pong = False
            self.pinged_at = inf
            self._due += (settings.ping_interval - waited) / MS

    def stop(self) -> None:
        """Never be due again."""
        self._awaiting_pong = False
        self.pinged_at = inf
        self._due = inf

    def _stood_still(self, now: float) -> bool:
        return now - self._due > self._settings.ping_timeout / MS / 2
