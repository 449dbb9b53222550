"""How often a slow client gets prices: judged by its progress, which is how much of its time it is behind. Pure.

A client that is behind for three of its last ten intervals gets the next wider one; one that was not behind for ten
seconds goes one step back. Time behind is summed up and repaid while it keeps up, so that one long stall and many short
ones count alike, and catching up quickly costs nothing. Fed by `outbox.py`; `pacing.py` acts on it.

Not sizes: a cap on bytes would judge how much was sent to a client, and cut off those who subscribe to much.
"""

from typing import Final, NamedTuple, Self

from shared.names import close_reasons

STEPS: Final = (0, 2, 5, 10)
"""Intervals by level, in multiples of the batch window, all of them in `windows.LADDER`; 0: as the client asked for."""

WIDEST: Final = len(STEPS) - 1

SKIPPED: Final = 3
"""So many intervals behind, and the next wider one is taken."""

OF: Final = 10
"""Out of so many: what a client is behind is repaid at such a rate that a lesser share never adds up."""

CALM_S: Final = 10.0
"""Without being behind, until one step back."""

LOOP_CLOSES: Final = 3
"""So many endings within `LOOP_MS`, and a client that comes back starts at the widest interval: no disconnect loop."""

LOOP_MS: Final = 300_000

SLOW_ENDINGS: Final = frozenset({close_reasons.SLOW_CONSUMER, close_reasons.FELL_BEHIND, close_reasons.BUFFER_FULL})
"""Endings that count as such."""


class PaceRecord(NamedTuple):
    """What a session keeps of a `Pace`: plain data.

    Attributes:
        level: index into `STEPS`.
        closes: when the client was ended as slow, newest last, in ms since the epoch.
    """

    level: int = 0
    closes: tuple[int, ...] = ()


NO_RECORD: Final = PaceRecord()


class Pace:
    """One client's; made when it falls behind for the first time.

    `now` is the event loop's clock in seconds, `now_ms` the time of day, which other gateways know too.

    Attributes:
        level: index into `STEPS`.
    """

    __slots__ = ("_behind_s", "_closes", "_is_behind", "_since", "level")

    def __init__(self, now: float, record: PaceRecord = NO_RECORD) -> None:
        self.level = min(max(record.level, 0), WIDEST)
        self._closes = record.closes
        self._since = now
        self._is_behind = False
        self._behind_s = 0.0

    @property
    def behind_since(self) -> float | None:
        """When it fell behind; None while it keeps up."""
        return self._since if self._is_behind else None

    def interval_ms(self, batch_ms: int) -> int:
        """The least time between two prices of a symbol; 0: as the client asked for."""
        return STEPS[self.level] * batch_ms

    def fall_behind(self, now: float) -> None:
        """It is behind from now on."""
        repaid = (now - self._since) * SKIPPED / (OF - SKIPPED)
        self._behind_s = max(0.0, self._behind_s - repaid)
        self._since = now
        self._is_behind = True

    def catch_up(self, now: float) -> None:
        """It takes more again."""
        if self._is_behind:
            self._behind_s += now - self._since
            self._since = now
            self._is_behind = False

    def widen(self, batch_ms: int) -> bool:
        """Take one step if it was behind for so long; whether it did."""
        interval_s = max(1, STEPS[self.level]) * batch_ms / 1000
        if self.level == WIDEST or self._behind_s < SKIPPED * interval_s:
            return False
        self.level += 1
        self._behind_s = 0.0
        return True

    def narrow(self, now: float) -> bool:
        """Take one step back if it kept up for so long; whether it did."""
        if not self.level or self._is_behind or now - self._since < CALM_S:
            return False
        self.level -= 1
        self._behind_s = 0.0
        self._since = now
        return True

    def note_close(self, now_ms: int) -> None:
        """It was ended for one of `SLOW_ENDINGS`."""
        self._closes = (*self._closes, now_ms)[-LOOP_CLOSES:]

    def record(self) -> PaceRecord:
        """What to keep for its return."""
        return PaceRecord(self.level, self._closes)

    @classmethod
    def restored(cls, record: PaceRecord, now: float, now_ms: int) -> Self:
        """The pace of a client that comes back: as it was, or the widest where it was ended again and again."""
        closes = tuple(at for at in record.closes[-LOOP_CLOSES:] if now_ms - at < LOOP_MS)
        return cls(now, PaceRecord(WIDEST if len(closes) == LOOP_CLOSES else record.level, closes))
