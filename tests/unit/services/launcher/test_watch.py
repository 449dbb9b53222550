"""What `tickwire watch` prints."""

import asyncio
import io
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from services.launcher.errors import LauncherError
from services.launcher.watch import SYMBOLS_PER_REQUEST, Watcher

INVALID = {"code": 201, "message": "Invalid symbol"}


class Screen:
    """A watcher, and what it has written where."""

    def __init__(self, *symbols: str, trades: bool = False, terminal: bool = False, chart: str = "") -> None:
        self._out, self._notes = io.StringIO(), io.StringIO()
        self.ended = asyncio.Event()
        out = Console(file=self._out, width=200, force_terminal=terminal, color_system="standard" if terminal else None)
        notes = Console(file=self._notes, width=200, force_terminal=False, color_system=None)
        self.watcher = Watcher(symbols, out, notes, self.ended, trades=trades, chart=chart)

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def notes(self) -> str:
        return self._notes.getvalue()

    def price(self, price: Any, symbol: str = "BTC-USDT", seq: int = 1) -> None:
        self.watcher.received("price:update", [{"symbol": symbol, "price": price, "ts": 1_763_800_000_123, "seq": seq}])


class Gateway:
    """Answers as a gateway does."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.asked: list[tuple[str, list[str]]] = []

    async def ask(self, event: str, symbols: Any) -> dict[str, Any]:
        self.asked.append((event, symbols))
        return {
            "ok": True,
            "results": [
                {"symbol": one, "ok": False, "error": INVALID} if one in self.refused else {"symbol": one, "ok": True}
                for one in symbols
            ],
        }


def test_a_price_is_a_line_of_time_symbol_price_and_sequence():
    screen = Screen("BTC-USDT")
    screen.price(Decimal("64000.10"), seq=17)
    (line,) = screen.out.splitlines()
    clock, symbol, price, *rest = line.split()
    assert clock.endswith(".123")
    assert (symbol, price, rest) == ("BTC-USDT", "64000.10", ["seq", "17"])


def test_direction_is_an_arrow_and_a_colour():
    screen = Screen("BTC-USDT", terminal=True)
    for price in (100, 101, 99, 99):
        screen.price(price)
    first, up, down, same = screen.out.splitlines()
    assert "▲" in up
    assert "\x1b[32m" in up
    assert "▼" in down
    assert "\x1b[31m" in down
    assert "▲" not in first + same
    assert "▼" not in first + same


def test_a_trade_is_a_line_of_its_own():
    screen = Screen("BTC-USDT", trades=True)
    trade = {"id": "42", "symbol": "BTC-USDT", "amount": Decimal("0.50"), "price": 1, "side": "sell", "ts": 1}
    screen.watcher.received("trade:new", [trade])
    assert screen.out.split()[1:] == ["BTC-USDT", "1", "sell", "0.50", "trade", "42"]


def test_the_whole_markets_batches_are_not_printed():
    screen = Screen("BTC-USDT")
    screen.watcher.received("price:batch", [[["ETH-USDT", 1]], {"ts": 1}])
    screen.watcher.received("hello", [])
    assert screen.out + screen.notes == ""


async def test_it_subscribes_and_says_what_it_watches():
    screen, gateway = Screen("A", "B", "A", trades=True), Gateway()
    await screen.watcher.opened("http://x", gateway.ask)
    assert gateway.asked == [("subscribe:price", ["A", "B"]), ("subscribe:trades", ["A", "B"])]
    assert screen.notes == "watching A, B at http://x; Ctrl-C ends\n"


async def test_many_symbols_are_asked_for_in_several_requests():
    names = [f"S{number}" for number in range(SYMBOLS_PER_REQUEST + 1)]
    screen, gateway = Screen(*names), Gateway()
    await screen.watcher.opened("http://x", gateway.ask)
    assert [len(symbols) for _, symbols in gateway.asked] == [SYMBOLS_PER_REQUEST, 1]


async def test_a_refused_symbol_is_named_and_the_others_are_watched():
    screen = Screen("A", "no!")
    await screen.watcher.opened("http://x", Gateway("no!").ask)
    assert screen.notes.splitlines() == ["no!: Invalid symbol (201)", "watching A at http://x; Ctrl-C ends"]


async def test_with_no_symbol_left_it_ends():
    screen = Screen("no!")
    with pytest.raises(LauncherError, match="none of the symbols"):
        await screen.watcher.opened("http://x", Gateway("no!").ask)


async def test_a_refused_request_ends_it_with_the_gateways_words():
    async def ask(_event: str, _symbols: object) -> dict[str, Any]:
        return {"ok": False, "error": {"code": 101, "message": "Rate limit exceeded"}}

    with pytest.raises(LauncherError, match=r"subscribe:price: Rate limit exceeded \(101\)"):
        await Screen("A").watcher.opened("http://x", ask)


async def test_the_same_trouble_is_told_once_and_again_after_it_was_over():
    screen = Screen("A")
    for _ in range(3):
        screen.watcher.lost("http://x", "Connection refused")
    assert screen.notes.count("Connection refused") == 1
    assert "tickwire up" in screen.notes
    await screen.watcher.opened("http://x", Gateway().ask)
    screen.watcher.lost("http://x", "Connection refused")
    assert screen.notes.count("Connection refused") == 2


async def test_a_symbol_that_nobody_publishes_is_named():
    screen = Screen("BTC-USDT", "NOPE")
    await screen.watcher.opened("http://x", Gateway().ask)
    screen.price(1)
    screen.watcher.tell_silent()
    assert "no price of NOPE so far" in screen.notes


def test_a_reader_that_left_ends_it(monkeypatch):
    screen = Screen("BTC-USDT")

    def gone(*_arguments: object, **_options: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(screen.watcher._out, "print", gone)
    monkeypatch.setattr("services.launcher.watch.let_go_of_stdout", lambda: None)
    screen.price(1)
    assert screen.ended.is_set()


BAR = {"start": 60_000, "end": 120_000, "open": 1, "high": 3, "low": 1, "volume": Decimal("7.50"), "trades": 4}


class Charts:
    """Answers `subscribe:chart` as a gateway does."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.asked: list[Any] = []

    async def ask(self, event: str, wanted: Any) -> dict[str, Any]:
        self.asked.append((event, wanted["symbol"], wanted["interval"]))
        if wanted["symbol"] in self.refused:
            return {"ok": False, "error": INVALID}
        closed = {**BAR, "close": Decimal("2.10"), "closed": True}
        return {"ok": True, "bars": [closed], "forming": {**BAR, "close": Decimal("1.90"), "closed": False}}


