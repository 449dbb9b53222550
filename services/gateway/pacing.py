"""Acts on the paces of slow clients: moves their prices to another interval and tells them so with `link`.

Asked whenever a client that was behind has drained, and once a second for those at a wider interval, while there are
any; feeds `subscriptions.py`. Trades, candles and answers are not its business: they are never folded.
"""

import asyncio
from typing import Final

from services.gateway.encoding import Encoder
from services.gateway.outbox import Outbox
from services.gateway.pace import Pace
from services.gateway.payloads import Payload
from services.gateway.subscriptions import Subscriber, Subscriptions
from shared.names.events import ServerEvent

SLOW: Final = "slow"
RECOVERED: Final = "recovered"
LOOK_S: Final = 1.0
"""Between looks at clients that may take a step back."""


class Pacer:
    """For all clients of a gateway.

    Args:
        batch_ms: the batch window, of which all intervals are multiples.
        delivered: counts events handed to clients, by name.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        subscriber: Subscriber,
        encoder: Encoder,
        delivered: dict[ServerEvent, int],
        batch_ms: int,
    ) -> None:
        self._loop = loop
        self._subscriber = subscriber
        self._encoder = encoder
        self._delivered = delivered
        self._batch_ms = batch_ms
        self._widened: dict[Outbox, None] = {}
        self._scheduled = False

    def __len__(self) -> int:
        """How many clients are at a wider interval."""
        return len(self._widened)

    def drained(self, outbox: Outbox) -> None:
        """A client that was behind takes more: it may have been behind for too long."""
        if outbox.pace is not None and outbox.pace.widen(self._batch_ms):
            self._apply(outbox, outbox.pace)

    def restore(self, outbox: Outbox, pace: Pace) -> None:
        """A client has come back, and is to go on at this pace."""
        outbox.pace = pace
        self._apply(outbox, pace)

    def look(self) -> None:
        """Let clients that keep up take a step back; forget those that are gone or have taken the last."""
        now = self._loop.time()
        for outbox in list(self._widened):
            if outbox.pace is None:
                del self._widened[outbox]
                continue
            outbox.pace.narrow(now)
            self._apply(outbox, outbox.pace)

    def _apply(self, outbox: Outbox, pace: Pace) -> None:
        subscriptions = outbox.member
        if not isinstance(subscriptions, Subscriptions):
            self._widened.pop(outbox, None)
            return
        interval_ms, before_ms = pace.interval_ms(self._batch_ms), subscriptions.pace_ms
        if interval_ms:
            self._widened[outbox] = None
            self._schedule()
        else:
            self._widened.pop(outbox, None)
        if interval_ms != before_ms:
            payload: Payload = {"interval_ms": interval_ms, "reason": SLOW if interval_ms > before_ms else RECOVERED}
            outbox.send(self._encoder.event(ServerEvent.LINK, payload).frame(outbox.parser))
            self._delivered[ServerEvent.LINK] += 1
            self._subscriber.change_pace(subscriptions, interval_ms)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_at(self._loop.time() + LOOK_S, self._fire)

    def _fire(self) -> None:
        self._scheduled = False
        self.look()
        if self._widened:
            self._schedule()
