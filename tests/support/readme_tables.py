"""Tables of README and SECURITY.md, the end of `.env.example`, the list of settings: printed from the code.

`make readme` writes them, a test says when they are out of date.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable
from functools import cache

from services.launcher.settings_table import as_markdown, read_all
from shared.names import log_fields, outcomes
from shared.names.events import ClientEvent, ServerEvent
from shared.settings import SettingInfo
from tests.support import markdown, threat_table
from tests.support.source_tree import ROOT

README = ROOT / "README.md"
EXAMPLE = ROOT / ".env.example"
NAMES = ROOT / "shared/names/settings.py"
REST = "# All others, at their defaults.\n"
"""Stands in `.env.example` between what is written by hand and what is printed."""


def client_events() -> str:
    """What a client sends."""
    return markdown.table(
        ("event", "arguments and meaning"), [(f"`{event.value}`", event.meaning) for event in ClientEvent]
    )


def server_events() -> str:
    """What it receives."""
    return markdown.table(("event", "payload"), [(f"`{event.value}`", event.meaning) for event in ServerEvent])


def catalogue() -> str:
    """What a client can be told, and how its connection can end."""
    rows = [(item.number, item.text, item.retry.value, item.meaning) for item in outcomes.ALL]
    return markdown.table(("number", "text", "try again?", "meaning"), rows)


def fields_of_logs() -> str:
    """What stands in a log line."""
    return markdown.table(
        ("field", "unit", "meaning"), [(f"`{field.name}`", field.unit, field.meaning) for field in log_fields.ALL]
    )


@cache
def _all_settings() -> list[SettingInfo]:
    return asyncio.run(read_all())


def settings() -> str:
    """Every variable."""
    return as_markdown(_all_settings())


TABLES: dict[str, Callable[[], str]] = {
    "client-events": client_events,
    "server-events": server_events,
    "outcomes": catalogue,
    "settings": settings,
    "log-fields": fields_of_logs,
}


def filled(text: str) -> str:
    """The README with every table printed anew."""
    return markdown.filled(text, TABLES)


def completed(text: str) -> str:
    """`.env.example` with every setting that its upper part does not name."""
    by_hand, found, _ = text.partition(REST)
    if not found:
        raise ValueError(f".env.example has no line {REST!r}")
    named = set(re.findall(r"^([A-Z_]+)=", by_hand, re.MULTILINE))
    return by_hand + found + "".join(_example(row) for row in _all_settings() if row.name not in named)


def listed(text: str) -> str:
    """`shared/names/settings.py` with the name of every setting."""
    names = "".join(f'        "{name}",\n' for name in sorted(row.name for row in _all_settings()))
    return re.sub(r"(?<=frozenset\(\n    \{\n).*?(?=    \}\n)", names, text, count=1, flags=re.DOTALL)


def _example(row: SettingInfo) -> str:
    in_words = " " in row.default or row.default == "none"
    notes = ", ".join([*([row.unit] if row.unit else ()), *([f"default: {row.default}"] if in_words else ())])
    comment = f"{row.meaning} ({notes})" if notes else row.meaning
    return f"\n# {comment.replace('`', '')}\n#{row.name}={'' if in_words else row.default}\n"


def main() -> None:
    """Write the tables, or say whether they are current."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", action="store_true", help="change the files")
    write = arguments.parse_args().write
    pages = ((README, filled), (EXAMPLE, completed), (NAMES, listed), (threat_table.SECURITY, threat_table.filled))
    for path, printed in pages:
        before = path.read_text(encoding="utf-8")
        after = printed(before)
        if write:
            path.write_text(after, encoding="utf-8")
        elif before != after:
            sys.exit(f"{path.name} is out of date: make readme")


if __name__ == "__main__":
    main()
