"""Trades in Binance's public CSV layouts, plain, gzipped or zipped, read row by row.

| layout | columns |
|---|---|
| trades | id, price, qty, quoteQty, time, isBuyerMaker [, isBestMatch] |
| aggTrades | aggId, price, qty, firstId, lastId, time, isBuyerMaker [, isBestMatch] |
| futures, or any other with a header | names are looked up in `_NAMES`; a symbol column makes a file of many symbols |

Spot dumps have no header; the place of the first boolean tells the two layouts apart. Times are s, ms, µs or ns by
magnitude (spot dumps changed to µs in 2025). Without a symbol column the symbol comes from the file's name. A row that
cannot be used becomes a `BadRow`; the rows around it stay.
"""

import csv
import gzip
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple, Self, cast

from shared.messages import Side
from shared.symbols import is_symbol

ACCEPTED: Final = (
    "trades (id,price,qty,quoteQty,time,isBuyerMaker[,isBestMatch])",
    "aggTrades (aggId,price,qty,firstId,lastId,time,isBuyerMaker[,isBestMatch])",
    "any order under a header that names id, price, qty, time and isBuyerMaker, and symbol if there are several",
)

_NAMES: Final = {
    "id": ("id", "tradeid", "aggtradeid", "aggid"),
    "price": ("price",),
    "amount": ("qty", "quantity", "amount"),
    "time": ("time", "tradems", "transacttime", "timestamp"),
    "maker": ("isbuyermaker", "buyerismaker"),
    "symbol": ("symbol",),
    "pace": ("recvns",),
}
"""What we call a column -> what its header may be, in lower case and without underscores."""

_NEEDED: Final = ("id", "price", "amount", "time", "maker")
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}
_DECIMAL: Final = re.compile(r"\d{1,20}(\.\d{1,20})?([eE][-+]?\d{1,2})?")
_TIME: Final = re.compile(r"\d{9,19}")
_FILE_NAME: Final = re.compile(r"([A-Z0-9_]{2,32})-(?:trades|aggTrades)\b")
_SHOWN: Final = 120

# The same borders as for upstream times: see shared.upstream.
_NS_PER_UNIT: Final = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))


class LayoutError(Exception):
    """No layout that we know: `found` says what there is."""

    def __init__(self, found: str) -> None:
        super().__init__(f"unknown layout: {found}. Accepted: " + "; ".join(ACCEPTED))
        self.found = found


class CsvTrade(NamedTuple):
    """One row. `pace_ns` is when it was received, where the file says so, else its event time; both since 1970."""

    pace_ns: int
    time_ns: int
    symbol: str
    id: str
    price: str
    amount: str
    side: Side


class BadRow(NamedTuple):
    """A row that is left out: where, and why."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column holds what; None where the file has no such column."""

    name: str
    has_header: bool
    id: int
    price: int
    amount: int
    time: int
    maker: int
    symbol: int | None = None
    pace: int | None = None


def recognise(first_row: Sequence[str]) -> Layout:
    """The layout that a file's first row shows.

    Raises:
        LayoutError: none of ours.
    """
    cells = [cell.strip().lower() for cell in first_row]
    if cells and cells[0].isdigit():
        return _without_header(cells)
    columns = {cell.replace("_", "").replace(" ", "").lstrip("\ufeff"): place for place, cell in enumerate(cells)}
    places = {
        ours: place
        for ours, theirs in _NAMES.items()
        if (place := next((columns[name] for name in theirs if name in columns), None)) is not None
    }
    missing = [name for name in _NEEDED if name not in places]
    if missing:
        raise LayoutError(f"a header `{_shown(first_row)}` without {', '.join(missing)}")
    return Layout("header", has_header=True, **places)


def _without_header(cells: Sequence[str]) -> Layout:
    boolean = next((place for place, cell in enumerate(cells) if cell in ("true", "false")), None)
    if boolean == 5 and len(cells) in (6, 7):  # noqa: PLR2004 - the table in the module's docstring
        return Layout("trades", has_header=False, id=0, price=1, amount=2, time=4, maker=5)
    if boolean == 6 and len(cells) in (7, 8):  # noqa: PLR2004 - as above
        return Layout("aggTrades", has_header=False, id=0, price=1, amount=2, time=5, maker=6)
    raise LayoutError(f"{len(cells)} columns without a header, `{_shown(cells)}`")


def symbol_from_name(path: Path) -> str | None:
    """BTCUSDT for `BTCUSDT-trades-2024-08-09.zip`; None where the name does not say."""
    match = _FILE_NAME.match(path.name)
    return match[1] if match else None


