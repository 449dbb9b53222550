"""The plot of a soak: delays, memory, CPU and packets over time, phases shaded. Fed by an `Outcome`; writes files."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.soak.trial import Outcome, Phase, Sample

mpl.use("Agg")

SHADES: Final = {Phase.WARM: "#f1f5f9", Phase.BASELINE: "#dcfce7", Phase.ATTACK: "#fee2e2", Phase.QUIET: "#e0f2fe"}
BLUE, ORANGE, GREEN, VIOLET, RED = "#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626"
NAMES: Final = ("soak.png", "soak.svg")
Value = Callable[[Sample], float]


def draw(outcome: Outcome, folder: Path) -> list[Path]:
    """Write it in both formats; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11, 10), layout="constrained")
    delays, memory, cpu, packets = figure.subplots(4, 1, sharex=True)
    plan = outcome.plan
    figure.suptitle(
        f"{plan.good} good clients beside {len(plan.kinds)} kinds of hostile ones, {plan.seconds:.0f} s of attack"
    )
    _line(delays, outcome, lambda one: one.latency.quantile(0.99) * 1000, RED, "p99")
    _line(delays, outcome, lambda one: one.latency.quantile(0.5) * 1000, BLUE, "p50")
    _line(delays, outcome, lambda one: one.lag.quantile(0.99) * 1000, "#94a3b8", "p99 of the clients' own wake-ups")
    for phase in (Phase.BASELINE, Phase.ATTACK, Phase.QUIET):
        _level(delays, outcome, phase)
    _axes(delays, "tick to client, ms")
    _line(memory, outcome, lambda one: one.memory / 1e6, GREEN, "resident")
    memory.axhline(outcome.before.memory * 1.2 / 1e6, color="#94a3b8", linestyle="--", label="1.2 times the beginning")
    _axes(memory, "gateway, MB")
    _line(cpu, outcome, lambda one: one.cpu * 100, VIOLET, "gateway")
    _line(cpu, outcome, lambda one: one.waited * 100, "#94a3b8", "gateway has to wait for its core")
    _axes(cpu, "% of a core")
    _line(packets, outcome, lambda one: one.packets, ORANGE, "attack")
    _axes(packets, "packets a second")
    packets.set_xlabel("seconds")
    for axes in (delays, memory, cpu, packets):
        _shade(axes, outcome)
    written = [folder / name for name in NAMES]
    for path in written:
        figure.savefig(path, dpi=110)
    return written


def _line(axes: Axes, outcome: Outcome, value: Value, colour: str, label: str) -> None:
    at = [sample.at for sample in outcome.samples]
    axes.plot(at, [value(sample) for sample in outcome.samples], color=colour, linewidth=1.2, label=label)


def _level(axes: Axes, outcome: Outcome, phase: Phase) -> None:
    """p99 of a whole phase, as the verdict compares it."""
    at = [sample.at for sample in outcome.samples if sample.phase is phase]
    if at:
        level = outcome.latency(phase).quantile(0.99) * 1000
        axes.hlines(level, at[0], at[-1], color=RED, linestyle=":", linewidth=1.4)
        axes.annotate(f"{level:.1f}", (at[0], level), color=RED, fontsize=8, va="bottom")


def _axes(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(color="#e2e8f0", linewidth=0.6)
    axes.legend(loc="upper right", fontsize=8, framealpha=0.8)


def _shade(axes: Axes, outcome: Outcome) -> None:
    for phase, shade in SHADES.items():
        at = [sample.at for sample in outcome.samples if sample.phase is phase]
        if at:
            axes.axvspan(at[0] - 1, at[-1], color=shade, zorder=0, linewidth=0)
