"""What a client is given after its socket has drained: the newest prices that it missed, then the log where it stopped.

Prices are never replayed, only brought up to date; log entries are never skipped. Called by the client whose socket
drained; feeds that client's outbox.
"""

from typing import Final

from services.gateway.encoding import Encoded, Encoder
from services.gateway.fanout import Fanout
from services.gateway.market import Change, Market
from services.gateway.outbox import NOT_BEHIND, Flusher, Outbox
from services.gateway.payloads import Payloads, batch_extras
from services.gateway.trade_window import TradeWindow
from shared.clock import Clock
from shared.names.close_reasons import FELL_BEHIND
from shared.names.events import ServerEvent

CATCH_UP_BYTES: Final = 65_536
"""Handed over at a time."""


class CatchUp:
    """Serves clients that were behind."""

    def __init__(
        self,
        market: Market,
        fanout: Fanout,
        encoder: Encoder,
        payloads: Payloads,
        flusher: Flusher,
        window: TradeWindow,
        clock: Clock,
    ) -> None:
        self._market = market
        self._fanout = fanout
        self._encoder = encoder
        self._payloads = payloads
        self._flusher = flusher
        self._window = window
        self._clock = clock
        self._market_event: tuple[int, Encoded] | None = None

    def catch_up(self, member: Outbox) -> None:
        """Write what a client is owed: newest prices first, then the log as far as its socket takes it."""
        frames = self._owed_state(member)
        if frames:
            self._hand_over(member, frames)
        position = member.log_position
        if position == NOT_BEHIND:
            return
        if not self._window.holds(position):
            member.link.end(FELL_BEHIND)
            return
        member.log_position = NOT_BEHIND
        self._replay(member, position)

    def _replay(self, member: Outbox, position: int) -> None:
        chunk: list[bytes] = []
        size = 0
        for index, room, event in self._window.since(position):
            if member.behind:
                member.log_position = index
                return
            if room not in member.rooms:
                continue
            frame = event.frame(member.parser)
            chunk.append(frame)
            size += len(frame)
            if size >= CATCH_UP_BYTES:
                self._hand_over(member, chunk)
                chunk, size = [], 0
        self._hand_over(member, chunk)

    def _hand_over(self, member: Outbox, frames: list[bytes]) -> None:
        if frames:
            member.queue += frames
            self._flusher.sent_bytes += member.flush()

    def _owed_state(self, member: Outbox) -> list[bytes]:
        frames: list[bytes] = []
        if member.owes_market:
            member.owes_market = False
            frames.append(self._whole_market().frame(member.parser))
        if member.owed_batches:
            owed, member.owed_batches = member.owed_batches, None
            changes = [Change(name, price, base) for name, base in owed.items() if (price := self._market.find(name))]
            if changes:
                frames.append(self._fanout.batch_frame(member.parser, changes, self._clock.now_ms()))
        if member.owed_prices:
            owed, member.owed_prices = member.owed_prices, None
            for symbol, base in owed.items():
                price = self._market.find(symbol)
                if price is not None:
                    frames.append(self._fanout.price_event(symbol, price, base).frame(member.parser))
        return frames

    def _whole_market(self) -> Encoded:
        """The whole market as one snapshot batch; made once for all who need it at the same moment."""
        version = self._market.version
        if self._market_event is None or self._market_event[0] != version:
            items = list(self._market.items())
            pairs = [self._payloads.price_pair(symbol, price) for symbol, price in items]
            seqs = [price.seq for _, price in items]
            extras = batch_extras(self._clock.now_ms(), seqs, [0] * len(seqs), snapshot=True)
            self._market_event = version, self._encoder.event(ServerEvent.PRICE_BATCH, pairs, extras)
        return self._market_event[1]
