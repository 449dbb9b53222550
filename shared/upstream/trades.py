"""One canonical mapping as a trade for the log. Feeds `services.trade_notifier`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.messages import Side
from shared.upstream.errors import Refusal, UpstreamError
from shared.upstream.fields import ABSENT, MAX_TEXT_LENGTH, decode, read_decimal, read_side, read_symbol, read_text
from shared.upstream.symbols import SymbolNames
from shared.upstream.times import read_time

MAX_USERS: Final = 64


@dataclass(frozen=True, slots=True)
class UpstreamTrade:
    """One upstream trade.

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


def parse_trade(fields: Mapping[bytes, bytes], entry_id: str, names: SymbolNames | None = None) -> UpstreamTrade:
    """Read one trade; `entry_id` begins with the ms at which Redis got it, and is its id where it has none.

    Raises:
        UpstreamError: `symbol`, `price` or `amount` is missing, or any field is not what it should be.
    """
    return UpstreamTrade(
        id=read_text(fields, b"id") or entry_id,
        symbol=read_symbol(fields, names),
        amount=_required(read_decimal(fields, b"amount", positive=True), "amount"),
        price=_required(read_decimal(fields, b"price"), "price"),
        side=read_side(fields),
        ts=read_time(fields, entry_id),
        venue=read_text(fields, b"venue"),
        users=_read_users(fields),
    )


def _read_users(fields: Mapping[bytes, bytes]) -> tuple[str, ...]:
    raw = fields.get(b"user_id")
    if raw is None or raw in ABSENT:
        return ()
    names = dict.fromkeys(part.strip() for part in decode(raw, "user_id").split(","))
    users = tuple(name for name in names if name)
    if len(users) > MAX_USERS:
        raise UpstreamError(Refusal.TOO_MANY_USERS, "user_id", MAX_USERS)
    if any(len(name) > MAX_TEXT_LENGTH for name in users):
        raise UpstreamError(Refusal.TOO_LONG, "user_id", MAX_TEXT_LENGTH)
    return users


def _required(value: str | None, name: str) -> str:
    if value is None:
        raise UpstreamError(Refusal.MISSING, name)
    return value
