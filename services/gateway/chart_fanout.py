"""Delivers candles to those who watch a chart, and remembers what clients that are behind did not get.

Fed by `chart_feed.py`; feeds outboxes. A client that is behind owes no bars, only the start of the first one that it
missed of each chart: when its socket drains, `catch_up.py` asks for everything from there on, in its newest version.
"""

from collections.abc import Iterable, Iterator, Sequence

from services.gateway.charts import Series
from services.gateway.encoding import Encoder
from services.gateway.hub import Hub
from services.gateway.outbox import Flusher, Outbox
from services.gateway.payloads import Payloads
from shared.messages import Candle
from shared.names import events
from shared.names.events import ServerEvent


class ChartFanout:
    """`chart:update` for all clients.

    Args:
        hub: has the rooms.
        encoder: makes frames.
        payloads: makes what is in them.
        flusher: writes at the end of the turn.
        delivered: events handed to clients by name; added to.
    """

    def __init__(
        self, hub: Hub, encoder: Encoder, payloads: Payloads, flusher: Flusher, delivered: dict[ServerEvent, int]
    ) -> None:
        self._hub = hub
        self._encoder = encoder
        self._payloads = payloads
        self._flusher = flusher
        self._delivered = delivered
        self._owed: dict[Outbox, dict[Series, int]] = {}

    def join(self, series: Series, member: Outbox) -> None:
        """Give a client every update from now on; harmless when it has them."""
        self._hub.join(_room(series), member)

    def has(self, series: Series, member: Outbox) -> bool:
        """Whether a client gets the updates."""
        return _room(series) in member.rooms

    def leave(self, series: Series, member: Outbox) -> None:
        """Give it no more, also not those that it is owed; harmless when it has none."""
        self._hub.leave(_room(series), member)
        owed = self._owed.get(member)
        if owed is not None:
            owed.pop(series, None)
            if not owed:
                del self._owed[member]

    def send(self, series: Series, bars: Sequence[Candle]) -> None:
        """Send bars that have changed, in order of start, to all watchers; those behind will owe them."""
        room = self._hub.find(_room(series))
        if room is None or not bars:
            return
        touched: list[Outbox] = []
        for parser, members in enumerate(room.members):
            if not members:
                continue
            frames = self._frames(series, bars, parser)
            self._delivered[ServerEvent.CHART_UPDATE] += len(members) * len(bars)
            for member in members:
                if member.behind:
                    self._owe(member, series, bars[0].start)
                    continue
                if not member.queue:
                    touched.append(member)
                member.queue.append(frames)
        self._flusher.touch_all(touched)

    def send_to(self, series: Series, bars: Sequence[Candle], member: Outbox) -> None:
        """Send bars to one watcher, who is not behind."""
        if bars:
            self._delivered[ServerEvent.CHART_UPDATE] += len(bars)
            member.send(self._frames(series, bars, member.parser))

    def owed(self, member: Outbox) -> Iterator[bytes]:
        """What a client is owed, chart by chart; what is not taken stays owed."""
        owed = self._owed.get(member)
        while owed:
            series, start = owed.popitem()
            yield self._frames(series, series.bars(start), member.parser)
        if owed is not None and self._owed.get(member) is owed:
            del self._owed[member]

    def _owe(self, member: Outbox, series: Series, start: int) -> None:
        owed = self._owed.setdefault(member, {})
        owed[series] = min(start, owed.get(series, start))

    def _frames(self, series: Series, bars: Iterable[Candle], parser: int) -> bytes:
        event = ServerEvent.CHART_UPDATE
        updates = (self._payloads.chart_update(series.symbol, series.interval, bar) for bar in bars)
        return b"".join([self._encoder.event(event, update).frame(parser) for update in updates])


def _room(series: Series) -> str:
    return events.chart_room(series.symbol, series.interval)
