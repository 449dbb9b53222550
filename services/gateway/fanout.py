"""Delivers prices and figures: encode once for each parser, append the same bytes to every member, write once a turn.

Fed by the price and metrics feeds; feeds outboxes. The loops over members are the gateway's hot path. The log has a
fan-out of its own (`log_fanout.py`), and so have charts.
"""

from collections.abc import Iterable, Sequence

from services.gateway.encoding import Encoded, Encoder
from services.gateway.hub import Hub, Room
from services.gateway.market import UNKNOWN, Change
from services.gateway.outbox import Flusher, Outbox
from services.gateway.payloads import Payload, Payloads, batch_extras
from shared.messages import Price
from shared.names import events
from shared.names.events import ServerEvent


class Fanout:
    """All deliveries of a gateway.

    Attributes:
        delivered: how many events were handed to clients, by name.
    """

    def __init__(self, hub: Hub, encoder: Encoder, payloads: Payloads, flusher: Flusher) -> None:
        self._hub = hub
        self._encoder = encoder
        self._payloads = payloads
        self._flusher = flusher
        self.delivered: dict[ServerEvent, int] = dict.fromkeys(ServerEvent, 0)

    def price(self, symbol: str, price: Price, base: int) -> None:
        """Send one new price to those who want each one."""
        room = self._hub.find(events.price_room(symbol))
        if room is not None:
            self.price_to(room, symbol, price, base)

    def price_to(self, room: Room, symbol: str, price: Price, base: int) -> None:
        """Send a price that builds on `seq` `base` to the members of a room; those behind will owe it."""
        event = self.price_event(symbol, price, base)
        touched: list[Outbox] = []
        count = 0
        for parser, members in enumerate(room.members):
            if not members:
                continue
            frame = event.frame(parser)
            count += len(members)
            for member in members:
                if member.behind:
                    self.owe_price(member, symbol, base)
                    continue
                queue = member.queue
                if not queue:
                    touched.append(member)
                queue.append(frame)
        self._flusher.touch_all(touched)
        self.delivered[ServerEvent.PRICE_UPDATE] += count

    def price_event(self, symbol: str, price: Price, base: int) -> Encoded:
        """`price:update`; a base that is unknown, or of an epoch gone by, makes it a snapshot."""
        known = UNKNOWN < base < price.seq
        payload = self._payloads.price_update(symbol, price, price.seq - base if known else 0, snapshot=not known)
        return self._encoder.price_update(payload)

    def batch_frame(self, parser: int, changes: Sequence[Change], ts: int) -> bytes:
        """A `price:batch` for one client: those that build on `UNKNOWN` restate, and are a snapshot when all do."""
        pairs = [self._encoder.pair(parser, self._payloads.price_pair(item.symbol, item.price)) for item in changes]
        known = [UNKNOWN < item.base < item.price.seq for item in changes]
        ns = [item.price.seq - item.base if sure else 0 for item, sure in zip(changes, known, strict=True)]
        states = [item.price.state for item in changes]
        extras = batch_extras(ts, [item.price.seq for item in changes], ns, states, snapshot=not any(known))
        return self._encoder.batch(parser, pairs, extras)

    def market_event(self, prices: Iterable[tuple[str, Price]], ts: int) -> Encoded:
        """A `price:batch` that restates every price, for clients that build on none."""
        items = list(prices)
        pairs = [self._payloads.price_pair(symbol, price) for symbol, price in items]
        seqs, states = [price.seq for _, price in items], [price.state for _, price in items]
        extras = batch_extras(ts, seqs, [0] * len(items), states, snapshot=True)
        return self._encoder.event(ServerEvent.PRICE_BATCH, pairs, extras)

    def owe_price(self, member: Outbox, symbol: str, base: int) -> None:
        """Remember that a client which is behind did not get a price that builds on `base`."""
        if member.owed_prices is None:
            member.owed_prices = {}
        owe(member.owed_prices, symbol, base)

    def metrics(self, payload: Payload) -> None:
        """Send the cluster's figures to the admins."""
        room = self._hub.find(events.ADMIN_ROOM)
        if room is None:
            return
        event = self._encoder.event(ServerEvent.METRICS, payload)
        for parser, members in enumerate(room.members):
            for member in members:
                member.send(event.frame(parser))
            self.delivered[ServerEvent.METRICS] += len(members)


def owe(owed: dict[str, int], symbol: str, base: int) -> None:
    """A member missed a price that builds on `base`: what it is owed builds on its first, or restates."""
    if base == UNKNOWN:
        owed[symbol] = UNKNOWN
    else:
        owed.setdefault(symbol, base)
