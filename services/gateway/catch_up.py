"""What a client is given after its socket has drained: newest prices and bars that it missed, then the log from there.

Prices are never replayed, only brought up to date; bars come each once, in their newest version; log entries are never
skipped. Called by the client whose socket
drained; feeds that client's outbox.
"""

from collections.abc import Callable, Mapping
from typing import Final

from services.gateway.chart_fanout import ChartFanout
from services.gateway.fanout import Fanout
from services.gateway.log_window import LogWindow
from services.gateway.market import Change, Market
from services.gateway.outbox import NOT_BEHIND, Flusher, Outbox
from shared.clock import Clock
from shared.names import events
from shared.names.close_reasons import FELL_BEHIND

CATCH_UP_BYTES: Final = 65_536
"""Handed over at a time."""


class CatchUp:
    """Serves clients that were behind.

    Attributes:
        market_of: says which market a client's prices come from; the one there is, if nothing else is said.
    """

    def __init__(
        self,
        market: Market,
        fanout: Fanout,
        charts: ChartFanout,
        flusher: Flusher,
        window: LogWindow,
        clock: Clock,
    ) -> None:
        self.market_of: Callable[[Outbox], Market] = lambda _member: market
        self._fanout = fanout
        self._charts = charts
        self._flusher = flusher
        self._window = window
        self._clock = clock

    def catch_up(self, member: Outbox) -> None:
        """Write what a client is owed: newest prices first, then bars, then the log as far as its socket takes it."""
        self._hand_over(member, self._owed_state(member))
        if not member.behind:
            self._hand_over_charts(member)
        position = member.log_position
        if position == NOT_BEHIND:
            return
        if not self._window.holds(position):
            member.link.end(FELL_BEHIND)
            return
        member.log_position = NOT_BEHIND
        self._replay(member, position)

    def _hand_over_charts(self, member: Outbox) -> None:
        for frames in self._charts.owed(member):
            self._hand_over(member, [frames])
            if member.behind:
                return

    def _replay(self, member: Outbox, position: int) -> None:
        chunk: list[bytes] = []
        size = 0
        joined = member.log_joined or {}
        for entry in self._window.since(position, member.rooms):
            if member.behind:
                member.log_position = entry.index
                return
            if entry.index < joined.get(entry.room, 0):
                continue  # from before it joined
            frame = self._window.frame(entry, member.parser, member.recovers)
            chunk.append(frame)
            size += len(frame)
            if size >= CATCH_UP_BYTES:
                self._hand_over(member, chunk)
                chunk, size = [], 0
        self._hand_over(member, chunk)
        if not member.behind:
            member.log_joined = None

    def _hand_over(self, member: Outbox, frames: list[bytes]) -> None:
        if frames:
            member.queue += frames
            self._flusher.sent_bytes += member.flush()

    def _owed_state(self, member: Outbox) -> list[bytes]:
        """The newest of what it owes; what its windows send next is to build on that."""
        frames: list[bytes] = []
        if member.owed_batches:
            newest = self._newest(member, member.owed_batches)
            member.owed_batches = {change.symbol: change.price.seq for change in newest} or None
            missed = [change for change in newest if change.base != change.price.seq]
            if missed:
                frames.append(self._fanout.batch_frame(member.parser, missed, self._clock.now_ms()))
        if member.owed_prices:
            newest = self._newest(member, member.owed_prices)
            windowed = [change for change in newest if events.price_room(change.symbol) not in member.rooms]
            member.owed_prices = {change.symbol: change.price.seq for change in windowed} or None
            missed = [change for change in newest if change.base != change.price.seq]
            frames += [self._fanout.price_event(*change).frame(member.parser) for change in missed]
        return frames

    def _newest(self, member: Outbox, owed: Mapping[str, int]) -> list[Change]:
        find = self.market_of(member).find
        return [Change(symbol, price, base) for symbol, base in owed.items() if (price := find(symbol))]
