"""What `bench_peers` found: medians, ratios, and the tables and plots of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

import msgspec
from rich.box import SIMPLE
from rich.table import Table

from services.launcher.load import plots
from services.launcher.load.page import framed, html_table, plot
from services.launcher.load.results import LATE_S, Result

FLOOR, NODE = "plain send()", "node"
FULL_CORE = 0.97


@dataclass
class Comparison:
    """All results of one run: (line, server) -> rounds, and the floor in µs, measured several times."""

    started: datetime
    pinned: bool
    floors: list[float] = field(default_factory=list)
    results: dict[tuple[str, str], list[Result]] = field(default_factory=dict)

    def add(self, line: str, server: str, result: Result) -> None:
        self.results.setdefault((line, server), []).append(result)

    @property
    def floor_us(self) -> float:
        return median(self.floors)

    def lines(self, kind: str) -> list[str]:
        """Lines of one kind of scenario, in the order of measuring."""
        return list(dict.fromkeys(line for (line, _), found in self.results.items() if found[0].scenario.kind == kind))

    def servers(self, line: str) -> list[str]:
        return [server for found, server in self.results if found == line]

    def middle(self, line: str, server: str, value: Callable[[Result], float | None]) -> float | None:
        """Median over the rounds; None where there is none."""
        found = [number for one in self.results.get((line, server), []) if (number := value(one)) is not None]
        return median(found) if found else None


def cpu_us(result: Result) -> float | None:
    return result.cpu_us


def _p99(result: Result) -> float:
    return result.latency.p99_ms


def share(result: Result) -> float:
    return result.processes[0].cpu_share


def ingest_us(result: Result) -> float | None:
    """CPU of price-ingest for each tick; peers have none."""
    spent = [process.cpu_s for process in result.processes if process.name == "price-ingest"]
    return spent[0] / result.published * 1e6 if spent and result.published else None


def arrived(result: Result) -> float | None:
    """Share of the ticks that reached clients, those folded into another one counted too."""
    if not result.expected:
        return None
    folded = result.counts.represented / result.counts.sampled if result.counts.sampled else 1.0
    return min(result.delivered * folded / result.expected, 1.0)  # folding is known by a sample


Rows = list[tuple[str, ...]]


def fanout_rows(comparison: Comparison) -> Rows:
    """As `FANOUT_HEADS`; Node's cost at the highest rate stands for it where Node has no such load."""
    floor = comparison.floor_us
    node_full = [
        us for line in comparison.lines("steady") if (us := comparison.middle(line, NODE, cpu_us)) is not None
    ][-1:]
    rows: Rows = [("", FLOOR, f"{floor:.2f}", "1.00", *[""] * 7)]
    for line in comparison.lines("steady"):
        node = comparison.middle(line, NODE, cpu_us) or next(iter(node_full), None)
        for server in comparison.servers(line):
            cost = comparison.middle(line, server, cpu_us)
            rows.append(
                (
                    line,
                    server,
                    _shown(cost, ".2f"),
                    _shown(cost and cost / floor, ".2f"),
                    _shown(cost and node and cost / node, ".2f"),
                    _shown(comparison.middle(line, server, lambda one: one.latency.p50_ms), ".1f"),
                    _shown(comparison.middle(line, server, lambda one: one.latency.p99_ms), ".1f"),
                    _shown(comparison.middle(line, server, share), ".0%"),
                    _shown(comparison.middle(line, server, lambda one: one.delivered_per_s), ",.0f"),
                    _shown(comparison.middle(line, server, arrived), ".1%"),
                    _shown(comparison.middle(line, server, ingest_us), ".0f"),
                )
            )
    return rows


def other_rows(comparison: Comparison) -> Rows:
    """Server, memory a connection, until all were served again, refusals on the way, not served."""
    rows: Rows = []
    for server in dict.fromkeys(server for _, server in comparison.results):
        memory = comparison.middle("idle", server, lambda one: one.bytes_per_connection)
        storms = comparison.results.get(("storm", server), [])
        storm = storms[0].storm if storms else None
        back = None if storm is None else storm.all_served_s
        rows.append(
            (
                server,
                _shown(memory and memory / 1e3, ".1f"),
                _shown(back, ".1f"),
                "" if storm is None else f"{storm.refusals:,}",
                "" if storm is None else f"{storm.unserved:,}",
            )
        )
    return rows


FANOUT_HEADS = (
    "load",
    "server",
    "µs/price",
    "/floor",
    "/Node",
    "p50 ms",
    "p99 ms",
    "core",
    "prices/s",
    "arrived",
    "ingest µs",
)
OTHER_HEADS = ("server", "kB/connection", "storm: all served, s", "refusals", "not served")


