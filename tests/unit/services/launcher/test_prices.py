"""The price table behind the board."""

from decimal import Decimal

import pytest

from services.launcher.prices import LATE_S, MAX_SYMBOLS, SAMPLES, PriceTable


def only(table: PriceTable):
    (price,) = table.in_order()
    return price


def test_a_change_has_a_direction_and_a_time():
    table = PriceTable()
    table.receive([["BTC-USDT", Decimal("64000.10")]], 1.0)
    assert (only(table).direction, only(table).changed_at) == (0, 1.0)
    table.receive([["BTC-USDT", Decimal("64000.20")]], 2.0)
    assert (only(table).direction, only(table).changed_at) == (1, 2.0)
    table.receive([["BTC-USDT", Decimal("63000.00")]], 3.0)
    assert (only(table).direction, only(table).changed_at) == (-1, 3.0)
    table.receive([["BTC-USDT", Decimal("63000.00")]], 4.0)
    assert only(table).changed_at == 3.0


def test_the_text_is_what_came_digit_by_digit():
    table = PriceTable()
    for price in (Decimal("64000.10"), "64000.10", 64000.1, 64000, Decimal("6.38E-6")):
        table.receive([["X", price]], 1.0)
        shown = "0.00000638" if price == Decimal("6.38E-6") else str(price)
        assert only(table).text == shown


def test_change_counts_from_the_first_price_seen():
    table = PriceTable()
    for price in (200, 100, 210):
        table.receive([["X", price]], 1.0)
    assert only(table).change == pytest.approx(5.0)


def test_a_first_price_of_zero_divides_nothing():
    table = PriceTable()
    table.receive([["X", 0]], 1.0)
    assert only(table).change == 0


def test_symbols_are_in_order_of_name_and_a_late_one_stands_on_top():
    table = PriceTable()
    table.receive([["ETH", 1], ["BTC", 1]], 1.0)
    table.receive([["ADA", 1]], 2.0)
    table.receive([["ZZZ", 1]], 1.0 + LATE_S)
    assert [price.symbol for price in table.in_order()] == ["ZZZ", "ADA", "BTC", "ETH"]


def test_the_rate_counts_prices_of_the_last_seconds():
    table = PriceTable()
    assert table.rate(0.0) == 0
    for tenth in range(100):
        table.receive([["A", tenth], ["B", tenth]], tenth / 10)
    assert table.rate(9.9) == pytest.approx(20, rel=0.05)
    assert table.rate(60.0) == 0


def test_samples_and_symbols_are_bounded():
    table = PriceTable()
    table.receive([[f"S{number}", 1] for number in range(MAX_SYMBOLS + 10)], 1.0)
    assert len(table) == MAX_SYMBOLS
    for _ in range(SAMPLES + 5):
        table.sample()
    assert len(table.in_order()[0].samples) == SAMPLES
