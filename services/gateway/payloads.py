"""What clients see: messages of the bus as the plain data of events. Shapes are those of the README's table."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from protocol.socketio.packets import Value
from shared.identity import Identity
from shared.intervals import INTERVALS
from shared.messages import Candle, FeedState, Price, Trade
from shared.names.error_codes import ErrorCode

Payload = dict[str, Value]


class Payloads:
    """Builds payloads; decimals are numbers or strings, one way for the whole cluster."""

    __slots__ = ("_as_text",)

    def __init__(self, decimals: Literal["number", "string"]) -> None:
        self._as_text = decimals == "string"

    def decimal(self, text: str) -> Decimal | str:
        """A decimal of the bus as clients get it."""
        return text if self._as_text else Decimal(text)

    def price_update(self, symbol: str, price: Price, n: int, *, snapshot: bool) -> Payload:
        """`price:update`: `n` source ticks are folded in since the update before; a snapshot restates and adds none.

        A snapshot always says the feed's state; other updates say it where it is not `live`.
        """
        payload: Payload = {
            "symbol": symbol,
            "price": self.decimal(price.price),
            "ts": price.ts,
            "seq": price.seq,
            "n": n,
        }
        for name in ("bid", "ask", "amount"):
            text = getattr(price, name)
            if text is not None:
                payload[name] = self.decimal(text)
        if price.side is not None:
            payload["side"] = price.side
        if price.venue is not None:
            payload["venue"] = price.venue
        if snapshot or price.state != "live":
            payload["state"] = price.state
        if price.state != "live":
            payload["since"] = price.since
        if snapshot:
            payload["snap"] = 1
        return payload

    def price_pair(self, symbol: str, price: Price) -> list[Value]:
        """One element of `price:batch`."""
        return [symbol, self.decimal(price.price)]

    def bar(self, interval: str, candle: Candle) -> Payload:
        """A candle as the ack of `subscribe:chart` has it."""
        return {
            "start": candle.start,
            "end": candle.start + INTERVALS[interval],
            "open": self.decimal(candle.open),
            "high": self.decimal(candle.high),
            "low": self.decimal(candle.low),
            "close": self.decimal(candle.close),
            "volume": self.decimal(candle.volume),
            "trades": candle.trades,
            "closed": candle.closed,
            "rev": candle.rev,
        }

    def chart_update(self, symbol: str, interval: str, candle: Candle) -> Payload:
        """`chart:update`."""
        return {"symbol": symbol, "interval": interval, **self.bar(interval, candle)}

    def trade(self, trade: Trade) -> Payload:
        """`trade:new`; never says who traded."""
        payload: Payload = {
            "id": trade.id,
            "symbol": trade.symbol,
            "amount": self.decimal(trade.amount),
            "price": self.decimal(trade.price),
            "side": trade.side,
            "ts": trade.ts,
        }
        if trade.venue is not None:
            payload["venue"] = trade.venue
        return payload

    def trade_notification(self, trade: Trade, user_id: str) -> Payload:
        """`trade:notification`, for that user alone."""
        return {**self.trade(trade), "user_id": user_id}


def batch_extras(
    ts: int, seqs: list[int], ns: list[int], states: Sequence[FeedState] = (), *, snapshot: bool = False
) -> Payload:
    """The second argument of `price:batch`; `seqs`, `ns`, `states` are parallel to the pairs, `ts` is our clock.

    A snapshot always says the states; other batches say them where not all are `live`.
    """
    extras: Payload = {"ts": ts, "seqs": seqs, "ns": ns}
    if states and (snapshot or states.count("live") < len(states)):
        extras["states"] = states
    if snapshot:
        extras["snap"] = 1
    return extras


def identity_payload(identity: Identity) -> Payload:
    """`authenticated`, and the ack of `authenticate`."""
    payload: Payload = {"sub": identity.user_id, "role": identity.role, "exp": identity.expires}
    rights = identity.rights
    if rights.symbols is not None:
        payload["symbols"] = list(rights.symbols.patterns)
    if rights.max_hz is not None:
        payload["max_hz"] = rights.max_hz
    if rights.delay_s:
        payload["delay_s"] = rights.delay_s
    return payload


def error_payload(error: ErrorCode, **facts: Value) -> Payload:
    """The `error` event and the `error` of an ack."""
    return {"code": error.code, "message": error.message, **facts}
