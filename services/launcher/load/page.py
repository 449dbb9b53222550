"""The HTML report: one file with everything in it, for a browser without a network.

Fed by `results`, `report` and `plots`; also the frame of the comparison with other servers.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from string import Template
from typing import Final

from services.launcher.load import plots
from services.launcher.load.report import rows
from services.launcher.load.results import Result

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #0f172a; background: #f8fafc; }
body { max-width: 76rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: .95rem; margin: 0 0 .5rem; }
p { margin: .25rem 0; color: #475569; }
.remarks { border-left: 4px solid #d97706; background: #fffbeb; padding: .6rem 1rem; margin: 1rem 0; color: #78350f; }
.remarks p { color: inherit; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.card, .plot, table { background: #fff; border: 1px solid #e2e8f0; border-radius: .5rem; }
.card { padding: .7rem 1rem; }
.card b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.card span { color: #64748b; font-size: .85rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); gap: 1rem; margin: 1.2rem 0; }
.plot { padding: .8rem 1rem; }
.plot svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem 1rem; border-top: 1px solid #f1f5f9; }
tr:first-child > * { border-top: 0; }
td.figure { text-align: right; }
td, th { white-space: nowrap; }
td.note { white-space: normal; }
td.note { color: #64748b; }
@media (max-width: 40rem) { .plots { grid-template-columns: 1fr; } body { padding: 1rem .8rem; } }
</style>
</head>
<body>
<h1>$title</h1>
<p>$subtitle</p>
$body
</body>
</html>
""")


def page(result: Result) -> str:
    """The report of one run."""
    scenario = result.scenario
    body = [_remarks(result.remarks()), _cards(result), _plots(_drawn(result)), _figures(result)]
    shape = (
        f"{scenario.clients:,} clients, each {scenario.symbols_per_client} of {scenario.symbols:,} symbols, "
        f"{scenario.ticks_per_s:,.0f} ticks/s, {scenario.parser}, {result.url}"
    )
    return framed(f"{scenario.name}: {scenario.summary}", f"{_when(result.started)} · {shape}", body)


def framed(title: str, subtitle: str, body: Sequence[str]) -> str:
    """A page of ours; `body` is HTML."""
    return _PAGE.substitute(title=escape(title), subtitle=escape(subtitle), body="\n".join(body))


def plot(title: str, svg: str) -> str:
    """One plot with its heading."""
    return f'<section class="plot"><h2>{escape(title)}</h2>{svg}</section>'


def html_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; the first column names its line."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr><th>{escape(line[0])}</th>{''.join(f'<td>{escape(text)}</td>' for text in line[1:])}</tr>"
        for line in lines
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _when(started: int) -> str:
    return f"{datetime.fromtimestamp(started / 1000, UTC):%Y-%m-%d %H:%M} UTC · tickwire {version('tickwire')}"


def _remarks(said: Sequence[str]) -> str:
    if not said:
        return ""
    return '<div class="remarks">' + "".join(f"<p>{escape(text)}</p>" for text in said) + "</div>"


def _cards(result: Result) -> str:
    shown = [("clients served", f"{result.counts.served:,}")]
    if result.storm is not None:
        back = result.storm.all_served_s
        shown.append(("until all were served again", "never" if back is None else f"{back:.2f} s"))
    elif result.delivered:
        shown.append(("prices a second", f"{result.delivered_per_s:,.0f}"))
    if result.latency.count:
        shown.append(("p50, tick to client", f"{result.latency.p50_ms:.3g} ms"))
        shown.append(("p99, tick to client", f"{result.latency.p99_ms:.3g} ms"))
    if result.bytes_per_connection is not None:
        shown.append(("memory a connection", f"{result.bytes_per_connection / 1e3:.1f} kB"))
    elif result.cpu_us is not None and result.storm is None:
        shown.append(("server CPU a price", f"{result.cpu_us:.2f} µs"))
    cards = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for what, value in shown
    )
    return f'<div class="cards">{cards}</div>'


def _drawn(result: Result) -> dict[str, str]:
    samples = result.samples
    drawn = {}
    spreads = {"measured": result.latency} if result.latency.count else {}
    if result.before is not None and result.before.count:
        spreads = {"before the stall": result.before, "while some stall": result.latency}
    if spreads:
        drawn["Latency, tick to client"] = plots.latency(spreads)
        drawn["Latency over time"] = plots.latency_over_time(samples)
    if result.answers.count and result.scenario.kind == "churn":
        drawn["Request to answer"] = plots.latency({"answers": result.answers})
    if result.storm is not None and result.connecting.count:
        drawn["From connecting to being served"] = plots.latency({"clients": result.connecting})
    if result.delivered:
        drawn["Throughput"] = plots.throughput(samples)
    drawn["Clients served"] = plots.clients(samples)
    if result.processes:
        drawn["CPU"] = plots.cpu(samples)
        drawn["Memory"] = plots.memory(samples)
    return drawn


def _plots(drawn: Mapping[str, str]) -> str:
    return '<div class="plots">' + "".join(plot(title, svg) for title, svg in drawn.items()) + "</div>"


def _figures(result: Result) -> str:
    lines = "".join(
        f'<tr><th>{escape(row.what)}</th><td class="figure">{escape(row.value)}</td>'
        f'<td class="note">{escape(row.note)}</td></tr>'
        for row in rows(result)
    )
    return f'<div class="scroll"><table>{lines}</table></div>'
