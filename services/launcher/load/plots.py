"""Plots of a result as SVG text that needs nothing else: no address, no font file, no script. Feeds `page`.

The only file that imports matplotlib, which only the `load` extra installs; see `missing`.
"""

import importlib.util
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from services.launcher.errors import LauncherError
from services.launcher.load.observer import Sample
from services.launcher.load.results import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626")
_SIZE: Final = (6.4, 2.9)
_MIB: Final = 1e6
_STYLE: Final[Any] = {  # the library's type is a list of every key that it knows
    "axes.edgecolor": "#94a3b8",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelcolor": "#475569",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": "#e2e8f0",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "tickwire",
    "xtick.color": "#475569",
    "ytick.color": "#475569",
}


def check_installed() -> None:
    """Say so before a run, not after it.

    Raises:
        LauncherError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise LauncherError(
            "the plots of the HTML report need matplotlib", "pip install 'tickwire[load]'; or use --no-html"
        )


def latency(spreads: Mapping[str, Spread]) -> str:
    """How many did not take longer than so: one line for each, time on a logarithmic axis."""
    figure, axes = _figure("ms (logarithmic)", "share")
    for number, ((name, spread), colour) in enumerate(zip(spreads.items(), COLOURS, strict=False)):
        times, shares = _cumulative(spread)
        axes.plot(times, shares, color=colour, label=name, drawstyle="steps-post")
        axes.axvline(spread.p99_ms, color=colour, linewidth=0.8, linestyle=":")
        axes.annotate(
            f" p99 {_digits(spread.p99_ms)}",
            (spread.p99_ms, 0.02 + 0.22 * number),
            color=colour,
            fontsize=8,
            rotation=90,
            va="bottom",
        )
    axes.set_xscale("log", subs=[2, 5])
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return _svg(figure, axes, several=len(spreads) > 1)


def over_time(lines: Mapping[str, Sequence[tuple[float, float]]], label: str) -> str:
    """One line for each name: (seconds, value)."""
    figure, axes = _figure("seconds", label)
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        axes.plot([at for at, _ in points], [value for _, value in points], color=colour, label=name)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    return _svg(figure, axes, several=len(lines) > 1)


def bars(groups: Mapping[str, Mapping[str, float]], label: str, *, logarithmic: bool = False) -> str:
    """A group of bars for each name, one of each colour in it."""
    figure, axes = _figure("", label)
    kinds = list(dict.fromkeys(kind for group in groups.values() for kind in group))
    width = 0.8 / max(len(kinds), 1)
    for number, (kind, colour) in enumerate(zip(kinds, COLOURS, strict=False)):
        at = [index + number * width for index, group in enumerate(groups.values()) if kind in group]
        drawn = axes.bar(at, [group[kind] for group in groups.values() if kind in group], width * 0.92, color=colour)
        drawn.set_label(kind)
        axes.bar_label(drawn, fmt=_digits, fontsize=8, color="#475569", padding=2)
    axes.set_xticks([index + width * (len(kinds) - 1) / 2 for index in range(len(groups))], list(groups))
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.15)
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    return _svg(figure, axes, several=len(kinds) > 1)


def throughput(samples: Sequence[Sample]) -> str:
    """Prices a second."""
    return over_time({"prices a second": [(one.at_s, one.delivered_per_s) for one in samples]}, "prices a second")


def latency_over_time(samples: Sequence[Sample]) -> str:
    """Median and p99 of each half second."""
    lines = {
        "p99": [(one.at_s, one.p99_ms) for one in samples if one.p99_ms is not None],
        "p50": [(one.at_s, one.p50_ms) for one in samples if one.p50_ms is not None],
    }
    return over_time(lines, "ms")


def cpu(samples: Sequence[Sample]) -> str:
    """Share of a core, each process."""
    names = samples[0].cpu if samples else {}
    return over_time({name: [(one.at_s, one.cpu[name] * 100) for one in samples] for name in names}, "% of a core")


def memory(samples: Sequence[Sample]) -> str:
    """Resident memory, each process."""
    names = samples[0].memory if samples else {}
    return over_time({name: [(one.at_s, one.memory[name] / _MIB) for one in samples] for name in names}, "MB")


def clients(samples: Sequence[Sample]) -> str:
    """Clients that are served."""
    return over_time({"clients served": [(one.at_s, float(one.served)) for one in samples]}, "clients")


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def _cumulative(spread: Spread) -> tuple[list[float], list[float]]:
    times, shares, seen = [0.001], [0.0], 0
    for milliseconds, count in spread.classes:
        seen += count
        times.append(milliseconds)
        shares.append(seen / spread.count)
    times[0] = times[1] if len(times) > 1 else times[0]
    return times, shares


def _figure(across: str, up: str) -> "tuple[Figure, Axes]":
    import matplotlib as mpl  # noqa: PLC0415 - half a second, and not always installed
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def _svg(figure: "Figure", axes: "Axes", *, several: bool) -> str:
    import matplotlib as mpl  # noqa: PLC0415 - see above

    with mpl.rc_context(_STYLE):
        if several:
            axes.legend(loc="best", fontsize=8)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue())


def _inline(svg: str) -> str:
    """What may stand inside HTML: no declaration, no metadata, no namespace (HTML knows SVG's), size by the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1
    )
