"""A result as people read it in the terminal, and as a file for programs.

Fed by `results`; the rows are those of the HTML page too.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from services.launcher.load.results import Result, Spread

_SECONDS_FROM_MS: Final = 10_000
"""Longer durations are told in seconds."""


class Row(NamedTuple):
    """One line: what, how much, and what it means where that is not plain."""

    what: str
    value: str
    note: str = ""


def rows(result: Result) -> list[Row]:
    """Every figure that the run has, as text with its unit."""
    counts, scenario = result.counts, result.scenario
    found = [
        Row("clients served", f"{counts.served:,} of {scenario.clients:,}", _troubles(result)),
        Row("connected in", _spread(result.connecting)),
    ]
    if result.published:
        found.append(Row("ticks published", f"{result.published:,}", f"{scenario.ticks_per_s:,.0f}/s wanted"))
    if result.delivered:
        expected = "" if result.expected is None else f"{result.expected:,} expected"
        found.append(Row("prices delivered", f"{result.delivered:,}", expected))
        found.append(Row("prices a second", f"{result.delivered_per_s:,.0f}"))
    if result.before is not None:
        found.append(Row("before the stall", _spread(result.before)))
    if result.latency.count:
        found.append(Row("tick to client", _spread(result.latency), f"{result.latency.count:,} sampled"))
    if scenario.kind == "churn":
        found.append(Row("request to answer", _spread(result.answers), f"{result.answers.count:,} asked"))
    if result.storm is not None:
        took = "never" if result.storm.all_served_s is None else f"{result.storm.all_served_s:.2f} s"
        note = f"{result.storm.refusals:,} refused, {result.storm.unserved:,} left out"
        found.append(Row("all served after", took, note))
    if result.bytes_per_connection is not None:
        found.append(Row("memory a connection", f"{result.bytes_per_connection / 1e3:.1f} kB"))
    return found + _costs(result)


def _costs(result: Result) -> list[Row]:
    found = []
    if result.cpu_us is not None and result.storm is None:
        found.append(Row("server CPU a price", f"{result.cpu_us:.2f} µs", "first process below"))
    for process in result.processes:
        grown = (process.memory_after - process.memory_before) / 1e6
        used = f"{process.cpu_share:.0%} of a core, {process.memory_after / 1e6:.1f} MB ({grown:+.1f})"
        found.append(Row(process.name, used, f"peak {process.memory_peak / 1e6:.1f} MB"))
    shares = ", ".join(f"{share:.0%}" for share in result.generator.cpu_shares)
    found.append(Row("generator", f"{shares} of a core", f"p99 {result.generator.lag_p99_s * 1e3:.1f} ms late"))
    return found


def table(result: Result) -> Table:
    """For the terminal."""
    drawn = Table(title=escape(f"{result.scenario.name}: {result.scenario.summary}"), show_header=False, box=SIMPLE)
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(justify="right", no_wrap=True)
    drawn.add_column(style="dim")
    for row in rows(result):
        drawn.add_row(*map(escape, row))
    return drawn


def as_json(result: Result) -> bytes:
    """Everything, with what follows from it."""
    plain = msgspec.to_builtins(result)
    plain |= {"delivered_per_s": result.delivered_per_s, "cpu_us": result.cpu_us, "remarks": result.remarks()}
    plain["generator"]["saturated"] = result.generator.saturated
    return msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n"


def path_of(result: Result, directory: Path, ending: str) -> Path:
    """`load-<scenario>-<time>.<ending>`, the time in UTC."""
    started = datetime.fromtimestamp(result.started / 1000, UTC)
    return directory / f"load-{result.scenario.name}-{started:%Y%m%d-%H%M%S}.{ending}"


def _troubles(result: Result) -> str:
    counts = result.counts
    named = [(counts.refused, "refused"), (counts.failed, "failed"), (counts.lost, "lost")]
    return ", ".join(f"{count:,} {what}" for count, what in named if count)


def _spread(spread: Spread) -> str:
    if not spread.count:
        return "none"
    unit, scale = ("s", 1e3) if spread.max_ms >= _SECONDS_FROM_MS else ("ms", 1.0)
    named = (("p50", spread.p50_ms), ("p90", spread.p90_ms), ("p99", spread.p99_ms), ("max", spread.max_ms))
    return f"{' '.join(f'{name} {_digits(value / scale)}' for name, value in named)} {unit}"


def _digits(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
