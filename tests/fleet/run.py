"""Runs the scenarios of a fleet and prints what they come to: `python -m tests.fleet.run`."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from rich.console import Console
from rich.table import Table

from tests.fleet.grow import Grow, grow
from tests.fleet.rig import Tell
from tests.fleet.rolling import Rolling, rolling
from tests.fleet.stop_one import StopOne, stop_one
from tests.fleet.storm import Storm, storm
from tests.soak.verdict import Judged

EXAMPLE: Final = """\
examples:
  python -m tests.fleet.run                                      all of them, as `make fleet` does
  python -m tests.fleet.run --scenario stop-one-envoy
  python -m tests.fleet.run --scenario storm --clients 2000 --set MAX_ACCEPTS_PER_SECOND=200

exit status: 0 where every promise was kept, else 1
"""

console: Final = Console(width=150, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of them.

    Attributes:
        summary: what is done, for people.
        run: does it.
        size: how large.
    """

    summary: str
    run: Callable[[Any, Tell], Awaitable[list[Judged]]]
    size: StopOne | Rolling | Grow | Storm


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "stop-one": Scenario("SIGTERM to one of three gateways, 2,000 clients behind HAProxy", stop_one, StopOne()),
    "stop-one-envoy": Scenario("the same behind Envoy", stop_one, StopOne(edge="envoy")),
    "rolling": Scenario("five gateways are replaced under 1,000 clients behind HAProxy", rolling, Rolling()),
    "grow": Scenario("two gateways with 1,000 clients behind HAProxy grow to five", grow, Grow()),
    "storm": Scenario("both gateways are killed and 10,000 clients come back at once", storm, Storm()),
}


def table(results: Mapping[str, Sequence[Judged]]) -> Table:
    """What they come to."""
    made = Table("scenario", "promise", "found", "kept", title="A fleet of gateways")
    for name, judged in results.items():
        for index, one in enumerate(judged):
            kept = "[green]yes" if one.holds else "[red]NO"
            made.add_row("" if index else name, one.promise, one.found, kept, end_section=index == len(judged) - 1)
    return made


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fleet.run",
        description="What clients notice when gateways stop, are replaced, become more, or die.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scenario", action="append", choices=[*SCENARIOS], metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument("--clients", type=int, help="instead of as many as the scenario is meant for")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the gateways; repeatable"
    )
    options = parser.parse_args(arguments)
    options.settings = dict(word.partition("=")[::2] for word in options.set)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    options = parsed(arguments)
    results: dict[str, list[Judged]] = {}
    for name in options.scenario or SCENARIOS:
        scenario = SCENARIOS[name]
        size = replace(scenario.size, settings={**scenario.size.settings, **options.settings})
        if options.clients:
            size = replace(size, clients=options.clients)
        console.print(f"[bold]{name}[/]: {scenario.summary}; gateways with {dict(size.settings)}")
        try:
            results[name] = asyncio.run(_run(scenario, size))
        except (AssertionError, OSError, pytest.skip.Exception) as error:  # the others are run all the same
            results[name] = [Judged("it can be run", str(error), holds=False)]
    console.print(table(results))
    return 0 if all(one.holds for judged in results.values() for one in judged) else 1


async def _run(scenario: Scenario, size: StopOne | Rolling | Grow | Storm) -> list[Judged]:
    return await scenario.run(size, lambda line: console.print(line, markup=False, highlight=False))


if __name__ == "__main__":
    sys.exit(main())
