"""Text fields become checked values, or an error that names the field.

Both readers of upstream streams use this: price-ingest (a trade is a price too) and trade-notifier. Decimals keep the
upstream's digits and lose only the exponent, so 64000.10 stays 64000.10 and 6.38e-06 becomes 0.00000638.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from shared.messages import Side
from shared.symbols import is_symbol
from shared.upstream.errors import Refusal, UpstreamError
from shared.upstream.symbols import SymbolNames

MAX_TEXT_LENGTH: Final = 128
MAX_DECIMAL_LENGTH: Final = 40

ABSENT: Final = frozenset({b"", b"None", b"null", b"nan", b"NaN"})
"""How upstreams write nothing."""

_ONE, _NINE, _DOT = b"19."
_STATES: Final[dict[bytes, Literal["live", "halted"]]] = {b"live": "live", b"halted": "halted"}
_SIDES: Final[dict[bytes, Side]] = {b"buy": "buy", b"sell": "sell"}


def read_symbol(fields: Mapping[bytes, bytes], names: SymbolNames | None = None) -> str:
    """The `symbol` field, under the name that it has here."""
    raw = fields.get(b"symbol")
    if raw is None:
        raise UpstreamError(Refusal.MISSING, "symbol")
    symbol = decode(raw, "symbol")
    if names is not None:
        venue = read_text(fields, b"venue")
        if venue is None and names.needs_venue:
            raise UpstreamError(Refusal.MISSING, "venue")
        symbol = names.rename(symbol, venue)
    if not is_symbol(symbol):
        raise UpstreamError(Refusal.BAD_SYMBOL, "symbol")
    return symbol


def read_decimal(fields: Mapping[bytes, bytes], name: bytes, *, positive: bool = False) -> str | None:
    """A decimal field as canonical text, None where it is absent."""
    raw = fields.get(name)
    if raw is None or raw in ABSENT:
        return None
    if len(raw) > MAX_DECIMAL_LENGTH:
        raise UpstreamError(Refusal.TOO_LONG, name.decode(), MAX_DECIMAL_LENGTH)
    if (_ONE <= raw[0] <= _NINE or raw[:2] == b"0.") and raw[-1] != _DOT and raw.replace(b".", b"", 1).isdigit():
        text = (
            raw.decode()
        )  # what nearly all upstreams write: a Decimal of it would print the same, at many times the cost
    else:
        text = _canonical(raw, name.decode())
    if positive and (text[0] == "-" or not text.strip("0.")):
        raise UpstreamError(Refusal.NOT_POSITIVE, name.decode())
    return text


def _canonical(raw: bytes, name: str) -> str:
    try:
        value = Decimal(decode(raw, name))
    except InvalidOperation:
        raise UpstreamError(Refusal.BAD_DECIMAL, name) from None
    if not value.is_finite() or not -MAX_DECIMAL_LENGTH < value.adjusted() < MAX_DECIMAL_LENGTH:
        raise UpstreamError(Refusal.BAD_DECIMAL, name)
    return format(value, "f")


def read_side(fields: Mapping[bytes, bytes]) -> Side | None:
    """The `side` field, in either case."""
    raw = fields.get(b"side")
    if raw is None or raw in ABSENT:
        return None
    side = _SIDES.get(raw.lower())
    if side is None:
        raise UpstreamError(Refusal.BAD_SIDE, "side")
    return side


def read_state(fields: Mapping[bytes, bytes]) -> Literal["live", "halted"] | None:
    """The `state` field: what the upstream says of the symbol's feed. That one is stale shows here alone."""
    raw = fields.get(b"state")
    if raw is None or raw in ABSENT:
        return None
    state = _STATES.get(raw.lower())
    if state is None:
        raise UpstreamError(Refusal.BAD_STATE, "state")
    return state


def read_text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    """A short free text, None where it is absent."""
    raw = fields.get(name)
    if raw is None or raw in ABSENT:
        return None
    if len(raw) > MAX_TEXT_LENGTH:
        raise UpstreamError(Refusal.TOO_LONG, name.decode(), MAX_TEXT_LENGTH)
    return decode(raw, name.decode())


def decode(raw: bytes, name: str) -> str:
    """A field's text; `name` is for the error."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise UpstreamError(Refusal.NOT_TEXT, name) from None
