"""Binance's public layouts, read; and what is said of files that are not."""

import gzip
import zipfile
from pathlib import Path

import pytest

from services.launcher.feeds.trades_csv import BadRow, CsvTrade, LayoutError, TradesFile, recognise, symbol_from_name

MS = 1_723_161_600_123
SPOT_TRADE = "3735683259,61837.63000000,0.02000000,1236.75260000,1723161600123,True,True"
SPOT_AGG = "3735,61837.63,0.02,11,12,1723161600123,False,True"
FUTURES_AGG = "3735,61837.63,0.02,11,12,1723161600123,false"
FUTURES = "id,price,qty,quote_qty,time,is_buyer_maker\n1,61837.6,0.020,1236.7,1723161600123,true"
FUTURES_AGG_HEADER = (
    "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
    "3735,61837.6,0.020,11,12,1723161600123,false"
)
RECORDED = (
    "recv_ns,event_ms,trade_ms,symbol,trade_id,price,qty,buyer_is_maker\n"
    "1723161254087896568,1723161255343,1723161255342,BTCUSDT,3735683259,61837.63000000,0.02000000,1\n"
    "1723161254340863867,1723161255612,1723161255611,ETHUSDT,1520538925,2683.80000000,0.00200000,0\n"
)


def rows_of(path: Path, symbol: str | None = None) -> list[CsvTrade | BadRow]:
    with TradesFile(path, symbol) as file:
        return list(file)


def written(directory: Path, text: str, name: str = "BTCUSDT-trades-2024-08-09.csv") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def only_trade(rows: list[CsvTrade | BadRow]) -> CsvTrade:
    (row,) = rows
    assert isinstance(row, CsvTrade)
    return row


@pytest.mark.parametrize(
    ("text", "trade_id", "side"),
    [
        (SPOT_TRADE, "3735683259", "sell"),
        (SPOT_TRADE.removesuffix(",True"), "3735683259", "sell"),
        (SPOT_AGG, "3735", "buy"),
        (FUTURES_AGG, "3735", "buy"),
        (FUTURES, "1", "sell"),
        (FUTURES_AGG_HEADER, "3735", "buy"),
    ],
)
def test_every_public_layout_is_recognised(tmp_path, text, trade_id, side):
    trade = only_trade(rows_of(written(tmp_path, text + "\n")))
    assert (trade.id, trade.side, trade.symbol) == (trade_id, side, "BTCUSDT")
    assert trade.time_ns == trade.pace_ns == MS * 1_000_000
    assert float(trade.amount) == 0.02


def test_prices_keep_their_digits(tmp_path):
    assert only_trade(rows_of(written(tmp_path, SPOT_TRADE))).price == "61837.63000000"


def test_a_symbol_column_and_a_receive_time_are_used(tmp_path):
    first, second = rows_of(written(tmp_path, RECORDED, "trades.csv"))
    assert first == CsvTrade(
        1723161254087896568,
        1723161255342_000_000,
        "BTCUSDT",
        "3735683259",
        "61837.63000000",
        "0.02000000",
        "sell",
    )
    assert isinstance(second, CsvTrade)
    assert (second.symbol, second.side) == ("ETHUSDT", "buy")


@pytest.mark.parametrize("stamp", ["1723161600", "1723161600000", "1723161600000000", "1723161600000000000"])
def test_times_are_told_apart_by_size(tmp_path, stamp):
    trade = only_trade(rows_of(written(tmp_path, SPOT_TRADE.replace("1723161600123", stamp))))
    assert trade.time_ns == 1_723_161_600 * 10**9


def test_gzip_and_zip_are_unpacked(tmp_path):
    packed = tmp_path / "BTCUSDT-trades-2024-08-09.csv.gz"
    packed.write_bytes(gzip.compress(SPOT_TRADE.encode()))
    archive = tmp_path / "BTCUSDT-trades-2024-08-09.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("BTCUSDT-trades-2024-08-09.csv", SPOT_TRADE)
    assert rows_of(packed) == rows_of(archive) == rows_of(written(tmp_path, SPOT_TRADE))


