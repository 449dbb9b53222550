"""Newest-first bursts: where the trades of one symbol stand that have no id. Pure.

Fed by `services.price_ingest.symbol_chart`, one trade without an id after the other in order of arrival; feeds it
with each one's `Point`. Some exchanges answer a subscription with their last trades newest first, and cryptofeed
writes them so (Phemex: 1000). Event time puts them right, but trades of equal time stand in reverse order of arrival,
and after a reconnect the same ones come again.

A run is what arrives without a step forward in time. At its third step back it is a burst: from then on its trades are
placed in reverse, and those that were seen before it began are repeats. What arrived earlier in the run was placed as
if it were live; `Correction` says what that changes. So the outcome does not depend on how reads cut the run.
"""

from collections import Counter
from itertools import groupby, takewhile
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from services.price_ingest.aggregate import Point
from services.price_ingest.normalise import Tick
from shared.messages import Side, Whole

STEPS_BACK: Final = 3
"""Strictly falling event times that make a burst. One or two may be late trades of a live feed."""

MAX_UNDECIDED: Final = 1000
"""Trades kept of a run that is not known to be a burst. The head of a longer one, all of about one time, stays live."""


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trade of a run that may turn out to be a burst.

    Attributes:
        ts, at, rank, price, amount, side: as in `Tick`.
        echo: `rank` of the first trade that it equals, if it does equal one.
    """

    ts: Whole
    at: int
    rank: int
    price: str
    amount: str
    side: Side | None
    echo: int | None

    def is_before(self, rank: int) -> bool:
        """Whether it is a trade that was seen before the one of this rank."""
        return self.echo is not None and self.echo < rank


class Move(NamedTuple):
    """Trades of one time that stand elsewhere: event time in ms, where they were placed, where they belong."""

    ts: int
    before: list[Point]
    after: list[Point]


class Correction(NamedTuple):
    """What a run that turns out to be a burst changes: trades that stand elsewhere, and trades counted twice."""

    moves: list[Move]
    repeats: list[Member]


class Run(msgspec.Struct, array_like=True):
    """What has arrived of one symbol without a step forward in time. Encoded, it is part of the symbol's snapshot.

    Attributes:
        anchor: rank at which it began.
        at: event time of the newest arrival, ns.
        steps: how often time stepped back.
        burst: whether it is known to be one.
        undecided: its trades, until it is known to be a burst.
    """

    anchor: int = -1
    at: int = -1
    steps: int = 0
    burst: bool = False
    undecided: list[Member] = []

    def place(self, tick: Tick, echo: int | None) -> Point | None:
        """Where a trade stands; None for a repeat, which is to be dropped.

        Call `recognise` once the trade is folded.

        Args:
            tick: a trade without an id.
            echo: see `Member`.
        """
        assert tick.price is not None
        if tick.at > self.at:
            self.anchor, self.at, self.steps, self.burst = tick.rank, tick.at, 0, False
            self.undecided = []
        elif tick.at < self.at:
            self.at = tick.at
            self.steps += 1
        if not self.burst:
            member = Member(tick.ts, tick.at, tick.rank, tick.price, tick.amount or "0", tick.side, echo)
            self.undecided.append(member)
            return _live_point(member)
        if echo is not None and echo < self.anchor:
            return None
        return (tick.at, self.anchor, -tick.rank, tick.price)

    def recognise(self) -> Correction | None:
        """What to correct, if the run has just turned out to be a burst."""
        if self.burst or not self.undecided:
            return None
        if self.steps < STEPS_BACK:
            if len(self.undecided) > MAX_UNDECIDED:
                self.undecided = self.undecided[-1:]
            return None
        members = self.undecided[self._live_head() :]
        self.undecided = []
        self.burst = True
        self.anchor = members[0].rank
        repeats = [member for member in members if member.is_before(self.anchor)]
        return Correction([self._move(list(group)) for _, group in groupby(members, attrgetter("at"))], repeats)

    def _live_head(self) -> int:
        """How many trades at the head are not of the burst.

        An upstream that reconnects while nothing is traded begins with the very trades that came last, at the same
        time: only what follows, all of it known from before, shows that the second half of the head is a repeat.
        """
        first = self.undecided[0]
        head = list(takewhile(lambda member: member.at == first.at, self.undecided))
        if not all(member.is_before(first.rank) for member in self.undecided[len(head) :]):
            return 0
        new = [member for member in head if not member.is_before(first.rank)]
        counts = Counter((member.price, member.amount, member.side) for member in new)
        return sum(count // 2 for count in counts.values())

    def _move(self, group: list[Member]) -> Move:
        after = [(member.at, self.anchor, -member.rank, member.price) for member in group]
        return Move(group[0].ts, [_live_point(member) for member in group], after)


def _live_point(member: Member) -> Point:
    return (member.at, member.rank, 0, member.price)
