"""Progress, as lines and as a bar."""

import io

from rich.console import Console

from services.launcher.feeds.progress import ProgressBar, ProgressLines
from tests.support.manual_clock import ManualClock


def test_lines_come_every_two_seconds_with_rows_rate_and_share(capsys):
    clock = ManualClock()
    with ProgressLines(clock, "trades.csv") as progress:
        progress.advance(10, 0.1)
        clock.seconds += 2
        progress.advance(2010, 0.5)
        progress.advance(2011, 0.6)
    assert capsys.readouterr().out == "replay of trades.csv: 2,010 trades, 1,005 a second, 50% of the file\n"


def test_a_bar_shows_name_rows_and_rate():
    out = io.StringIO()
    clock = ManualClock()
    with ProgressBar(Console(file=out, force_terminal=True, width=120), clock, "trades.csv") as progress:
        clock.seconds += 1
        progress.advance(5000, 1.0)
    assert "trades.csv" in out.getvalue()
    assert "5,000 trades, 5,000 a second" in out.getvalue()
    assert "100%" in out.getvalue()
