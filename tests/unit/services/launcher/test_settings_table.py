"""Merging what the services say of their settings, and printing it."""

import io
import json

from rich.console import Console

from services.launcher.settings_table import OUR_OWN, SERVICES, as_json, as_markdown, as_table, merge
from shared.settings import SettingInfo

URL = SettingInfo("REDIS_URL", "redis://127.0.0.1:6379", "", "where Redis is")
PING = SettingInfo("PING_INTERVAL_MS", "25000", "ms", "between `ping`s")


def test_equal_rows_become_one_that_names_every_reader():
    rows = merge([("gateway", [URL, PING]), ("metrics", [URL])])
    assert [(row.name, row.services) for row in rows] == [
        ("REDIS_URL", ("gateway", "metrics")),
        ("PING_INTERVAL_MS", ("gateway",)),
    ]


def test_rows_that_differ_stay_apart():
    other = SettingInfo("REDIS_URL", "redis://127.0.0.1:6379", "", "something else")
    assert len(merge([("gateway", [URL]), ("metrics", [other])])) == 2


def test_markdown_is_a_table_with_a_row_a_setting():
    rows = merge([(service, [URL]) for service in SERVICES])
    lines = as_markdown([*rows, PING]).splitlines()
    assert lines[0] == "| variable | default | unit | meaning | read by |"
    assert lines[2] == "| `REDIS_URL` | `redis://127.0.0.1:6379` |  | where Redis is | all services |"
    assert lines[3] == "| `PING_INTERVAL_MS` | `25000` | ms | between `ping`s |  |"


def test_a_bar_in_a_cell_does_not_end_it():
    assert "a \\| b" in as_markdown([SettingInfo("X", "", "", "a | b")])


def test_json_holds_every_field():
    assert json.loads(as_json(OUR_OWN))[0]["name"] == "TICKWIRE_REDIS_SERVER"


def test_the_terminal_table_shows_name_and_meaning():
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(as_table([PING]))
    assert "PING_INTERVAL_MS" in console.export_text()