def test_a_given_symbol_wins_over_the_name_of_the_file(tmp_path):
    assert only_trade(rows_of(written(tmp_path, SPOT_TRADE), "BTC-USDT")).symbol == "BTC-USDT"


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTCUSDT-trades-2024-08-09.csv", "BTCUSDT"),
        ("BTCUSD_PERP-aggTrades-2024-08.zip", "BTCUSD_PERP"),
        ("1000PEPEUSDT-trades-2024-08-09.csv.gz", "1000PEPEUSDT"),
        ("trades.csv.gz", None),
        ("my-trades-2024.csv", None),
    ],
)
def test_the_name_of_a_dump_says_its_symbol(name, symbol):
    assert symbol_from_name(Path(name)) == symbol


def test_a_file_that_names_no_symbol_is_refused(tmp_path):
    with pytest.raises(LayoutError, match="no symbol column"):
        rows_of(written(tmp_path, SPOT_TRADE, "dump.csv"))


@pytest.mark.parametrize(
    ("first", "found"),
    [
        (["open_time", "open", "high", "low", "close", "volume"], "without id, price, amount, time, maker"),
        (["id", "price", "qty", "time"], "without maker"),
        (["1", "2", "3"], "3 columns without a header"),
        (["1", "2", "3", "4", "5", "6", "7"], "7 columns without a header"),
        ([], "without id"),
    ],
)
def test_an_unknown_layout_is_named_with_what_would_do(first, found):
    with pytest.raises(LayoutError, match=found) as caught:
        recognise(first)
    assert "aggTrades" in str(caught.value)


def test_an_archive_of_several_files_is_refused(tmp_path):
    archive = tmp_path / "BTCUSDT-trades-2024-08-09.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.csv", SPOT_TRADE)
        file.writestr("b.csv", SPOT_TRADE)
    with pytest.raises(LayoutError, match="2 files"):
        rows_of(archive)


@pytest.mark.parametrize("suffix", [".csv.gz", ".zip"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, suffix):
    path = tmp_path / f"BTCUSDT-trades-2024-08-09{suffix}"
    path.write_bytes(b"not packed at all")
    with pytest.raises((LayoutError, OSError)):
        rows_of(path)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("x,61837.6,0.02,1,1723161600123,perhaps,True", "neither true nor false"),
        ("1,minus,0.02,1,1723161600123,True,True", "price 'minus'"),
        ("1,-5,0.02,1,1723161600123,True,True", "price '-5'"),
        ("1,5,0,1,1723161600123,True,True", "quantity '0'"),
        ("1,nan,0.02,1,1723161600123,True,True", "price 'nan'"),
        ("1,5,0.02,1,yesterday,True,True", "time 'yesterday'"),
        ("1,5", "2 columns, too few"),
        (",5,0.02,1,1723161600123,True,True", "no trade id"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_loses_nothing_else(tmp_path, wrong, why):
    rows = rows_of(written(tmp_path, f"{SPOT_TRADE}\n{wrong}\n{SPOT_TRADE}"))
    first, bad, last = rows
    assert first == last
    assert isinstance(bad, BadRow)
    assert bad.line == 2
    assert why in bad.why


def test_a_bad_symbol_is_a_bad_row(tmp_path):
    bad = rows_of(written(tmp_path, RECORDED.replace("ETHUSDT", "no way!"), "trades.csv"))[1]
    assert isinstance(bad, BadRow)
    assert bad.line == 3


def test_a_truncated_file_gives_what_it_has_and_says_where_it_breaks_off(tmp_path):
    packed = gzip.compress("\n".join(SPOT_TRADE.replace("3735683259", str(n)) for n in range(20_000)).encode())
    path = tmp_path / "BTCUSDT-trades-2024-08-09.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    rows = rows_of(path)
    assert len(rows) > 100
    assert isinstance(rows[-1], BadRow)
    assert "breaks off" in rows[-1].why


def test_blank_lines_and_bytes_that_are_no_text_do_no_harm(tmp_path):
    path = tmp_path / "BTCUSDT-trades-2024-08-09.csv"
    path.write_bytes(SPOT_TRADE.encode() + b"\r\n\r\n\xff\xfe\x80\n" + SPOT_TRADE.encode())
    assert [type(row) for row in rows_of(path)] == [CsvTrade, BadRow, CsvTrade]


def test_it_tells_how_much_has_been_read(tmp_path):
    path = written(tmp_path, "\n".join([SPOT_TRADE] * 50_000))
    with TradesFile(path) as file:
        assert file.fraction < 0.1
        list(file)
        assert file.fraction == 1.0
