"""The comparison with other servers: medians over the rounds, ratios to the floor and to Node."""

import json
from datetime import UTC, datetime

from services.launcher.load.results import Generator, Process, Storm
from services.launcher.load.scenario import Scenario
from tests.load.comparison import FANOUT_HEADS, Comparison, as_json, as_page, fanout_rows, other_rows, remarks
from tests.support.load_results import result_of

LINE = "50,000/s"


def measured(cpu_s: float, **changes: object):
    """1,000 prices for so much of the server's CPU."""
    return result_of(processes=[Process("server", cpu_s, cpu_s / 2, 10, 10, 10)], **changes)


def comparison() -> Comparison:
    made = Comparison(datetime(2026, 11, 22, tzinfo=UTC), pinned=True, floors=[4.0, 5.0, 9.0])
    for cpu_s in (0.010, 0.008, 0.200):
        made.add(LINE, "node", measured(cpu_s))
        made.add(LINE, "tickwire", measured(cpu_s / 2))
    idle = Scenario(name="idle", kind="idle", clients=10)
    made.add("idle", "tickwire", measured(0.01, scenario=idle, bytes_per_connection=5400.0))
    storm = Scenario(name="storm", kind="storm", clients=20)
    made.add("storm", "tickwire", measured(0.01, scenario=storm, storm=Storm(1.25, 0, 3)))
    return made


def test_ratios_are_of_medians_to_the_median_floor():
    floor, node, tickwire = (dict(zip(FANOUT_HEADS, row, strict=True)) for row in fanout_rows(comparison()))
    assert (floor["server"], floor["µs/price"]) == ("plain send()", "5.00")
    assert (node["µs/price"], node["/floor"], node["/Node"]) == ("10.00", "2.00", "1.00")
    assert (tickwire["µs/price"], tickwire["/floor"], tickwire["/Node"]) == ("5.00", "1.00", "0.50")
    assert tickwire["arrived"] == "100.0%"


def test_memory_and_storm_stand_beside_each_other():
    assert ("tickwire", "5.4", "1.2", "3", "0") in other_rows(comparison())
    assert ("node", "", "", "", "") in other_rows(comparison())


def test_figures_that_say_little_are_named():
    assert remarks(comparison()) == []
    made = comparison()
    made.add("other", "node", measured(1.99))
    made.add("late", "node", measured(0.01, generator=Generator([0.99], 0.0, 0.0, 0.2)))
    assert remarks(made) == [
        "server at its limit, a whole core: node (other)",
        "generator saturated, so latencies are partly its own: node (late)",
        "publisher late, by over 50 ms once at least: node (late)",
    ]


def test_file_and_page_hold_the_tables():
    plain = json.loads(as_json(comparison()))
    assert plain["fanout"][2]["server"] == "tickwire"
    assert len(plain["runs"]) == 8
    page = as_page(comparison())
    assert "50,000/s" in page
    assert "http" not in page
