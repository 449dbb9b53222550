"""Candle intervals: on the UTC epoch, start inclusive, end exclusive."""

from typing import Final

INTERVALS: Final[dict[str, int]] = {
    "1s": 1_000,
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}
"""Name, as Binance and cryptofeed write it -> length in ms. Each divides all longer ones."""


def start_of(ts: int, length: int) -> int:
    """Where the candle that holds an event time begins, both in ms."""
    return ts - ts % length
