"""A rolling restart of all gateways, as the documented Deployment does it: nobody is dropped twice.

With `maxSurge: 100%` and `maxUnavailable: 0` the new pods come first, all of them; when they are ready the old ones are
taken out of rotation, wait (`preStop`), and get SIGTERM together.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from tests.fleet.rig import Fleet, Plan, Tell, open_fleet, silently
from tests.fleet.stop_one import GRACE_S, PATIENT_S, SILENCE_S, draining, longest_silence
from tests.soak.verdict import Judged
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Rolling:
    """Its size.

    Attributes:
        clients: how many.
        gateways: that are replaced.
        pre_stop_s: between leaving the rotation and SIGTERM.
        silence_s: longest that a client may hear nothing.
        drain_s: `DRAIN_SECONDS` of the gateways.
        settings: further ones of them.
    """

    clients: int = 1_000
    gateways: int = 5
    pre_stop_s: float = 10.0
    silence_s: float = SILENCE_S
    drain_s: int = 60
    settings: Mapping[str, str] = field(default_factory=dict)


SHORT: Final = Rolling(clients=100, gateways=2, pre_stop_s=0.5, silence_s=PATIENT_S, drain_s=4)


async def rolling(size: Rolling, tell: Tell = silently) -> list[Judged]:
    """Run it."""
    number = size.gateways
    plan = Plan(number, size.clients, places=2 * number, settings=draining(size.drain_s, size.settings))
    async with open_fleet(plan, tell) as fleet:
        clients = fleet.clients
        async with fleet.trades_flowing():
            codes, took_s = await _replace(fleet, size)
            await fleet.everyone_served(GRACE_S)
        trips, spread = clients.travels.counts(clients.crowd), fleet.spread()
        return [
            Judged(
                "no client is dropped twice",
                f"{trips[1]:,} of {size.clients:,} once, {sum(trips[n] for n in trips if n > 1)} more often; "
                f"failed attempts: {sum(clients.travels.failures.values())}",
                trips == Counter({1: size.clients}),
            ),
            longest_silence(fleet, size.silence_s),
            *fleet.account(),
            Judged(
                f"all exit with 0 within {GRACE_S:g} s",
                f"{codes} after {took_s:.1f} s",
                set(codes) == {0} and took_s < GRACE_S,
            ),
            Judged("the new gateways share them", f"{sorted(spread.values())}", len(spread) == number),
        ]


async def _replace(fleet: Fleet, size: Rolling) -> tuple[list[int | None], float]:
    """The new ones come, the old ones go: their exit codes, and how long after SIGTERM they had all ended."""
    former, following = range(size.gateways), range(size.gateways, 2 * size.gateways)
    balancer = fleet.balancer
    assert balancer is not None
    await fleet.add(*following)
    for place in following:
        await balancer.put_in(place, fleet.backends()[place])
    fleet.say(f"{size.gateways} new gateways are in rotation")
    for place in former:
        await balancer.take_out(place)
    await asyncio.sleep(size.pre_stop_s)
    began = monotonic()
    for place in former:
        fleet.gateways[place].terminate()
    fleet.say(f"SIGTERM to the {size.gateways} old ones")
    codes = await eventually(
        lambda: [fleet.gateways[place].process.poll() for place in former],
        "all have ended",
        lambda codes: None not in codes,
        patience=GRACE_S,
    )
    return codes, monotonic() - began