async def test_candles_come_in_the_place_of_prices():
    screen, charts = Screen("A", "no!", chart="1m"), Charts("no!")
    await screen.watcher.opened("http://x", charts.ask)
    assert charts.asked == [("subscribe:chart", "A", "1m"), ("subscribe:chart", "no!", "1m")]
    assert screen.notes.splitlines() == ["no!: Invalid symbol (201)", "watching A at http://x; Ctrl-C ends"]
    screen.watcher.received("chart:update", [{"symbol": "A", **BAR, "close": Decimal("2.50"), "closed": True}])
    rows = [line.split()[1:] for line in screen.out.splitlines()]
    assert rows[0] == ["A", "O", "1", "H", "3", "L", "1", "C", "2.10", "V", "7.50", "4", "trades", "closed"]
    assert rows[1][7:10] + rows[1][-1:] == ["C", "1.90", "▼", "forming"]
    assert rows[2][7:10] + rows[2][-1:] == ["C", "2.50", "▲", "closed"]
    assert screen.watcher.silent() == []


async def test_on_a_terminal_the_forming_candle_of_the_only_symbol_is_one_line():
    screen = Screen("A", terminal=True, chart="1m")
    await screen.watcher.opened("http://x", Charts().ask)
    for close in (1, 2, 3):
        screen.watcher.received("chart:update", [{"symbol": "A", **BAR, "close": close, "closed": close == 3}])
    assert screen.out.count("\n") == 2
    assert screen.out.count("\r") == 3


async def test_a_chart_that_nobody_may_have_ends_the_watch():
    with pytest.raises(LauncherError, match="none of the symbols"):
        await Screen("A", chart="1m").watcher.opened("http://x", Charts("A").ask)
