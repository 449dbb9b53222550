"""The entries of cryptofeed's Redis stream backends, versions 2 and 3.

`trades-*`: exchange symbol side amount price id type timestamp receipt_timestamp. `ticker-*`: bid and ask in place of
side, amount, price, id, type. All values are text, `None` among them, and times are seconds. Its other streams
(candles, book, funding, open interest, liquidations) say nothing that is used here.
"""

from collections.abc import Mapping, Sequence
from typing import Final

_TRADE: Final = (b"symbol", b"price", b"amount", b"side", b"id")
_QUOTE: Final = (b"symbol", b"bid", b"ask")


def is_entry(fields: Mapping[bytes, bytes]) -> bool:
    """Whether an entry is of this format, used or not."""
    return b"receipt_timestamp" in fields and b"exchange" in fields


def unwrap(fields: Mapping[bytes, bytes]) -> Sequence[Mapping[bytes, bytes]]:
    """The trade or the quote of an entry, nothing for any other."""
    if b"price" in fields and b"amount" in fields:
        return (_pick(fields, _TRADE, b"trade"),)
    if b"bid" in fields and b"ask" in fields:
        return (_pick(fields, _QUOTE, b"quote"),)
    return ()


def _pick(fields: Mapping[bytes, bytes], names: Sequence[bytes], kind: bytes) -> Mapping[bytes, bytes]:
    picked = {name: fields[name] for name in names if name in fields}
    picked[b"venue"] = fields[b"exchange"]
    if b"timestamp" in fields:
        picked[b"ts"] = fields[b"timestamp"]
    picked[b"type"] = kind
    return picked
