"""Runs a soak and prints what it comes to: `python -m tests.soak.run`."""

import argparse
import asyncio
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Final

from rich.console import Console
from rich.table import Table

from services.launcher.errors import LauncherError
from shared.names import metrics
from tests.soak.attackers import KINDS
from tests.soak.plot import draw
from tests.soak.rig import Plan, open_rig
from tests.soak.trial import Outcome, Watch, run_trial
from tests.soak.verdict import Judged, judge, risen

EXAMPLE: Final = """\
examples:
  python -m tests.soak.run                                       ten minutes, as `make soak-hostile` does
  python -m tests.soak.run --seconds 30 --good 100 --seed 7
  python -m tests.soak.run --seconds 60 --kinds ping-flood,slowloris
  python -m tests.soak.run --seconds 30 --set MAX_FRAMES_PER_SECOND=1000000
  python -m tests.soak.run --list

exit status: 0 where every promise was kept, 1 where not, 2 where it could not be tried
"""
FULL: Final = Plan()
FOLDER: Final = Path("soak-report")
TOLD_S: Final = 10.0
COUNTERS: Final = tuple(
    one.name
    for one in (metrics.ACCEPTED, metrics.REFUSED, metrics.DISCONNECTS, metrics.REQUEST_ERRORS, metrics.RECOVERIES)
)

console: Final = Console(width=150, soft_wrap=True)


class Progress:
    """One line now and then, of what the watch has seen since the one before."""

    def __init__(self) -> None:
        self._told = monotonic()

    def tell(self, watch: Watch) -> None:
        """After every look."""
        if monotonic() - self._told < TOLD_S or watch.last is None:
            return
        self._told = monotonic()
        sample, look = watch.samples[-1], watch.last
        console.print(
            f"  {sample.at:4.0f} s {sample.phase:8}: {look.served} good clients, "
            f"p99 {sample.latency.quantile(0.99) * 1000:.1f} ms, {sample.packets:,} hostile packets a second, "
            f"gateway {sample.memory / 1e6:.1f} MB, {sample.cpu:.0%} of a core"
        )


async def soak(plan: Plan, folder: Path) -> Outcome:
    """One soak, with its progress shown; where it cannot be finished, what the services had to say about it."""
    console.print(
        f"{plan.good} good clients; {plan.seconds:g} s of {len(plan.kinds)} kinds of attack, seed {plan.seed}; "
        f"in all {plan.warm_s + plan.baseline_s + plan.seconds + plan.quiet_s:.0f} s"
    )
    async with open_rig(plan, folder / "logs") as rig:
        try:
            return await run_trial(plan, rig, Progress().tell)
        except (AssertionError, LauncherError, OSError):
            for line in rig.accidents():
                console.print(f"  {line}", markup=False)
            raise


def show(outcome: Outcome, judged: list[Judged]) -> None:
    """All tables."""
    attacks = Table("attack", "threat", title="What was done")
    for heading in ("connections", "packets", "MB", "refused", "cut off"):
        attacks.add_column(heading, justify="right")
    for name, toll in outcome.tolls.items():
        figures = (toll["lives"], toll["packets"], toll["sent_bytes"] / 1e6, toll["refused"], toll["cut"])
        attacks.add_row(name, KINDS[name].threat, *(f"{number:,.0f}" for number in figures))
    counted = Table("series", title="What the gateway counted")
    counted.add_column("more than before", justify="right")
    for name, rise in risen(outcome, COUNTERS).items():
        counted.add_row(name, f"{rise:,.0f}")
    verdicts = Table("promise", "found", "kept", title="Tickwire under attack")
    for one in judged:
        verdicts.add_row(one.promise, one.found, "[green]yes" if one.holds else "[red]NO")
    for table in (attacks, counted, verdicts):
        console.print(table)
    for line in [*outcome.trades.examples, *outcome.accidents[:10]]:
        console.print(f"  {line}", markup=False)


def keep(outcome: Outcome, judged: list[Judged], folder: Path) -> None:
    """The plot, and the figures behind it."""
    written = draw(outcome, folder)
    figures = {
        "plan": {**asdict(outcome.plan), "settings": dict(outcome.plan.settings)},
        "judged": [asdict(one) for one in judged],
        "tolls": outcome.tolls,
        "counted": risen(outcome, COUNTERS),
    }
    (folder / "soak.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    console.print(f"plot: {' '.join(map(str, written))}")


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.run",
        description="Hostile clients of every kind beside good ones: who notices?",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=FULL.seconds, help="of attack (%(default)g)")
    parser.add_argument("--good", type=int, default=FULL.good, help="good clients (%(default)d)")
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="A,B", help="of attack; all of them")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of all chance")
    parser.add_argument("--pressure", type=float, default=FULL.pressure, help="reconnect so many times as fast (1)")
    parser.add_argument("--baseline", type=float, default=FULL.baseline_s, help="seconds before it (%(default)g)")
    parser.add_argument("--quiet", type=float, default=FULL.quiet_s, help="seconds after it (%(default)g)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the gateway; repeatable"
    )
    parser.add_argument("--report", type=Path, default=FOLDER, help="folder of the plot (%(default)s)")
    parser.add_argument("--list", action="store_true", help="say which kinds there are")
    options = parser.parse_args(arguments)
    options.kinds = tuple(options.kinds.split(","))
    unknown = [name for name in options.kinds if name not in KINDS]
    options.settings = dict(word.partition("=")[::2] for word in options.set)
    if unknown:
        parser.error(f"no kind is called {unknown[0]!r}; there are {', '.join(KINDS)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    options = parsed(arguments)
    if options.list:
        for name, kind in KINDS.items():
            console.print(f"{name:20} {kind.threat:18} {(kind.__doc__ or '').splitlines()[0]}", markup=False)
        return 0
    plan = Plan(
        options.seconds,
        options.good,
        options.kinds,
        options.seed,
        options.pressure,
        baseline_s=options.baseline,
        quiet_s=options.quiet,
        settings=options.settings,
    )
    try:
        outcome = asyncio.run(soak(plan, options.report))
    except LauncherError as error:
        console.print(f"[red]not tried:[/] {error.message}")
        return 2
    judged = judge(outcome)
    show(outcome, judged)
    keep(outcome, judged, options.report)
    return 0 if all(one.holds for one in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
