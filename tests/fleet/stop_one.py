"""SIGTERM to one of three gateways: each of its clients goes to another one once, and nobody else notices."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from tests.fleet.rig import Fleet, Plan, Tell, open_fleet, silently
from tests.fleet.waits import Waits
from tests.soak.verdict import Judged
from tests.support.edge import Name
from tests.support.waiting import eventually

GRACE_S: Final = 90.0
"""`terminationGracePeriodSeconds` of the gateways."""

SURVIVORS: Final = (1, 2)
SILENCE_S: Final = 5.0
PATIENT_S: Final = 30.0
"""In short forms: a machine that stands still makes clients wait too."""

P99_RATIO: Final = 2.0
AFTER_S: Final = 2.0
"""The survivors are looked at for so long after the last client has come."""


@dataclass(frozen=True, slots=True)
class StopOne:
    """Its size.

    Attributes:
        clients: how many.
        edge: what they connect through.
        normal_s: the survivors' delays are looked at for so long before.
        p99_floor_ms: delays below are never too long.
        silence_s: longest that a client may hear nothing.
        drain_s: `DRAIN_SECONDS` of the gateways.
        settings: further ones of them.
    """

    clients: int = 2_000
    edge: Name = "haproxy"
    normal_s: float = 30.0
    p99_floor_ms: float = 0.0
    silence_s: float = SILENCE_S
    drain_s: int = 60
    settings: Mapping[str, str] = field(default_factory=dict)


SHORT: Final = StopOne(clients=150, normal_s=3.0, p99_floor_ms=10_000.0, silence_s=PATIENT_S, drain_s=4)
"""Delays of a few seconds on a busy machine say nothing about gateways."""

SHORT_ENVOY: Final = replace(SHORT, clients=60, edge="envoy", normal_s=1.0, drain_s=2)


def draining(drain_s: int, settings: Mapping[str, str]) -> dict[str, str]:
    """Settings of a gateway that drains for so long, unless they say otherwise."""
    return {"DRAIN_SECONDS": str(drain_s), **settings}


async def stop_one(size: StopOne, tell: Tell = silently) -> list[Judged]:
    """Run it."""
    plan = Plan(gateways=3, clients=size.clients, edge=size.edge, settings=draining(size.drain_s, size.settings))
    async with open_fleet(plan, tell) as fleet:
        clients, stopped = fleet.clients, fleet.gateways[0]
        await clients.probe([fleet.gateways[place].url for place in SURVIVORS], fleet.symbols)
        async with fleet.trades_flowing():
            waits = Waits([fleet.gateways[place] for place in SURVIVORS])
            await asyncio.sleep(size.normal_s)
            normal_share = waits.share()
            leaving = clients.at()[stopped.instance]
            began = monotonic()
            stopped.terminate()
            fleet.say(f"SIGTERM to a gateway with {len(leaving)} clients")
            code = await eventually(
                stopped.process.poll, "it ends", lambda code: code is not None, patience=GRACE_S + AFTER_S
            )
            took_s = monotonic() - began
            fleet.say(f"it has ended with {code}")
            await fleet.everyone_served(GRACE_S)
            await asyncio.sleep(AFTER_S)
            ended, share = monotonic(), waits.share()
        normal, meanwhile = clients.p99_ms(began - size.normal_s, began), clients.p99_ms(began, ended)
        return [
            *_moves(fleet, leaving, size),
            *fleet.account(),
            Judged(
                f"exit code 0 within the grace period of {GRACE_S:g} s",
                f"{code} after {took_s:.1f} s",
                code == 0 and took_s < GRACE_S,
            ),
            Judged(
                f"the survivors' p99 from upstream to client at most {P99_RATIO:g} times",
                f"{meanwhile[0]:.0f} ms beside {normal[0]:.0f} ms ({meanwhile[1]:,} and {normal[1]:,} trades); "
                f"they had to wait for a core {share:.0%} of the time, before {normal_share:.0%}",
                0 < meanwhile[0] <= max(P99_RATIO * normal[0], size.p99_floor_ms),
            ),
        ]


def _moves(fleet: Fleet, leaving: list[str], size: StopOne) -> list[Judged]:
    travels, others = fleet.clients.travels, set(fleet.clients.crowd) - set(leaving)
    left, stayed = travels.counts(leaving), travels.counts(others)
    return [
        Judged(
            "each of its clients reconnects exactly once",
            f"{left[1]:,} of {len(leaving):,} once; failed attempts: {sum(travels.failures.values())}",
            left == Counter({1: len(leaving)}),
        ),
        Judged(
            f"they are let go one by one, over half of {size.drain_s:g} s at least",
            f"over {travels.departures_s:.1f} s",
            travels.departures_s >= size.drain_s / 2,
        ),
        Judged("no other client does", f"{stayed[0]:,} of {len(others):,} stayed", stayed == Counter({0: len(others)})),
        longest_silence(fleet, size.silence_s),
    ]


def longest_silence(fleet: Fleet, bound_s: float) -> Judged:
    """From the loss of a transport until the first trade over the next one, or until now."""
    travels = fleet.clients.travels
    longest, median, slowest = travels.longest_silence_s(monotonic()), 0.0, ""
    if travels.silences:
        median, slowest = travels.silences[len(travels.silences) // 2][0], travels.silences[-1][1]
    return Judged(
        f"longest silence of a client under {bound_s:g} s",
        f"{longest:.2f} s, median {median:.2f} s; slowest of those that are back: {slowest}",
        longest < bound_s,
    )
