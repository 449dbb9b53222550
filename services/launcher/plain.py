"""The board as lines, for CI and pipes: every few seconds, and when a service changes its state. Fed by `view`."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from services.launcher.board import duration
from services.launcher.view import Figures

EVERY_S: Final = 5.0
LOOK_S: Final = 0.25
"""How often to look whether a service has changed its state, which makes a line at once."""

_MOST_PRICES: Final = 5


def as_text(figures: Figures, now_ms: int) -> str:
    """For people."""
    clock = datetime.fromtimestamp(now_ms / 1000).astimezone().strftime("%H:%M:%S")
    ready = sum(row.healthy for row in figures.services)
    prices = "  ".join(f"{price.symbol} {price.text}" for price in figures.prices.in_order()[:_MOST_PRICES])
    troubled = ", ".join(f"{row.name} {row.state}" for row in figures.services if not row.healthy)
    return (
        f"{clock} up {duration(figures.uptime_s)}: {ready}/{len(figures.services)} services well"
        f"{f' ({troubled})' if troubled else ''}, {figures.ticks:,.0f} ticks/s, {figures.trades:,.0f} trades/s, "
        f"{figures.symbols} symbols, {figures.clients} clients  {prices}".rstrip()
    )


def as_json(figures: Figures, now_ms: int) -> str:
    """For machines: one object a line, in the shape of the services' own log lines."""
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    line: dict[str, Any] = {
        "timestamp": stamp,
        "level": "info",
        "event": "figures",
        "service.name": "launcher",
        "uptime_s": round(figures.uptime_s, 1),
        "ticks_per_s": round(figures.ticks, 1),
        "trades_per_s": round(figures.trades, 1),
        "prices_per_s": round(figures.received, 1),
        "symbols": figures.symbols,
        "clients": figures.clients,
        "link": figures.link,
        "services": {row.name: row.state for row in figures.services},
        "prices": {price.symbol: price.text for price in figures.prices.in_order()[:_MOST_PRICES]},
    }
    return json.dumps(line)
