"""Runs faults against real clusters and prints what the ledger says: `python -m tests.chaos.run`."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Final

from rich.console import Console
from rich.table import Table

from shared.tasks import TaskGroup
from tests.chaos.clients import Life
from tests.chaos.faults import FAULTS
from tests.chaos.rig import Rig, Setup, open_rig
from tests.chaos.stores import KINDS
from tests.chaos.trial import Row, run_trial

EXAMPLE: Final = """\
examples:
  python -m tests.chaos.run                                     every fault, as `make chaos` does
  python -m tests.chaos.run --fault gateway-kill --seconds 20 --seed 7
  python -m tests.chaos.run --fault notifier-kill --redis cluster
  python -m tests.chaos.run --fault sentinel-zombie --unconfirmed
"""
SECONDS: Final = 120.0
PROGRESS_S: Final = 10.0

console: Final = Console(width=140, soft_wrap=True)


async def run_fault(name: str, setup: Setup, *, seconds: float, seed: int) -> Row:
    """One fault on a cluster of its own; logs are kept where the promise was not."""
    fault = FAULTS[name]
    console.print(f"[bold]{name}[/]: {fault.summary} (Redis {setup.redis}, seed {seed})")
    began = monotonic()
    async with open_rig(setup) as rig:
        console.print(
            f"  {len(rig.clients.lives)} clients at {len(rig.posts)} services after {monotonic() - began:.0f} s"
        )
        async with TaskGroup() as tasks:
            tasks.spawn("progress", _tell_progress(rig, began))
            row = await run_trial(name, fault, rig, seconds=seconds, random=random.Random(f"{seed}-{name}"))
        if not row.kept:
            kept = Path(tempfile.mkdtemp(prefix=f"tickwire-chaos-{name}-"))
            shutil.copytree(rig.directory, kept, dirs_exist_ok=True)
            console.print(f"  [red]not kept[/]; logs: {kept}")
            _explain(row, rig.clients.lives)
    return row


async def _tell_progress(rig: Rig, began: float) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        lives = rig.clients.lives.values()
        away = sum(not life.gateway for life in lives)
        returns, recovered = sum(life.returns for life in lives), sum(life.recovered for life in lives)
        console.print(
            f"  {monotonic() - began:4.0f} s: {rig.clients.ledger.trades:,} trades accepted, {away} clients away, "
            f"{recovered} of {returns} returns recovered"
        )


def _explain(row: Row, lives: Mapping[str, Life]) -> None:
    """Examples of what is wrong, and why clients left."""
    for line in [*row.verdict.examples, *row.crashes]:
        console.print(f"    {line}")
    if row.undeclared:
        console.print(f"    {row.undeclared} returns were not recovered, and hello did not say so")
    left = sum((life.reasons + life.failures for life in lives.values()), Counter[str]())
    console.print(f"    clients say: {dict(left)}")


def table(rows: Sequence[Row]) -> Table:
    """What a run comes to."""
    made = Table(title="Tickwire under faults")
    made.add_column("fault")
    for heading in (
        "blows",
        "trades",
        "owed",
        "lost",
        "doubled",
        "out of order",
        "gaps told",
        "recovered",
        "stale prices",
        "s to heal",
        "s",
    ):
        made.add_column(heading, justify="right")
    for row in rows:
        verdict = row.verdict
        made.add_row(
            row.fault if row.kept else f"[red]{row.fault}",
            *(f"{number:,}" for number in (row.blows, verdict.trades, verdict.owed)),
            *(f"{number:,}" for number in (verdict.lost, verdict.doubled, verdict.disordered, verdict.declared)),
            f"{row.recovered} of {row.returns}",
            f"{row.stale:,}",
            "never" if row.heal_s is None else f"{row.heal_s:.1f}",
            f"{row.took_s:.0f}",
        )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line: 0 where every promise was kept, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.run",
        description="Break a real cluster under real clients and account for every trade.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fault", action="append", choices=[*FAULTS], metavar="NAME", help=", ".join(FAULTS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each fault that repeats (%(default)g)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of all chance")
    parser.add_argument("--redis", choices=KINDS, help="instead of the one that each fault is meant for")
    parser.add_argument(
        "--unconfirmed", action="store_true", help="nobody waits for replicas: shows what a failover then loses"
    )
    options = parser.parse_args(arguments)
    names = options.fault or [*FAULTS]
    setups = {
        name: replace(
            FAULTS[name].setup, redis=options.redis or FAULTS[name].setup.redis, confirmed=not options.unconfirmed
        )
        for name in names
    }
    wrong = [name for name, setup in setups.items() if setup.proxied and setup.redis != "plain"]
    if wrong:
        parser.error(f"{wrong[0]} needs --redis plain: its proxy stands before one server")
    rows = [
        asyncio.run(run_fault(name, setup, seconds=options.seconds, seed=options.seed))
        for name, setup in setups.items()
    ]
    console.print(table(rows))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