def tables(comparison: Comparison) -> list[Table]:
    """For the terminal."""
    return [
        _table("500 clients, 20 of 200 symbols each", FANOUT_HEADS, fanout_rows(comparison)),
        _table(_others_title(comparison), OTHER_HEADS, other_rows(comparison)),
    ]


def as_json(comparison: Comparison) -> bytes:
    """Every run, and the rows of the tables."""
    plain = {
        "started": comparison.started.isoformat(),
        "pinned": comparison.pinned,
        "floor_us": comparison.floors,
        "fanout": [dict(zip(FANOUT_HEADS, row, strict=True)) for row in fanout_rows(comparison)],
        "others": [dict(zip(OTHER_HEADS, row, strict=True)) for row in other_rows(comparison)],
        "remarks": remarks(comparison),
        "runs": [
            {"line": line, "server": server, "result": msgspec.to_builtins(result)}
            for (line, server), found in comparison.results.items()
            for result in found
        ],
    }
    return msgspec.json.encode(plain) + b"\n"


def as_page(comparison: Comparison) -> str:
    """One file for a browser without a network."""
    lines = comparison.lines("steady")
    updates = [line for line in lines if len(comparison.servers(line)) > 1]
    drawn = [
        plot("CPU for each price, as a multiple of the floor", _bars(comparison, updates, cpu_us, comparison.floor_us)),
        plot("p99, tick to client, ms, logarithmic", _bars(comparison, updates, _p99, logarithmic=True)),
        plot(
            "Memory of an idle connection, kB", _bars(comparison, ["idle"], lambda one: one.bytes_per_connection, 1e3)
        ),
        *(plot(f"Latency at {line}", _latency(comparison, line)) for line in updates[:1]),
    ]
    pinned = "the server alone on one core" if comparison.pinned else "all on the same core"
    said = "".join(f"<p>{text}</p>" for text in remarks(comparison))
    body = [
        f'<div class="remarks">{said}</div>' if said else "",
        f'<div class="plots">{"".join(drawn)}</div>',
        html_table(FANOUT_HEADS, fanout_rows(comparison)),
        f"<p>{_others_title(comparison)}</p>",
        html_table(OTHER_HEADS, other_rows(comparison)),
    ]
    subtitle = f"{comparison.started:%Y-%m-%d %H:%M} UTC, one run, medians of its rounds, {pinned}"
    return framed("Tickwire beside its peers: 500 clients, 20 of 200 symbols each", subtitle, body)


def remarks(comparison: Comparison) -> list[str]:
    """Which figures are to be read with care, by reason."""
    said: dict[str, list[str]] = {}
    for (line, server), found in comparison.results.items():
        for reason in _doubts(found):
            said.setdefault(reason, []).append(f"{server} at {line}" if line[0].isdigit() else f"{server} ({line})")
    return [f"{reason}: {', '.join(which)}" for reason, which in said.items()]


def _doubts(found: list[Result]) -> Iterator[str]:
    if any(one.generator.saturated for one in found):
        yield "generator saturated, so latencies are partly its own"
    if any(one.generator.publisher_late_s > LATE_S for one in found):
        yield "publisher late, by over 50 ms once at least"
    if found[0].scenario.kind == "steady" and median(map(share, found)) > FULL_CORE:
        yield "server at its limit, a whole core"
    if any(one.counts.gaps for one in found):
        yield "sampled prices missing by seq and n"


def _bars(
    comparison: Comparison,
    lines: Iterable[str],
    value: Callable[[Result], float | None],
    unit: float = 1.0,
    *,
    logarithmic: bool = False,
) -> str:
    groups = {
        line: {
            server: number / unit
            for server in comparison.servers(line)
            if (number := comparison.middle(line, server, value)) is not None
        }
        for line in lines
    }
    return plots.bars(groups, "", logarithmic=logarithmic)


def _latency(comparison: Comparison, line: str) -> str:
    return plots.latency({server: comparison.results[line, server][0].latency for server in comparison.servers(line)})


def _table(title: str, heads: Sequence[str], rows: Rows) -> Table:
    drawn = Table(title=title, box=SIMPLE)
    for head in heads:
        drawn.add_column(
            head, justify="left" if head in {"load", "server"} else "right", no_wrap=head in {"load", "server"}
        )
    for row in rows:
        drawn.add_row(*row)
    return drawn


def _others_title(comparison: Comparison) -> str:
    sizes = {found[0].scenario.kind: found[0].scenario.clients for found in comparison.results.values()}
    return f"{sizes.get('idle', 0):,} idle connections; {sizes.get('storm', 0):,} clients that come back at once"


def _shown(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)
