"""The board as lines."""

import json

from services.launcher.plain import as_json, as_text
from services.launcher.prices import PriceTable
from services.launcher.view import Figures, ServiceRow

NOW_MS = 1_763_800_000_123


def figures() -> Figures:
    table = PriceTable()
    table.receive([["BTC-USDT", "64000.10"]], 0.0)
    rows = [
        ServiceRow("gateway", "ready", healthy=True, uptime_s=1.0, memory=1, cpu=0.1, restarts=0, detail=""),
        ServiceRow("metrics", "waiting", healthy=False, uptime_s=None, memory=None, cpu=None, restarts=1, detail=""),
    ]
    return Figures(12.0, 300.4, 99.6, 3, 1, 150.0, rows, "http://localhost:8080", table)


def test_a_line_for_people_says_what_is_not_well():
    text = as_text(figures(), NOW_MS)
    assert "up 12s: 1/2 services well (metrics waiting), 300 ticks/s, 100 trades/s, 1 symbols, 3 clients" in text
    assert text.endswith("BTC-USDT 64000.10")
    assert "\n" not in text


def test_a_line_for_machines_is_one_object_in_the_shape_of_a_log_line():
    line = as_json(figures(), NOW_MS)
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["event"], fields["service.name"], fields["level"]) == ("figures", "launcher", "info")
    assert fields["timestamp"] == "2025-11-22T08:26:40.123000Z"
    assert fields["services"] == {"gateway": "ready", "metrics": "waiting"}
    assert fields["prices"] == {"BTC-USDT": "64000.10"}
