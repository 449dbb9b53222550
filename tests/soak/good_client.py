"""A good client: a load client that also subscribes to trades and keeps the number of every one it gets.

Fed by the gateway; feeds the `crowd`, and through it the ledger. It answers heartbeats, and never comes back: a good
client that loses its connection is a finding.
"""

from collections.abc import Callable
from typing import Any

import msgpack
import msgspec

from services.launcher.load import wire
from services.launcher.load.clients import LoadClient, Tally
from shared.names.events import ClientEvent, ServerEvent

_TRADE = ServerEvent.TRADE_NEW.encode()


class GoodClient(LoadClient):
    """One connection.

    Args:
        symbols: whose prices it subscribes to.
        traded: whose trades.
        tally: where it counts.
        clock: seconds since the epoch, as the publisher's.
        packed: speak the msgpack parser's format.
        sampled: look into prices.

    Attributes:
        trades: numbers of the trades that it got since somebody took them, in their order.
        errors: `error` events that it got: it has asked for nothing that deserves one.
    """

    def __init__(
        self,
        symbols: list[str],
        traded: list[str],
        tally: Tally,
        clock: Callable[[], float],
        *,
        packed: bool,
        sampled: bool,
    ) -> None:
        super().__init__(symbols, {}, tally, clock, packed=packed, sampled=sampled)
        self.trades: list[int] = []
        self.errors = 0
        self._traded = traded

    def take_trades(self) -> list[int]:
        """Those since the last time."""
        taken, self.trades = self.trades, []
        return taken

    def _control(self, opcode: int, payload: bytes) -> None:
        near = payload[: wire.HEAD]
        if _TRADE in near:
            self.trades.append(int(self._argument(payload)["id"]))
        elif b'"error"' in near or b"\xa5error" in near:
            self.errors += 1
        else:
            super()._control(opcode, payload)

    def _settle(self) -> None:
        """Prices are subscribed: now trades, in the same stage."""
        if not self._asked and self._traded:
            traded, self._traded = self._traded, []
            self._ask(ClientEvent.SUBSCRIBE_TRADES, [traded])
        super()._settle()

    def _argument(self, payload: bytes) -> dict[str, Any]:
        """The first one of an event."""
        data = msgpack.unpackb(payload)["data"] if self._packed else msgspec.json.decode(payload[2:])
        found: dict[str, Any] = data[1]
        return found
