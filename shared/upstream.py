"""What upstreams write, read with suspicion: text fields become checked values, or an error that names the field.

Both readers of upstream streams use this: price-ingest (a trade is a price too) and trade-notifier. Decimals keep the
upstream's digits and lose only the exponent, so 64000.10 stays 64000.10 and 6.38e-06 becomes 0.00000638.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final

from shared.messages import Side
from shared.symbols import is_symbol

MAX_TEXT_LENGTH: Final = 128
MAX_DECIMAL_LENGTH: Final = 40
MAX_USERS: Final = 64
FUTURE_MS: Final = 86_400_000
"""A time further ahead of the entry's own is a mistake, and would silence its symbol until then."""

_CANONICAL: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
"""What nearly all upstreams write: a `Decimal` made of it would print the same text, at thrice the cost."""

_ABSENT: Final = frozenset({b"", b"None", b"null", b"nan", b"NaN"})
_SIDES: Final[dict[bytes, Side]] = {b"buy": "buy", b"sell": "sell"}

# Seconds, milliseconds and microseconds since 1970, told apart by size until the year 5138; above are nanoseconds.
_SECONDS_BELOW: Final = 10**11
_MILLISECONDS_BELOW: Final = 10**14
_MICROSECONDS_BELOW: Final = 10**17


class Refusal(StrEnum):
    """Why an upstream entry is refused: metric label and reason in the dead-letter stream."""

    MISSING = "missing_field"
    BAD_SYMBOL = "bad_symbol"
    BAD_DECIMAL = "bad_decimal"
    NOT_POSITIVE = "not_positive"
    BAD_TIME = "bad_time"
    FUTURE = "time_in_the_future"
    BAD_SIDE = "bad_side"
    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    TOO_MANY_USERS = "too_many_users"


class UpstreamError(Exception):
    """An entry that cannot be used: which field, and why."""

    def __init__(self, refusal: Refusal, field: str) -> None:
        super().__init__(f"{field}: {refusal}")
        self.refusal = refusal
        self.field = field


@dataclass(frozen=True, slots=True)
class UpstreamTrade:
    """One entry of `feed:trades`.

    Attributes:
        id: the upstream's, else the stream entry's.
        users: who is to be notified, each once.
        symbol, amount, price, side, ts, venue: as in `shared.messages.Trade`.
    """

    id: str
    symbol: str
    amount: str
    price: str
    side: Side | None
    ts: int
    venue: str | None
    users: tuple[str, ...]


def parse_trade(fields: Mapping[bytes, bytes], entry_id: str) -> UpstreamTrade:
    """Read one trade.

    Raises:
        UpstreamError: `symbol`, `price` or `amount` is missing, or any field is not what it should be.
    """
    return UpstreamTrade(
        id=read_text(fields, b"id") or entry_id,
        symbol=read_symbol(fields),
        amount=_required(read_decimal(fields, b"amount", positive=True), "amount"),
        price=_required(read_decimal(fields, b"price"), "price"),
        side=read_side(fields),
        ts=read_time(fields, entry_id),
        venue=read_text(fields, b"venue"),
        users=_read_users(fields),
    )


def read_symbol(fields: Mapping[bytes, bytes]) -> str:
    """The `symbol` field."""
    raw = fields.get(b"symbol")
    if raw is None:
        raise UpstreamError(Refusal.MISSING, "symbol")
    symbol = _decode(raw, "symbol")
    if not is_symbol(symbol):
        raise UpstreamError(Refusal.BAD_SYMBOL, "symbol")
    return symbol


def read_decimal(fields: Mapping[bytes, bytes], name: bytes, *, positive: bool = False) -> str | None:
    """A decimal field as canonical text, None where it is absent."""
    raw = fields.get(name)
    if raw is None or raw in _ABSENT:
        return None
    if len(raw) > MAX_DECIMAL_LENGTH:
        raise UpstreamError(Refusal.TOO_LONG, name.decode())
    text = raw.decode() if _CANONICAL.fullmatch(raw) else _canonical(raw, name.decode())
    if positive and (text[0] == "-" or not text.strip("0.")):
        raise UpstreamError(Refusal.NOT_POSITIVE, name.decode())
    return text


def _canonical(raw: bytes, name: str) -> str:
    try:
        value = Decimal(_decode(raw, name))
    except InvalidOperation:
        raise UpstreamError(Refusal.BAD_DECIMAL, name) from None
    if not value.is_finite() or not -MAX_DECIMAL_LENGTH < value.adjusted() < MAX_DECIMAL_LENGTH:
        raise UpstreamError(Refusal.BAD_DECIMAL, name)
    return format(value, "f")


def read_side(fields: Mapping[bytes, bytes]) -> Side | None:
    """The `side` field, in either case."""
    raw = fields.get(b"side")
    if raw is None or raw in _ABSENT:
        return None
    side = _SIDES.get(raw.lower())
    if side is None:
        raise UpstreamError(Refusal.BAD_SIDE, "side")
    return side


def read_text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    """A short free text, None where it is absent."""
    raw = fields.get(name)
    if raw is None or raw in _ABSENT:
        return None
    if len(raw) > MAX_TEXT_LENGTH:
        raise UpstreamError(Refusal.TOO_LONG, name.decode())
    return _decode(raw, name.decode())


def read_time(fields: Mapping[bytes, bytes], entry_id: str) -> int:
    """The `ts` field in ms: seconds, ms, µs or ns by magnitude, or ISO 8601; absent: when Redis got the entry."""
    written = int(entry_id.partition("-")[0])
    raw = fields.get(b"ts")
    if raw is None or raw in _ABSENT:
        return written
    text = _decode(raw, "ts")
    ms = int(text) if text.isascii() and text.isdigit() and len(text) == len("1763800000000") else _milliseconds(text)
    if ms > written + FUTURE_MS:
        raise UpstreamError(Refusal.FUTURE, "ts")
    return ms


def _milliseconds(text: str) -> int:
    if len(text) > MAX_DECIMAL_LENGTH:
        raise UpstreamError(Refusal.TOO_LONG, "ts")
    try:
        value = Decimal(text)
    except InvalidOperation:
        return _iso_milliseconds(text)
    if not value.is_finite() or value < 0 or value.adjusted() > MAX_DECIMAL_LENGTH:
        raise UpstreamError(Refusal.BAD_TIME, "ts")
    if value < _SECONDS_BELOW:
        return int(value * 1000)
    if value < _MILLISECONDS_BELOW:
        return int(value)
    return int(value / (1000 if value < _MICROSECONDS_BELOW else 1_000_000))


def _iso_milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UpstreamError(Refusal.BAD_TIME, "ts") from None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    ms = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    if ms < 0:
        raise UpstreamError(Refusal.BAD_TIME, "ts")
    return ms


def _read_users(fields: Mapping[bytes, bytes]) -> tuple[str, ...]:
    raw = fields.get(b"user_id")
    if raw is None or raw in _ABSENT:
        return ()
    names = dict.fromkeys(part.strip() for part in _decode(raw, "user_id").split(","))
    users = tuple(name for name in names if name)
    if len(users) > MAX_USERS:
        raise UpstreamError(Refusal.TOO_MANY_USERS, "user_id")
    if any(len(name) > MAX_TEXT_LENGTH for name in users):
        raise UpstreamError(Refusal.TOO_LONG, "user_id")
    return users


def _decode(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise UpstreamError(Refusal.NOT_TEXT, name) from None


def _required(value: str | None, name: str) -> str:
    if value is None:
        raise UpstreamError(Refusal.MISSING, name)
    return value
