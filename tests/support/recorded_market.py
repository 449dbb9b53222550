"""Recorded trades and the exchanges' own candles, from `../shared/data`, as ticks and plain values."""

import csv
import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from services.price_ingest.normalise import Kind, Tick
from shared.messages import Side
from tests.support.source_tree import ROOT

DATA = ROOT.parent / "shared" / "data"


class Kline(NamedTuple):
    """An exchange's candle, as numbers."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None = None


def kline(*values: str, trades: int | None = None) -> Kline:
    opening, high, low, close, volume = map(Decimal, values)
    return Kline(opening, high, low, close, volume, trades)


def recorded(name: str) -> Path:
    """A recording; the test is skipped where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the recorded data is not here: ../shared/data/{name}")
    return path


def read_csv(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(recorded(name), "rt", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


def trade(
    symbol: str, price: str, at: int, rank: int, amount: str, side: Side | None, trade_id: str | None = None
) -> Tick:
    return Tick(symbol, Kind.TRADE, price, at // 1_000_000, at, rank, trade_id, amount=amount, side=side)


def phemex_trades() -> list[Tick]:
    """Of ten symbols, in event order, without ids; the scaled integers are the prices."""
    return [
        trade(row["symbol"], row["price_scaled"], int(row["ts_ns"]), rank, row["size"], _side(row["side"]))
        for rank, row in enumerate(read_csv("phemex-20210703/trades.csv.gz"), 1)
    ]


def phemex_entries() -> list[Tick]:
    """The same trades as cryptofeed wrote them, each symbol's newest first; else as in `phemex_trades`."""
    ticks = []
    with gzip.open(recorded("phemex-20210703/cryptofeed-stream-entries.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["key"].startswith("trades-"):
                ticks.append(_cryptofeed_trade(entry["id"], entry["fields"]))
    return ticks


def _cryptofeed_trade(entry_id: str, fields: dict[str, str]) -> Tick:
    base, quote, *perpetual = fields["symbol"].split("-")
    symbol, scale = (f"{base}{quote}", 4) if perpetual else (f"s{base}{quote}", 8)
    price = format(Decimal(fields["price"]).scaleb(scale).normalize(), "f")
    amount = format(Decimal(fields["amount"]).normalize(), "f")
    ms, _, number = entry_id.partition("-")
    at = int(Decimal(fields["timestamp"]) * 10**9)
    rank = int(ms) << 20 | int(number)
    return trade(symbol, price, at, rank, amount, _side(fields["side"]))


def phemex_klines() -> dict[str, dict[int, Kline]]:
    """symbol -> start in ms -> the exchange's candle of one minute."""
    klines: dict[str, dict[int, Kline]] = {}
    for row in read_csv("phemex-20210703/klines-1m.csv.gz"):
        start = int(row["start_s"]) * 1000
        klines.setdefault(row["symbol"], {})[start] = kline(
            row["open"], row["high"], row["low"], row["close"], row["volume"]
        )
    return klines


def binance_trades() -> list[Tick]:
    """Of six symbols over ten minutes across midnight, with ids, up to 735 in one ms, in order of receipt."""
    return [
        trade(
            row["symbol"],
            row["price"],
            int(row["trade_ms"]) * 1_000_000,
            rank,
            row["qty"],
            "sell" if row["buyer_is_maker"] == "1" else "buy",
            row["trade_id"],
        )
        for rank, row in enumerate(read_csv("binance-20240809/trades.csv.gz"), 1)
    ]


class RunningKline(NamedTuple):
    """A candle of a minute as it stood: its values, and the trades that it was made of."""

    symbol: str
    start: int
    values: Kline
    ticks: list[Tick]


def running_klines() -> list[RunningKline]:
    """Binance's running candles of four symbols over 28 s, those of which each trade is recorded.

    It sends trades that one order filled at one price as one, with their first and last id. Here each is a tick of
    its own again, the first one with the whole amount.
    """
    sent: list[dict[str, Any]] = []
    with gzip.open(recorded("upstream/binance-futures-kline-frames.txt.gz"), "rt", encoding="utf-8") as lines:
        sent += [json.loads(line.partition(": ")[2])["data"] for line in lines]
    klines = []
    for k in (data["k"] for data in sent if data["e"] == "kline"):
        inside = [
            data
            for data in sent
            if data["e"] == "aggTrade" and data["s"] == k["s"] and k["f"] <= data["f"] <= data["l"] <= k["L"]
        ]
        ticks = [tick for data in inside for tick in _filled(data)]
        if len(ticks) == k["n"]:
            values = kline(k["o"], k["h"], k["l"], k["c"], k["v"], trades=k["n"])
            klines.append(RunningKline(k["s"], k["t"], values, ticks))
    return klines


def _filled(data: dict[str, Any]) -> list[Tick]:
    ids = range(data["f"], data["l"] + 1)
    amounts = [data["q"], *["0"] * (len(ids) - 1)]
    return [
        trade(data["s"], data["p"], data["T"] * 10**6, each, amount, None, str(each))
        for each, amount in zip(ids, amounts, strict=True)
    ]


def _side(text: str) -> Side:
    return "buy" if text.lower() == "buy" else "sell"
