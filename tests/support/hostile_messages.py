"""What somebody might put on a bus that other people trust: bytes that run, bytes that grow, bytes that nearly fit."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from shared.messages import VERSION

LARGE: Final = 10_485_760
DEEP: Final = 100_000
SYMBOLS: Final = (
    *("", "{}", "{prices}", "A\r\nB", "user:victim", "admin", "*", "X" * 10_000, "\x00", "\u2028", "__proto__", "a b"),
    *("price:GOOD", "GOOD\n", "md:{prices}:epoch"),
)
DECIMALS: Final = ("", "x", "NaN", "Infinity", "-Infinity", "1e999", "1" * 500, "1_0", "٣", "0x10", " 1", "1\n")
TIMES: Final = (-(2**62) - 1, -(2**63), 2**62 + 1, 2**64 - 1)


def running_pickle(proof: Path) -> bytes:
    """A pickle that makes a file where somebody loads it."""
    return f"cposix\nsystem\n(S'touch {proof}'\ntR.".encode()


def blobs(proof: Path) -> Iterator[bytes]:
    """Bytes that are no message of ours."""
    chance = random.Random(6)
    yield running_pickle(proof)
    yield b"\xff" * 100
    yield from (chance.randbytes(length) for length in (1, 10, 100, 10_000) for _ in range(5))
    yield b"\x91" * DEEP + b"\xc0"
    yield b"[" * DEEP
    yield b'{"a":' * DEEP
    yield b"\xdd\xff\xff\xff\xff"
    yield b"\xdf\xff\xff\xff\xff"
    yield b"\xc6\xff\xff\xff\xff"
    yield b"x" * LARGE
    yield msgspec.msgpack.encode(["x" * LARGE])
    yield msgspec.json.encode({"x": "y" * LARGE})


def near_prices() -> Iterator[list[Any]]:
    """Arrays that are nearly a `Price`."""
    good: list[Any] = ["1", 5, 0, 1, None, None, None, None, None, "live", 0]
    columns = ((0, DECIMALS), (1, TIMES), (2, TIMES), (3, TIMES), (4, DECIMALS), (9, ("dead",)), (10, TIMES))
    for field, values in columns:
        for value in values:
            yield [*good[:field], value, *good[field + 1 :]]
    yield [1, 5, 6]
    yield []


def near_candles() -> Iterator[list[Any]]:
    """Arrays that are nearly a `Candle`."""
    good: list[Any] = [60_000, "1", "1", "1", "1", "1", 1, False, 0]
    for field, values in ((0, TIMES), *((at, DECIMALS) for at in range(1, 6)), (6, TIMES), (8, TIMES)):
        for value in values:
            yield [*good[:field], value, *good[field + 1 :]]


def near_trades(symbol: str) -> Iterator[list[Any]]:
    """Arrays that are nearly a `Trade`."""
    good: list[Any] = ["id", symbol, "1", "1", None, 5, None]
    columns = ((0, ("x" * 1000,)), (1, SYMBOLS), (2, DECIMALS), (3, DECIMALS), (4, ("hold",)), (5, TIMES))
    for field, values in columns:
        for value in values:
            yield [*good[:field], value, *good[field + 1 :]]


def batches(epoch: str, rows: list[list[Any]], symbol: str) -> Iterator[bytes]:
    """Publications that are nearly a `PriceBatch` or a `ChartBatch`: of other versions, and with such rows."""
    encode = msgspec.msgpack.encode
    yield encode([VERSION + 1, epoch, 5, {symbol: rows[0]}])
    yield encode([VERSION, epoch, "now", {symbol: rows[0]}])
    yield encode([VERSION, epoch, 2**64 - 1, {symbol: rows[0]}])
    yield encode([VERSION, epoch * 100_000, 5, {}])
    yield from (encode([VERSION, epoch, 5, {symbol: row}]) for row in rows)
    yield encode([VERSION, epoch, 5, dict.fromkeys(SYMBOLS, rows[0])])


def feed_entries(symbol: str) -> Iterator[dict[str, str | bytes]]:
    """Entries of a feed, each of which has something wrong."""
    good: dict[str, str | bytes] = {"symbol": symbol, "price": "1", "amount": "1"}
    yield from ({**good, "symbol": name} for name in SYMBOLS)
    yield from ({**good, "price": text} for text in DECIMALS if text)
    yield from ({**good, "ts": str(ts)} for ts in (*TIMES, "NaN", "1e999", "9" * 500))
    yield {**good, "user_id": ",".join(f"user-{number}" for number in range(100_000))}
    yield {**good, "id": "x" * 100_000}
    yield {**good, "venue": b"\xff\xfe"}
    yield {f"field-{number}": "x" for number in range(10_000)}
    yield {"data": b"[" * DEEP}
    yield {"data": b"{" * LARGE}
    yield {"payload": msgspec.msgpack.encode([{"symbol": symbol}] * 100_000)}
    yield {**good, "price": "1" * LARGE}
