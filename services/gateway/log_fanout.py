"""Delivers log entries to rooms, and writes their frames: with the cursor for clients that recover, without for others.

Fed by `trade_feed.py`; feeds outboxes, and the window that those who are behind or come back are served from. Every
receiver of a frame gets the same bytes.
"""

from services.gateway.cursor import id_of
from services.gateway.encoding import Encoder
from services.gateway.hub import Hub
from services.gateway.log_window import LogEntry, LogWindow
from services.gateway.outbox import NOT_BEHIND, Flusher, Outbox
from services.gateway.payloads import Payloads
from shared.log import get_logger
from shared.messages import DecodeError, decode_trade
from shared.names.events import ServerEvent

log = get_logger(__name__)


class LogFanout:
    """`trade:new` and `trade:notification` for all clients.

    Args:
        hub: has the rooms.
        encoder: makes frames.
        payloads: makes what is in them.
        flusher: writes at the end of the turn.
        delivered: events handed to clients by name; added to.
        window_bytes: how much of the logs is kept in memory.
        shards: logs of trades; there are as many of users behind them.

    Attributes:
        window: the newest entries.
        rejected: entries that could not be read.
    """

    def __init__(
        self,
        hub: Hub,
        encoder: Encoder,
        payloads: Payloads,
        flusher: Flusher,
        delivered: dict[ServerEvent, int],
        *,
        window_bytes: int,
        shards: int,
    ) -> None:
        self._hub = hub
        self._encoder = encoder
        self._payloads = payloads
        self._flusher = flusher
        self._delivered = delivered
        self._shards = shards
        self.window = LogWindow(window_bytes, self._write_shared, 2 * shards)
        self.rejected = 0

    def join(self, room: str, member: Outbox) -> None:
        """Have a client get the entries of a room from here on; one that is behind, too, gets none from before."""
        if member.behind and room not in member.rooms:
            member.log_joined = {**(member.log_joined or {}), room: self.window.next_index}
        self._hub.join(room, member)

    def deliver(self, entry: LogEntry) -> None:
        """Keep an entry, and send it to everybody in its room; those who are behind will owe it."""
        window = self.window
        window.append(entry)
        room = self._hub.find(entry.room)
        if room is None:
            return
        touched: list[Outbox] = []
        count = 0
        for parser, members in enumerate(room.members):
            if not members:
                continue
            count += len(members)
            frames: list[bytes | None] = [None, None]  # without the cursor, and with it
            for member in members:
                if member.behind:
                    if member.log_position == NOT_BEHIND:
                        member.log_position = entry.index
                    continue
                queue = member.queue
                if not queue:
                    touched.append(member)
                frame = frames[member.recovers]
                if frame is None:
                    frame = frames[member.recovers] = window.frame(entry, parser, with_cursor=member.recovers)
                queue.append(frame)
        self._flusher.touch_all(touched)
        self._delivered[self._event_of(entry)] += count

    def beat(self, member: Outbox, cursor: str) -> None:
        """Renew the cursor of a client that may get no entry for long, unless it has some yet to come."""
        if not member.behind and not member.replaying and member.log_position == NOT_BEHIND:
            member.send(self._encoder.log_event(ServerEvent.CURSOR, ({}, cursor)).frame(member.parser))

    def write(self, entry: LogEntry, parser: int, cursor: str | None) -> bytes:
        """The frame of an entry, with a cursor or without; nothing for one that cannot be read, which is counted."""
        if not entry.data:
            return b""
        event = self._event_of(entry)
        try:
            trade = decode_trade(entry.data)
            if event is ServerEvent.TRADE_NEW and trade.symbol != entry.subject:
                raise DecodeError(f"the log of {entry.subject} holds a trade of another symbol")
        except DecodeError as error:
            self.reject(id_of(entry.position), error)
            entry.data = b""
            return b""
        if event is ServerEvent.TRADE_NEW:
            payload = self._payloads.trade(trade)
        else:
            payload = self._payloads.trade_notification(trade, entry.subject)
        args = (payload,) if cursor is None else (payload, cursor)
        return self._encoder.log_event(event, args).frame(parser)

    def _write_shared(self, entry: LogEntry, parser: int, with_cursor: bool) -> bytes:  # noqa: FBT001 - `WriteEntry`
        return self.write(entry, parser, entry.cursor if with_cursor else None)

    def reject(self, where: str, error: Exception) -> None:
        """Count an entry that is passed over; the log tells of some."""
        self.rejected += 1
        if self.rejected & (self.rejected - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: never a flood
            log.warning("log_entry_rejected", entry=where, error=error, rejected=self.rejected)

    def _event_of(self, entry: LogEntry) -> ServerEvent:
        return ServerEvent.TRADE_NEW if entry.log < self._shards else ServerEvent.TRADE_NOTIFICATION
