"""Every setting of every service, told by the services themselves: `tickwire settings` and the README's table.

Each service prints its own as JSON when run with `--settings`; here they are merged, so none is written down twice.
"""

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import msgspec
from rich.table import Table
from rich.text import Text

from services.launcher.errors import LauncherError
from services.launcher.leash import python_module
from shared.settings import SettingInfo

SERVICES: Final[Mapping[str, str]] = {
    "gateway": "services.gateway",
    "price-ingest": "services.price_ingest",
    "trade-notifier": "services.trade_notifier",
    "metrics": "services.metrics",
}
"""Command -> module that it runs."""

OUR_OWN: Final = (
    SettingInfo(
        "TICKWIRE_REDIS_SERVER",
        "the one in `tickwire[local]`",
        "",
        "Redis or Valkey server program that `tickwire up` runs where `REDIS_URL` is unset",
        ("up",),
    ),
)
"""What the launcher itself reads; everything else is handed on to the services."""

_TIME_LIMIT_S: Final = 30.0


async def read_all() -> list[SettingInfo]:
    """Ask the four services, all at once.

    Raises:
        LauncherError: one of them did not answer, with its own words.
    """
    answers = await asyncio.gather(*(_ask(module) for module in SERVICES.values()))
    return [*merge(zip(SERVICES, answers, strict=True)), *OUR_OWN]


def merge(answers: Iterable[tuple[str, Sequence[SettingInfo]]]) -> list[SettingInfo]:
    """Rows of (service, settings) as one list, in order of first appearance, each with the services that read it.

    Rows that differ in anything but their services stay apart: the reader shall see the difference.
    """
    services: dict[tuple[str, str, str, str], list[str]] = {}
    for service, rows in answers:
        for row in rows:
            services.setdefault((row.name, row.default, row.unit, row.meaning), []).append(service)
    return [SettingInfo(*row, services=tuple(readers)) for row, readers in services.items()]


def as_markdown(rows: Iterable[SettingInfo]) -> str:
    """The README's table."""
    lines = ["| variable | default | unit | meaning | read by |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (f"`{row.name}`", _code(row.default), row.unit, row.meaning, _readers(row))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def as_json(rows: Iterable[SettingInfo]) -> str:
    """For programs: a list of objects."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def as_table(rows: Iterable[SettingInfo]) -> Table:
    """For a terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("variable", "default", "unit", "meaning", "read by"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "variable")
    for row in rows:
        cells = (row.default, row.unit, row.meaning.replace("`", ""), _readers(row))
        table.add_row(Text(row.name, style="cyan"), *(Text(cell) for cell in cells))
    return table


def _readers(row: SettingInfo) -> str:
    return "all services" if set(row.services) == set(SERVICES) else ", ".join(row.services)


def _code(text: str) -> str:
    return text if " " in text or "`" in text or not text else f"`{text}`"


async def _ask(module: str) -> list[SettingInfo]:
    process = await asyncio.create_subprocess_exec(
        *python_module(module), "--settings", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_TIME_LIMIT_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise LauncherError(f"{module} did not print its settings within {_TIME_LIMIT_S:.0f} s") from None
    try:
        return msgspec.json.decode(out, type=list[SettingInfo])
    except msgspec.DecodeError:
        said = err.decode(errors="replace").strip()[-500:]
        raise LauncherError(
            f"{module} did not print its settings: {said}", f"try it alone: {sys.executable} -m {module} --settings"
        ) from None