class TradesFile:
    """An open file; a context manager, read once by iterating over it.

    Args:
        path: `.csv`, `.csv.gz` or a `.zip` with one member.
        symbol: of all rows; None: from the file's column or name.

    Raises:
        LayoutError: on entering: the columns are not ours, or nothing says which symbol it is.
        OSError: on entering: it cannot be read.
    """

    def __init__(self, path: Path, symbol: str | None = None) -> None:
        self._path = path
        self._symbol = symbol
        self._stack = ExitStack()
        self._raw: IO[bytes]
        self._rows: Iterator[list[str]]
        self._first: list[str]
        self._line = 0
        self.name = path.name
        self.layout: Layout

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._raw = stack.enter_context(self._path.open("rb"))
            self._size = max(1, self._path.stat().st_size)
            text = stack.enter_context(TextIOWrapper(self._unpacked(stack), "utf-8", errors="replace", newline=""))
            self._rows = csv.reader(text)
            try:
                self._first = next(self._rows, [])
            except (csv.Error, EOFError, zlib.error) as error:
                raise LayoutError(f"no CSV: {error}") from error
            self.layout = recognise(self._first)
            if self.layout.symbol is None or self._symbol is not None:
                self._symbol = self._symbol or symbol_from_name(self._path)
                if self._symbol is None:
                    raise LayoutError(
                        f"no symbol column, and {self._path.name} does not begin with SYMBOL-trades: say --symbol"
                    )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[CsvTrade | BadRow]:
        """Every row in file order. A file that breaks off ends with a `BadRow` that says so."""
        self._line = 1
        if not self.layout.has_header:
            yield self._parsed(self._first)
        while True:
            self._line += 1
            try:
                row = next(self._rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(self._line, str(error))
            except (EOFError, OSError, zlib.error) as error:
                yield BadRow(self._line, f"the file breaks off here: {error}")
                return
            else:
                if row:
                    yield self._parsed(row)

    @property
    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1, by its packed bytes: counting rows would read it twice."""
        return min(1.0, self._raw.tell() / self._size)

    def _unpacked(self, stack: ExitStack) -> IO[bytes]:
        if self._path.suffix == ".gz":
            return cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=self._raw)))
        if self._path.suffix != ".zip":
            return self._raw
        try:
            archive = stack.enter_context(zipfile.ZipFile(self._raw))
        except zipfile.BadZipFile as error:
            raise LayoutError(f"no zip archive: {error}") from error
        members = archive.namelist()
        if len(members) != 1:
            raise LayoutError(f"a zip archive with {len(members)} files in it, not one")
        return stack.enter_context(archive.open(members[0]))

    def _parsed(self, row: Sequence[str]) -> CsvTrade | BadRow:
        try:
            return self._trade(row)
        except ValueError as error:
            return BadRow(self._line, str(error))
        except IndexError:
            return BadRow(self._line, f"{len(row)} columns, too few: {_shown(row)}")

    def _trade(self, row: Sequence[str]) -> CsvTrade:
        layout = self.layout
        time_ns = _nanoseconds(row[layout.time])
        symbol = self._symbol if self._symbol is not None or layout.symbol is None else row[layout.symbol].strip()
        if symbol is None or not is_symbol(symbol):
            raise ValueError(f"symbol {symbol!r} is not 1 to 32 of A-Z a-z 0-9 . _ : / -")
        trade_id = row[layout.id].strip()
        if not trade_id:
            raise ValueError("no trade id")
        maker = _BOOLEANS.get(row[layout.maker].strip().lower())
        if maker is None:
            raise ValueError(f"buyer-is-maker {row[layout.maker]!r} is neither true nor false")
        return CsvTrade(
            time_ns if layout.pace is None else _nanoseconds(row[layout.pace]),
            time_ns,
            symbol,
            trade_id,
            _positive("price", row[layout.price]),
            _positive("quantity", row[layout.amount]),
            "sell" if maker else "buy",  # the maker bought: whoever took the offer sold
        )


def _positive(name: str, text: str) -> str:
    text = text.strip()
    if _DECIMAL.fullmatch(text) is None or float(text) <= 0:
        raise ValueError(f"{name} {text!r} is no positive number")
    return text


def _nanoseconds(text: str) -> int:
    text = text.strip()
    if _TIME.fullmatch(text) is None:
        raise ValueError(f"time {text!r} is no count of s, ms, µs or ns since 1970")
    value = int(text)
    return value * next((factor for below, factor in _NS_PER_UNIT if value < below), 1)


def _shown(row: Sequence[str]) -> str:
    text = ",".join(row)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
