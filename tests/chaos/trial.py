"""One fault on one rig, from the first trade to the verdict. Fed by `faults` and `rig`; feeds `report`."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Final

from shared.tasks import TaskGroup
from tests.chaos.clients import Life
from tests.chaos.faults import Blows, Fault
from tests.chaos.ledger import Ledger, Verdict
from tests.chaos.rig import Rig

HEAL_S: Final = 90.0
"""Longest wait for a client to get anything again: the library's own back-off is a part of it."""

SETTLE_S: Final = 30.0
"""Longest wait for what was accepted to have arrived."""

AFTER_S: Final = 3.0
"""The upstream goes on for so long after that: what had to wait comes all at once."""

PRICES_S: Final = 10.0
QUIET_S: Final = 1.0
"""A trade that is doubled comes late."""

LOOK_S: Final = 0.2


@dataclass(slots=True)
class Row:
    """What is said of one fault.

    Attributes:
        fault: its name.
        blows: how often it struck.
        verdict: the ledger's.
        heal_s: from a blow until every client had a trade accepted after it, the longest; None: one never had.
        returns: clients that came back, counted each time.
        recovered: how many of them were recovered.
        undeclared: how many were not, without `hello` saying so.
        stale: prices that a client shows and that are not the newest.
        crashes: processes that ended by themselves.
        took_s: all in all.
    """

    fault: str
    blows: int
    verdict: Verdict
    heal_s: float | None
    returns: int
    recovered: int
    undeclared: int
    stale: int
    crashes: list[str]
    took_s: float

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return self.verdict.clean and self.heal_s is not None and not (self.undeclared or self.stale or self.crashes)


async def run_trial(name: str, fault: Fault, rig: Rig, *, seconds: float, random: Random, pace: float = 1.0) -> Row:
    """Feed, strike, let it heal, settle accounts."""
    began = monotonic()
    before, crashes = _sums(rig), len(rig.crashes)
    ledger, feeder = rig.turn_page()
    blows = Blows(seconds if fault.repeats else 0.0, random, pace)
    async with TaskGroup() as tasks:
        feeding = tasks.spawn("feeder", feeder.run())
        await within(HEAL_S, lambda: ledger.healed_after(began) is not None)  # every client has had a first trade
        await fault.inject(rig, blows)
        await rig.whole()
        await within(HEAL_S, lambda: ledger.healed_after(blows.at[-1]) is not None)
        await asyncio.sleep(AFTER_S * pace)
        feeder.stop()
        async with asyncio.timeout(HEAL_S):
            await feeding
    await within(SETTLE_S, ledger.caught_up)
    stale = await _stale_prices(rig, ledger)
    await asyncio.sleep(QUIET_S)
    rig.close_page(feeder)
    returns, recovered, undeclared = (now - then for now, then in zip(_sums(rig), before, strict=True))
    heals = [ledger.healed_after(at) for at in blows.at]
    return Row(
        fault=name,
        blows=len(blows.at),
        verdict=ledger.verdict(),
        heal_s=None if None in heals else max(heal for heal in heals if heal is not None),
        returns=returns,
        recovered=recovered,
        undeclared=undeclared,
        stale=stale,
        crashes=rig.crashes[crashes:],
        took_s=monotonic() - began,
    )


async def within(seconds: float, holds: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> bool:
    """Wait until something holds, for so long; whether it does. What does not is for the verdict to say."""
    deadline = monotonic() + seconds
    while True:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return True
        if monotonic() > deadline:
            return False
        await asyncio.sleep(LOOK_S)


async def _stale_prices(rig: Rig, ledger: Ledger) -> int:
    """How many prices do not become the newest, whose number is that of the newest trade."""
    if not rig.setup.prices:
        return 0
    newest = {symbol: float(number) for symbol, number in ledger.newest.items()}
    stale = 0

    async def none_is_stale() -> bool:
        nonlocal stale
        shown = await rig.clients.prices()
        stale = sum(shown[name].get(symbol) != price for name in rig.clients.lives for symbol, price in newest.items())
        return stale == 0

    await within(PRICES_S, none_is_stale)
    return stale


def _sums(rig: Rig) -> tuple[int, int, int]:
    lives: list[Life] = list(rig.clients.lives.values())
    return (
        sum(life.returns for life in lives),
        sum(life.recovered for life in lives),
        sum(life.undeclared for life in lives),
    )
