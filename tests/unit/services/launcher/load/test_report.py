"""The rows that people read, and the file for programs."""

import io
import json

from rich.console import Console

from services.launcher.load import report
from services.launcher.load.crew import Counts
from services.launcher.load.results import Storm
from services.launcher.load.scenario import Scenario
from tests.support.load_results import result_of, spread_of


def shown(**changes: object) -> dict[str, tuple[str, str]]:
    return {row.what: (row.value, row.note) for row in report.rows(result_of(**changes))}


def test_a_steady_run_shows_what_was_delivered_how_late_and_what_it_cost():
    rows = shown()
    assert rows["clients served"] == ("10 of 10", "")
    assert rows["prices delivered"] == ("1,000", "1,000 expected")
    assert rows["tick to client"][0].endswith("max 50 ms")
    assert rows["server CPU a price"][0] == "50.00 µs"
    assert rows["gateway"] == ("2% of a core, 61.0 MB (+1.0)", "peak 62.0 MB")


def test_a_storm_shows_how_long_it_took():
    scenario = Scenario(name="storm", kind="storm", clients=10)
    rows = shown(scenario=scenario, storm=Storm(1.234, 0, 5))
    assert rows["all served after"] == ("1.23 s", "5 refused, 0 left out")
    assert "server CPU a price" not in rows
    assert shown(scenario=scenario, storm=Storm(None, 3, 5))["all served after"][0] == "never"


def test_idle_connections_have_a_price_in_memory():
    assert shown(bytes_per_connection=5234.0)["memory a connection"][0] == "5.2 kB"


def test_readers_that_stall_are_compared_with_the_time_before():
    assert shown(before=spread_of(0.001))["before the stall"][0].endswith("max 1 ms")


def test_what_takes_long_is_told_in_seconds():
    assert shown(latency=spread_of(0.5, 12.0))["tick to client"][0].endswith("max 12 s")


def test_troubles_stand_beside_the_clients():
    assert shown(counts=Counts(served=8, refused=4, lost=1))["clients served"] == ("8 of 10", "4 refused, 1 lost")


def test_the_table_fits_a_narrow_terminal():
    out = io.StringIO()
    Console(width=80, file=out).print(report.table(result_of()))
    text = out.getvalue()
    assert "fanout: every update at once" in text
    assert "…" not in text


def test_the_file_holds_every_figure_and_what_follows():
    plain = json.loads(report.as_json(result_of()))
    assert plain["scenario"]["name"] == "fanout"
    assert (plain["delivered_per_s"], plain["cpu_us"], plain["remarks"]) == (500.0, 50.0, [])
    assert plain["generator"]["saturated"] is False
    assert plain["latency"]["classes"]


def test_files_are_named_after_scenario_and_time(tmp_path):
    assert report.path_of(result_of(), tmp_path, "json").name == "load-fanout-20251122-082640.json"
