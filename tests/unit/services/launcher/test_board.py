"""The board as it is drawn."""

import io
from decimal import Decimal

import pytest
from rich.console import Console

from services.launcher.board import Captions, draw, duration, sparkline
from services.launcher.prices import PriceTable
from services.launcher.view import Figures, Notice, ServiceRow

CAPTIONS = Captions("0.1.0", "feed: none", ("http://localhost:8080",), [("publish one", "XADD symbol {symbol}")])


def row(name: str, state: str = "ready", *, healthy: bool = True, restarts: int = 0, detail: str = "") -> ServiceRow:
    return ServiceRow(name, state, healthy, 61.0, 50_000_000, 0.25, restarts, detail)


def figures(table: PriceTable, *services: ServiceRow) -> Figures:
    return Figures(3.0, 1234.0, 345.0, 7, len(table), 99.0, services, "http://localhost:8080", table)


def drawn(table: PriceTable, *services: ServiceRow, size=(120, 40), now=1.0, notices=(), styles=False) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=size[0], height=size[1], force_terminal=styles, color_system="standard" if styles else None
    )
    console.print(draw(figures(table, *services), CAPTIONS, notices, size, now))
    return out.getvalue()


def table_of(count: int) -> PriceTable:
    table = PriceTable()
    table.receive([[f"SYM-{number:03d}", Decimal(100 + number)] for number in range(count)], 0.0)
    return table


def test_it_shows_prices_figures_services_addresses_and_what_to_type():
    text = drawn(table_of(3), row("gateway"), row("price-ingest", "starting", healthy=False))
    for expected in ("SYM-002", "102", "1,234 ticks/s", "345 trades/s", "7 clients", "● ready", "● starting", "1m01s"):
        assert expected in text
    assert "http://localhost:8080" in text
    assert "XADD symbol SYM-000" in text


def test_what_to_type_names_bitcoin_where_it_is_traded():
    table = table_of(3)
    table.receive([["BTC-USDT", 1], ["BTC-EUR", 1]], 0.0)
    assert "XADD symbol BTC-USDT" in drawn(table)


def test_without_a_price_it_says_so_and_gives_an_example():
    text = drawn(PriceTable())
    assert "no price yet" in text
    assert "XADD symbol BTC-USDT" in text


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (200, 60), (60, 30)])
@pytest.mark.parametrize("count", [0, 1, 40, 500])
def test_it_fits_its_terminal(size, count):
    services = [row(f"service-{number}") for number in range(7)]
    lines = drawn(table_of(count), *services, size=size).splitlines()
    assert len(lines) <= size[1]
    assert all(len(line) <= size[0] for line in lines)


def test_symbols_that_do_not_fit_are_counted():
    assert "and 452 more symbols" in drawn(table_of(500), row("gateway"), row("metrics"), size=(120, 35))


@pytest.mark.parametrize(("price", "style"), [(101, "\x1b[1;32m"), (99, "\x1b[1;31m")])
def test_a_price_that_just_moved_is_green_or_red(price, style):
    table = PriceTable()
    table.receive([["X", 100]], 0.0)
    table.receive([["X", price]], 10.0)
    assert style in drawn(table, now=10.5, styles=True)
    assert style not in drawn(table, now=12.0, styles=True)


def test_a_price_that_has_not_moved_for_a_while_is_dim():
    table = PriceTable()
    table.receive([["X", 100]], 0.0)
    assert "\x1b[2mX " in drawn(table, now=60.0, styles=True)


def test_a_feeds_own_words_replace_the_caption():
    assert "40 % of the file" in drawn(PriceTable(), row("feed", detail="40 % of the file"))
    assert "feed: none" in drawn(PriceTable(), row("feed"))


def test_restarts_and_notices_are_shown_and_old_notices_are_not():
    notices = [Notice(0.0, "long ago"), Notice(95.0, "gateway died")]
    text = drawn(PriceTable(), row("gateway", restarts=2), now=100.0, notices=notices)
    assert "● ready ↻2" in text
    assert "5s ago: gateway died" in text
    assert "long ago" not in text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.9, "59s"), (185, "3m05s"), (7620, "2h07m")])
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("samples", "width", "bars"), [([], 5, ""), ([1, 1], 5, "▁▁"), ([1, 2, 8], 5, "▁▂█"), ([9, 1, 2, 8], 3, "▁▂█")]
)
def test_a_sparkline_spans_from_lowest_to_highest(samples, width, bars):
    assert sparkline([Decimal(value) for value in samples], width) == bars
