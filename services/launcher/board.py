"""The live board of `tickwire up`: prices, figures, services, and what to type next. Fed by `view`.

Drawing is pure: figures and a size in, a renderable out. The colours say what happened: green a price that just rose,
red one that just fell, dim one that has not moved for a while.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from rich.console import Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from services.launcher.prices import Price
from services.launcher.view import Figures, Notice, ServiceRow

REDRAW_S: Final = 0.2
FLASH_S: Final = 1.0
QUIET_S: Final = 5.0
MOST_NOTICES: Final = 3
NOTICE_S: Final = 60.0

_COLUMN_WIDTH: Final = 54
_SERVICE_WIDTH: Final = 54
_LEAST_ROWS: Final = 3
_EXAMPLE: Final = "BTC-USDT"
_STOP: Final = "Ctrl-C stops all "
_CONNECT: Final = "connect to"
_SYMBOL_WIDTH: Final = 14
_PRICE_WIDTH: Final = 14
_CHANGE_WIDTH: Final = 9
_BARS: Final = "▁▂▃▄▅▆▇█"
_ARROWS: Final = {1: "▲", 0: " ", -1: "▼"}
_COLOURS: Final = {1: "green", 0: "", -1: "red"}


@dataclass(frozen=True, slots=True)
class Captions:
    """What the board says that does not change.

    Attributes:
        version: of Tickwire.
        source: where prices come from.
        addresses: that clients connect to.
        hints: (what, command line) to try from another terminal; `{symbol}` becomes one that is traded.
    """

    version: str
    source: str
    addresses: Sequence[str]
    hints: Sequence[tuple[str, str]]


class _Box(NamedTuple):
    """A panel, and the lines that it takes."""

    box: Panel
    lines: int


def draw(figures: Figures, captions: Captions, notices: Iterable[Notice], size: tuple[int, int], now: float) -> Group:
    """The whole board for a terminal of (columns, lines)."""
    width, height = size
    recent = [notice for notice in notices if now - notice.at < NOTICE_S][-MOST_NOTICES:]
    told = [Text(f" {duration(now - at)} ago: {text}", style="yellow", no_wrap=True) for at, text in recent]
    services = _services(figures.services, width)
    hints = _hints(figures, captions, width)
    room = height - 2 - services.lines - hints.lines - len(told)
    return Group(
        _title(figures, captions), _numbers(figures), _prices(figures, width, room, now), services.box, hints.box, *told
    )


def sparkline(samples: Sequence[Decimal], width: int) -> str:
    """The last `width` samples as bars between the lowest and the highest of them."""
    shown = list(samples)[-width:]
    if not shown:
        return ""
    low, span = min(shown), max(shown) - min(shown)
    if not span:
        return _BARS[0] * len(shown)
    return "".join(_BARS[int((value - low) / span * (len(_BARS) - 1))] for value in shown)


def duration(seconds: float) -> str:
    """12s, 3m05s or 2h07m."""
    whole = int(seconds)
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole}s"
    if whole < 3600:  # noqa: PLR2004 - an hour
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _title(figures: Figures, captions: Captions) -> Table:
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True)
    line.add_column(justify="right", no_wrap=True, min_width=len(_STOP))
    said = next((row.detail for row in figures.services if row.name == "feed" and row.detail), captions.source)
    name = Text.assemble((" Tickwire ", "bold black on green"), f" {captions.version}  ", (said, "bold"))
    line.add_row(name, Text(_STOP, style="dim"))
    return line


def _numbers(figures: Figures) -> Text:
    facts = (
        (figures.ticks, "ticks/s in"),
        (figures.trades, "trades/s"),
        (figures.received, "prices/s out, to each client"),
        (figures.symbols, "symbols"),
        (figures.clients, "clients besides this board"),
    )
    line = Text.assemble(" ", (duration(figures.uptime_s), "bold cyan"), (" up   ", "dim"), no_wrap=True)
    for value, name in facts:
        line.append(f"{value:,.0f}", style="bold cyan").append(f" {name}   ", style="dim")
    return line


def _prices(figures: Figures, width: int, room: int, now: float) -> Panel:
    rows = max(_LEAST_ROWS, room - 2)
    known = figures.prices.in_order()
    most = max(1, (width - 4) // _COLUMN_WIDTH)
    columns = min(most, max(1, -(-len(known) // rows)))
    shown = known[: rows * columns]
    per_column = -(-len(shown) // columns) if shown else 0
    grid = Table.grid(padding=(0, 2))
    for _ in range(columns):
        grid.add_column()
    each = (width - 4 - 2 * (columns - 1)) // columns
    spark = max(0, each - _SYMBOL_WIDTH - _PRICE_WIDTH - _CHANGE_WIDTH - 5)
    for line in range(per_column):
        cells = [shown[place] for place in range(line, len(shown), per_column)]
        grid.add_row(*(_price_cell(price, spark, now) for price in cells))
    hidden = len(known) - len(shown)
    more = f" and {hidden} more symbols: tickwire watch SYMBOL " if hidden else None
    title = f" {escape(figures.link)} "
    empty = Text("no price yet", style="dim") if not shown else grid
    return Panel(
        empty,
        title=title,
        title_align="left",
        subtitle=more,
        subtitle_align="right",
        style="",
        padding=(0, 1),
    )


def _price_cell(price: Price, spark: int, now: float) -> Text:
    age = now - price.changed_at
    fresh = age < FLASH_S and price.direction != 0
    style = "dim" if age > QUIET_S else f"bold {_COLOURS[price.direction]}" if fresh else ""
    trend = (price.change > 0) - (price.change < 0)
    return Text.assemble(
        (f"{price.symbol[:_SYMBOL_WIDTH]:<{_SYMBOL_WIDTH}} ", "dim" if age > QUIET_S else "bold"),
        (f"{price.text[:_PRICE_WIDTH]:>{_PRICE_WIDTH}} {_ARROWS[price.direction] if fresh else ' '}", style),
        (f"{price.change:>+{_CHANGE_WIDTH - 1}.3f}% ", _COLOURS[trend]),
        (sparkline(price.samples, spark).ljust(spark), f"dim {_COLOURS[trend]}".strip()),
        no_wrap=True,
    )


def _services(rows: Sequence[ServiceRow], width: int) -> _Box:
    columns = 2 if width >= 2 * _SERVICE_WIDTH else 1
    per_column = -(-len(rows) // columns)
    table = Table.grid(padding=(0, 1), expand=True)
    for _ in range(columns):
        table.add_column(no_wrap=True, ratio=2)
        table.add_column(no_wrap=True, ratio=2)
        for _figure in range(3):
            table.add_column(justify="right", no_wrap=True, ratio=1)
    for line in range(per_column):
        cells = [cell for row in rows[line::per_column] for cell in _service_cells(row)]
        table.add_row(*cells)
    return _Box(Panel(table, title=" services ", title_align="left", padding=(0, 1)), per_column + 2)


def _service_cells(row: ServiceRow) -> tuple[Text, ...]:
    again = f" ↻{row.restarts}" if row.restarts else ""
    return (
        Text(row.name, style="bold"),
        Text(f"● {row.state}{again}", style="green" if row.healthy else "yellow"),
        Text("" if row.uptime_s is None else duration(row.uptime_s), style="dim"),
        Text("" if row.memory is None else f"{row.memory / 1e6:,.0f} MB"),
        Text("" if row.cpu is None else f"{row.cpu:.0%} cpu"),
    )


def _hints(figures: Figures, captions: Captions, width: int) -> _Box:
    known = figures.prices.in_order()
    traded = [price.symbol for price in known] or [_EXAMPLE]
    symbol = _EXAMPLE if _EXAMPLE in traded else next((one for one in traded if one.startswith("BTC")), traded[0])
    commands = [(what, command.replace("{symbol}", symbol)) for what, command in captions.hints]
    rows = [(_CONNECT, "  ".join(captions.addresses), "bold cyan"), *((*command, "bold") for command in commands)]
    room = max(1, width - 6 - max(len(what) for what, _, _ in rows))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for what, text, style in rows:
        table.add_row(what, Text("\n".join(_cut(text, room)), style=style))
    box = Panel(table, title=" from another terminal ", title_align="left", padding=(0, 1))
    return _Box(box, 2 + sum(len(_cut(text, room)) for _, text, _ in rows))


def _cut(text: str, width: int) -> list[str]:
    """A command line too long for its line goes on in the next: it is there to be copied whole."""
    return [text[start : start + width] for start in range(0, len(text), width)]
