"""Who is due a beat and who is deaf, among the channels of one Pub/Sub connection. Pure: it is told the time.

A beat is an empty message on the channel itself, so it takes the way that the data takes. Whatever comes on a channel
is a sign of life; where none came for a while, a subscriber publishes a beat, which every other subscriber hears too.
Hence all of them together make about two a second, and nobody is in charge. A channel that stays silent although Redis
has answered the publication of its beat is deaf, whatever its socket says. Fed and asked by `Subscription`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

BEAT: Final = b""

BEAT_S: Final = 0.5
"""A channel that was silent for so long is due a beat."""

JITTER_S: Final = 0.25
"""At most so much later, by chance: the first of many gateways beats, and the others hear it."""

DOUBT_S: Final = 1.25
"""A channel that was silent for so long, with a beat of its own published meanwhile, cannot be vouched for."""

DEAF_S: Final = 2.0
"""A channel that was silent for so long, with a beat of its own published `ECHO_S` ago, is deaf."""

ECHO_S: Final = 1.0
"""Longest way of a beat from Redis, after the answer to its publication."""

LONGEST_STEP_S: Final = 0.2
"""More than this between two ticks is our own sleep: who was stopped, or busy, has not listened to a silence."""


@dataclass(slots=True)
class _Channel:
    """Times are of the listener's own clock, which stands while it sleeps."""

    heard: float
    beaten: float
    answered: float | None = None
    """When Redis first answered a beat since the channel was heard last."""


class Canary:
    """The channels of one connection.

    Args:
        random: a chance in [0, 1).

    Attributes:
        heard: channels on which anything came since the last `tick`; the receiver adds to it, also unknown ones.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._channels: dict[str, _Channel] = {}
        self._unconfirmed: set[str] = set()
        self._now = 0.0
        self._ticked: float | None = None
        self._patience = self._draw_patience()
        self.heard: set[str] = set()

    def ask(self, channels: Iterable[str]) -> None:
        """These are being subscribed; until each is confirmed it counts as silent."""
        for name in channels:
            self._channels[name] = _Channel(self._now, self._now)
            self._unconfirmed.add(name)

    def leave(self, channels: Iterable[str]) -> None:
        """These are nobody's concern any more."""
        for name in channels:
            self._channels.pop(name, None)
            self._unconfirmed.discard(name)

    def confirm(self, channel: str) -> None:
        """The server has confirmed a subscription."""
        self._unconfirmed.discard(channel)

    def tick(self, now: float) -> None:
        """It is `now`, in seconds of any steady clock; what was heard since the last time was heard now."""
        if self._ticked is not None:
            self._now += min(now - self._ticked, LONGEST_STEP_S)
        self._ticked = now
        for name in self.heard - self._unconfirmed:
            channel = self._channels.get(name)
            if channel is not None:
                channel.heard, channel.answered = self._now, None
        self.heard.clear()

    def due(self) -> list[str]:
        """Channels on which to publish a beat now; the next one of each is due later."""
        found = [
            name
            for name, channel in self._channels.items()
            if self._now - max(channel.heard, channel.beaten) >= self._patience
        ]
        for name in found:
            self._channels[name].beaten = self._now
        if found:
            self._patience = self._draw_patience()
        return found

    def answered(self, channels: Iterable[str]) -> None:
        """Redis has answered the publication of these beats."""
        for name in channels:
            channel = self._channels.get(name)
            if channel is not None and channel.answered is None and channel.heard <= channel.beaten:
                channel.answered = self._now

    def doubted(self) -> dict[str, float]:
        """Channels that cannot be vouched for, with the seconds of their silence."""
        return self._silent(DOUBT_S, DOUBT_S - BEAT_S - JITTER_S)

    def deaf(self) -> dict[str, float]:
        """Channels that are deaf, with the seconds of their silence. The connection is of no use."""
        return self._silent(DEAF_S, ECHO_S)

    def _silent(self, seconds: float, since_answer: float) -> dict[str, float]:
        return {
            name: self._now - channel.heard
            for name, channel in self._channels.items()
            if self._now - channel.heard >= seconds
            and channel.answered is not None
            and self._now - channel.answered >= since_answer
        }

    def _draw_patience(self) -> float:
        return BEAT_S + JITTER_S * self._random()
