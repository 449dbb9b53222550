"""How far a run is: a bar in a terminal, a few lines elsewhere."""

import io

from rich.console import Console

from services.launcher.load.show import Bar, Lines, show_on


def test_without_a_terminal_each_stage_has_a_few_lines():
    out = io.StringIO()
    show = show_on(Console(file=out, width=80))
    assert isinstance(show, Lines)
    with show:
        show.stage("ramping 100 clients", 100)
        for value in range(0, 101, 5):
            show.reach(value, "2 refused" if value == 50 else "")
        show.stage("nothing", 0)
        show.reach(0)
    lines = out.getvalue().splitlines()
    assert lines[0] == "ramping 100 clients"
    assert "ramping 100 clients: 50% 2 refused" in lines
    assert len(lines) <= 7


def test_in_a_terminal_it_is_one_bar_that_begins_anew():
    out = io.StringIO()
    show = show_on(Console(file=out, force_terminal=True, width=100, _environ={"TERM": "xterm"}))
    assert isinstance(show, Bar)
    with show:
        show.reach(1)
        show.stage("ramping", 10)
        show.reach(4)
        show.stage("measuring", 5)
        show.reach(5)
    assert "measuring" in out.getvalue()
    assert "5/5" in out.getvalue()
