"""Two gateways grow to five: who has too many clients lets some go, a few a minute, until all have their share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from tests.chaos.trial import within
from tests.fleet.rig import Fleet, Plan, Tell, open_fleet, silently
from tests.fleet.stop_one import PATIENT_S, SILENCE_S, longest_silence
from tests.soak.verdict import Judged

EVEN: Final = 1.3
"""The fullest gateway's clients, over the mean."""

QUIET_S: Final = 6.0
"""Nobody has moved for so long: it is over."""


@dataclass(frozen=True, slots=True)
class Grow:
    """Its size.

    Attributes:
        clients: how many.
        before, after: gateways.
        within_s: until they are even.
        most_per_s: clients that may come back within one second.
        end_s: so long after that at most, until nobody is let go any more; 0: that is not judged.
        silence_s: longest that a client may hear nothing.
        settings: of the gateways.
    """

    clients: int = 1_000
    before: int = 2
    after: int = 5
    within_s: float = 300.0
    most_per_s: int = 20
    end_s: float = 120.0
    silence_s: float = SILENCE_S
    settings: Mapping[str, str] = field(default_factory=lambda: {"REBALANCE_PERCENT": "40"})


SHORT: Final = Grow(
    clients=150,
    before=2,
    after=3,
    within_s=60.0,
    most_per_s=30,
    end_s=0.0,
    silence_s=PATIENT_S,
    settings={"REBALANCE_PERCENT": "100", "REBALANCE_AFTER_SECONDS": "1"},
)


async def grow(size: Grow, tell: Tell = silently) -> list[Judged]:
    """Run it."""
    plan = Plan(size.before, size.clients, places=size.after, settings=size.settings)
    async with open_fleet(plan, tell) as fleet:
        balancer = fleet.balancer
        assert balancer is not None
        async with fleet.trades_flowing():
            travels = fleet.clients.travels
            before = _fullest(fleet, size)
            await fleet.add(*range(size.before, size.after))
            for place in range(size.before, size.after):
                await balancer.put_in(place, fleet.backends()[place])
            began = monotonic()
            fleet.say(f"{size.after} gateways; the fullest holds {before:.2f} times the mean")
            await within(size.within_s, lambda: _fullest(fleet, size) <= EVEN)
            fullest = _fullest(fleet, size)
            took_s = monotonic() - began
            fleet.say(f"the fullest holds {fullest:.2f} times the mean")
            ended = await within(size.end_s, lambda: monotonic() - travels.last > QUIET_S)
            even_s = monotonic() - began
        trips = travels.counts(fleet.clients.crowd)
        storm = travels.most_returns_in(1.0)
        return [
            Judged(
                f"within {size.within_s:g} s the fullest holds at most {EVEN:g} times the mean",
                f"{before:.2f} at first, {fullest:.2f} after {took_s:.0f} s, {_fullest(fleet, size):.2f} at the end",
                fullest <= EVEN and _fullest(fleet, size) <= EVEN,
            ),
            Judged(
                f"no storm: at most {size.most_per_s} clients come back in a second",
                f"{storm} in the busiest second, {len(travels.returns)} in all",
                0 < storm <= size.most_per_s,
            ),
            Judged("it ends", f"{ended} after {even_s:.0f} s", ended or not size.end_s),
            Judged("no client is moved twice", f"{dict(trips)}", max(trips) <= 1),
            longest_silence(fleet, size.silence_s),
            *fleet.account(),
        ]


def _fullest(fleet: Fleet, size: Grow) -> float:
    return max(fleet.spread().values()) / (size.clients / size.after)
