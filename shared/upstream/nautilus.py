"""The entries of NautilusTrader's message bus: `topic`, `payload` and, in newer releases, `type` and `encoding`.

`type` is empty and `encoding` says JSON whatever is sent, so both are left unread: the payload's first byte tells its
encoding, and its own `type` what it is. `TradeTick` and `QuoteTick` are used, bars and all else is not.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.upstream import generic
from shared.upstream.aliases import names_a_symbol
from shared.upstream.payload import flatten, read_payload

_TRADE: Final = {
    b"price": b"price",
    b"size": b"amount",
    b"aggressor_side": b"side",
    b"trade_id": b"id",
    b"ts_event": b"ts",
}
_QUOTE: Final = {
    b"bid_price": b"bid",
    b"ask_price": b"ask",
    b"bid_size": b"bid_size",
    b"ask_size": b"ask_size",
    b"ts_event": b"ts",
}
_KINDS: Final = {"TradeTick": (b"trade", _TRADE), "QuoteTick": (b"quote", _QUOTE)}
_SIDES: Final = {b"BUYER": b"buy", b"SELLER": b"sell", b"NO_AGGRESSOR": b""}


def is_entry(fields: Mapping[bytes, bytes]) -> bool:
    """Whether an entry looks like this format from outside."""
    return b"topic" in fields and b"payload" in fields


def unwrap(fields: Mapping[bytes, bytes]) -> Sequence[Mapping[bytes, bytes]]:
    """The trade or the quote of an entry, nothing for any other.

    Raises:
        UpstreamError: the payload cannot be read.
    """
    payload = read_payload(fields[b"payload"], "payload")
    if not isinstance(payload, dict) or not isinstance(payload.get("type"), str) or _is_foreign(payload):
        return generic.unwrap_payload(payload, "payload")
    if payload["type"] not in _KINDS:
        return ()
    kind, names = _KINDS[payload["type"]]
    flat = flatten(payload)
    found = {ours: flat[theirs] for theirs, ours in names.items() if theirs in flat}
    if b"side" in found:
        found[b"side"] = _SIDES.get(found[b"side"], found[b"side"])
    return ({**found, b"type": kind, **_instrument(flat.get(b"instrument_id", b""))},)


def _is_foreign(payload: Mapping[Any, Any]) -> bool:
    """Somebody else's message in fields of the same names."""
    return "instrument_id" not in payload and names_a_symbol(flatten(payload))


def _instrument(name: bytes) -> Mapping[bytes, bytes]:
    """`BTCUSDT-PERP.BINANCE` as symbol and venue: a symbol may hold dots, a venue does not."""
    symbol, dot, venue = name.rpartition(b".")
    return {b"symbol": symbol, b"venue": venue} if dot else {b"symbol": name}
