"""What clients see: messages of the bus as the plain data of events. Shapes are those of the README's table."""

from decimal import Decimal
from typing import Literal

from protocol.socketio.packets import Value
from shared.identity import Identity
from shared.messages import Price, Trade
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
        """`price:update`: `n` source ticks are folded in since the update before; a snapshot restates and adds none."""
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
        if snapshot:
            payload["snap"] = 1
        return payload

    def price_pair(self, symbol: str, price: Price) -> list[Value]:
        """One element of `price:batch`."""
        return [symbol, self.decimal(price.price)]

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


def batch_extras(ts: int, seqs: list[int], ns: list[int], *, snapshot: bool = False) -> Payload:
    """The second argument of `price:batch`; `seqs` and `ns` are parallel to the pairs, `ts` is the gateway's clock."""
    extras: Payload = {"ts": ts, "seqs": seqs, "ns": ns}
    if snapshot:
        extras["snap"] = 1
    return extras


def identity_payload(identity: Identity) -> Payload:
    """`authenticated`, and the ack of `authenticate`."""
    return {"sub": identity.user_id, "role": identity.role, "exp": identity.expires}


def error_payload(error: ErrorCode, **facts: Value) -> Payload:
    """The `error` event and the `error` of an ack."""
    return {"code": error.code, "message": error.message, **facts}
