"""Event times, exact to the ns: seconds, ms, µs or ns since 1970, told apart by size, or ISO 8601."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from shared.upstream.errors import Refusal, UpstreamError
from shared.upstream.fields import ABSENT, MAX_DECIMAL_LENGTH, decode

FUTURE_MS: Final = 86_400_000
"""A time further ahead of the entry's own is a mistake, and would silence its symbol until then."""

LATEST_MS: Final = 8_000_000_000_000
"""In the year 2223. Later ones, in ns or with a number behind them, do not fit 64 bits."""

NS_PER_MS: Final = 1_000_000

# Seconds, milliseconds and microseconds since 1970, told apart by size until the year 5138; above are nanoseconds.
_UNITS: Final = ((10**11, 9), (10**14, 6), (10**17, 3))
"""(values below, decimal places to move to get ns)"""

_MS_DIGITS: Final = len("1763800000000")
_FRACTION: Final = re.compile(r"[.,](\d+)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_time(fields: Mapping[bytes, bytes], entry_id: str) -> int:
    """The `ts` field in ms, for an entry whose id begins with the ms at which Redis got it; see `read_time_ns`."""
    return read_time_ns(fields, check_written(int(entry_id.partition("-")[0]))) // NS_PER_MS


def check_written(written: int) -> int:
    """The ms of an entry's id, which whoever appends may choose.

    Raises:
        UpstreamError: they are of a year that cannot be meant.
    """
    if written > LATEST_MS:
        raise UpstreamError(Refusal.FUTURE, "entry")
    return written


def read_time_ns(fields: Mapping[bytes, bytes], written: int) -> int:
    """The `ts` field in ns; absent: `written`, the ms at which Redis got the entry.

    Raises:
        UpstreamError: it is no time, before 1970, or a day ahead of the entry.
    """
    raw = fields.get(b"ts")
    if raw is None or raw in ABSENT:
        return written * NS_PER_MS
    at = int(raw) * NS_PER_MS if len(raw) == _MS_DIGITS and raw.isdigit() else _nanoseconds(decode(raw, "ts"))
    if at > (written + FUTURE_MS) * NS_PER_MS:
        raise UpstreamError(Refusal.FUTURE, "ts")
    return at


def _nanoseconds(text: str) -> int:
    if len(text) > MAX_DECIMAL_LENGTH:
        raise UpstreamError(Refusal.TOO_LONG, "ts", MAX_DECIMAL_LENGTH)
    try:
        value = Decimal(text)
    except InvalidOperation:
        return _iso_nanoseconds(text)
    if not value.is_finite() or value < 0 or value.adjusted() > MAX_DECIMAL_LENGTH:
        raise UpstreamError(Refusal.BAD_TIME, "ts")
    places = next((places for below, places in _UNITS if value < below), 0)
    return int(value.scaleb(places))


def _iso_nanoseconds(text: str) -> int:
    """The fraction is read apart, for `datetime` knows microseconds alone."""
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
    except ValueError:
        raise UpstreamError(Refusal.BAD_TIME, "ts") from None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    fraction = _FRACTION.search(text)
    below = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    at = (since.days * 86_400 + since.seconds) * 10**9 + below
    if at < 0:
        raise UpstreamError(Refusal.BAD_TIME, "ts")
    return at
