"""The state machines of `machines/`, for as long as there is time; `make test` runs a fixed few examples of each.

    python -m tests.fuzz.stateful --seconds 300 [--machine engineio|socketio|...|all]

Each machine walks at random through what can happen, beside a model that says what must follow. A finding is printed as
the shortest walk to it that hypothesis finds, ready for a unit test; the exit code is then 1.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.log import configure_logging
from tests.fuzz.fuzzer import say
from tests.fuzz.machines import client_limits, engineio_life, gateway_rooms, log_readers, price_shards, socketio_client


@dataclass(frozen=True)
class Machine:
    """A machine, and how much of it is a short run.

    Attributes:
        needs_redis: whether its `url` is to be set first.
    """

    kind: type[RuleBasedStateMachine]
    examples: int
    needs_redis: bool = False


MACHINES: Final[Mapping[str, Machine]] = {
    "engineio": Machine(engineio_life.OneLife, 100),
    "socketio": Machine(socketio_client.OneClient, 120),
    "rooms": Machine(gateway_rooms.OneGateway, 40),
    "limits": Machine(client_limits.OneClient, 30),
    "log": Machine(log_readers.ClientsComeBack, 40, needs_redis=True),
    "shards": Machine(price_shards.GatewaysWatch, 6, needs_redis=True),
}
STEPS: Final = 40
ROUND: Final = 100
"""Examples between two looks at the time."""


def walk(machine: Machine, examples: int, *, same: bool, shorten: bool = True) -> None:
    """Run examples; always the `same` ones, or others each time. Raises what is found, shortened if that is wanted."""
    run_state_machine_as_test(
        machine.kind,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            derandomize=same,
            database=None,
            deadline=None,
            phases=[Phase.generate, *([Phase.shrink] if shorten else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )


def walk_for(name: str, seconds: float) -> bool:
    """Walk one machine for a while; returns whether nothing was found."""
    start = time.monotonic()
    examples = 0
    while time.monotonic() < start + seconds:
        try:
            walk(MACHINES[name], min(ROUND, MACHINES[name].examples), same=False)
        except Exception:  # noqa: BLE001  # whatever a machine raises is a finding
            say(f"{name}: found after about {examples} examples\n{traceback.format_exc()}")
            return False
        examples += min(ROUND, MACHINES[name].examples)
    say(f"{name}: {examples} examples of up to {STEPS} steps, nothing found")
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Walk state machines at random.")
    parser.add_argument("--machine", choices=[*MACHINES, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60, help="for each machine")
    given = parser.parse_args(arguments)
    configure_logging("error", "console")
    names = list(MACHINES) if given.machine == "all" else [given.machine]
    with EmbeddedValkey() as valkey:
        for machine in MACHINES.values():
            if machine.needs_redis:
                machine.kind.url = valkey.url
        found = [name for name in names if not walk_for(name, given.seconds)]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
