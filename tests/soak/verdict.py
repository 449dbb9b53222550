"""What an outcome comes to: each promise, what was found, whether it holds. Pure. Fed by `trial`; feeds `run`."""

from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from tests.soak.trial import Outcome, Phase

P99_RATIO: Final = 2.0
MEMORY_RATIO: Final = 1.2
SPARE_DESCRIPTORS: Final = 4
"""More than at the beginning: an ops request that is just being served."""

LINES_AT_ALL: Final = 30
LINES_PER_S: Final = 1.0
"""Log lines that an attack may cause, however many packets it sends."""

NEW_SERIES: Final = 100
"""Metric series that may appear: reasons and codes come from closed lists; names that clients make up do not count."""

WINDOW_S: Final = 10
CLIENTS_SERIES: Final = "websocket_connections"


@dataclass(frozen=True, slots=True)
class Judged:
    """One promise."""

    promise: str
    found: str
    holds: bool


def judge(outcome: Outcome) -> list[Judged]:
    """Every promise."""
    return [_delay(outcome), *_good_clients(outcome), *_gateway(outcome), *_words(outcome), _attack(outcome)]


def _delay(outcome: Outcome) -> Judged:
    """p99 of all prices that arrived in the attack, over that of all in the baseline: no average of quantiles."""
    alone = outcome.latency(Phase.BASELINE).quantile(0.99)
    beside = outcome.latency(Phase.ATTACK).quantile(0.99)
    found = f"{beside * 1000:.1f} ms beside {alone * 1000:.1f} ms alone"
    if alone:
        found += f", {beside / alone:.2f} times"
    worst = windows_p99(outcome, Phase.ATTACK)
    if worst:
        found += f"; windows of {WINDOW_S} s: median {median(worst) * 1000:.1f}, worst {max(worst) * 1000:.1f} ms"
    waited = fmean(sample.waited for sample in outcome.samples if sample.phase is not Phase.WARM)
    found += f"; the gateway had to wait for its core {waited:.1%} of the time"
    holds = 0 < beside <= P99_RATIO * alone
    return Judged(f"p99 from tick to good client at most {P99_RATIO:g} times", found, holds)


def windows_p99(outcome: Outcome, phase: Phase) -> list[float]:
    """p99 of each window of a phase, in seconds."""
    return [window.quantile(0.99) for window in outcome.windows(phase, WINDOW_S)]


def _good_clients(outcome: Outcome) -> list[Judged]:
    trades, last, good = outcome.trades, outcome.last, outcome.plan.good
    told = f"{trades.owed:,} owed, {trades.lost} lost, {trades.declared} in gaps, {trades.doubled} doubled"
    told += f", {trades.disordered} out of order, {trades.strange} unknown"
    refused = last.rejected + last.errors
    return [
        Judged("no trade missed, doubled or out of order", told, trades.clean and trades.owed > 0),
        Judged("no gap in the prices of a good client", f"{last.gaps} of those sampled", last.gaps == 0),
        Judged("no good client disconnected", f"{last.served} of {good} served", last.served == good and not last.lost),
        Judged("no good client refused anything", f"{refused} errors", refused == 0),
    ]


def _gateway(outcome: Outcome) -> list[Judged]:
    before, after = outcome.before, outcome.after
    ratio = after.memory / before.memory
    most = max(sample.memory for sample in outcome.samples)
    memory = (
        f"{before.memory / 1e6:.1f} MB, {after.memory / 1e6:.1f} after, {ratio:.3f} times; {most / 1e6:.1f} at most"
    )
    clients = _total(after.series, CLIENTS_SERIES)
    return [
        Judged(f"memory afterwards under {MEMORY_RATIO:g} times", memory, ratio < MEMORY_RATIO),
        Judged(
            "descriptors are given back",
            f"{before.descriptors} before, {outcome.attacked.descriptors} in the attack, {after.descriptors} after",
            after.descriptors <= before.descriptors + SPARE_DESCRIPTORS,
        ),
        Judged("connections are let go", f"{clients:.0f} are open", clients == outcome.plan.good),
        Judged(
            "metrics do not grow with what clients say",
            f"{len(before.series)} series before, {len(after.series)} after",
            len(after.series) - len(before.series) <= NEW_SERIES,
        ),
    ]


def _words(outcome: Outcome) -> list[Judged]:
    told = outcome.after.log_lines - outcome.before.log_lines
    lines = told.total()
    bound = LINES_AT_ALL + LINES_PER_S * outcome.plan.seconds
    packets = sum(toll["packets"] for toll in outcome.tolls.values())
    accidents = outcome.accidents
    found = f"{lines} lines for {packets:,} packets, {bound:.0f} allowed"
    if told:
        found += f"; most of all {told.most_common(1)[0][0]}"
    return [
        Judged("no log line per packet", found, lines <= bound),
        Judged("no unhandled exception", f"{len(accidents)} in all logs", not accidents),
    ]


def _attack(outcome: Outcome) -> Judged:
    """A soak without an attack would prove nothing."""
    idle = [name for name, toll in outcome.tolls.items() if not toll["lives"]]
    lives = sum(toll["lives"] for toll in outcome.tolls.values())
    found = f"{len(outcome.tolls) - len(idle)} of {len(outcome.plan.kinds)} kinds, {lives:,} connections"
    return Judged("every kind has attacked", found + (f"; not: {', '.join(idle)}" if idle else ""), not idle)


def risen(outcome: Outcome, prefixes: tuple[str, ...]) -> dict[str, float]:
    """Series of the gateway that rose between the beginning of the attack and the end of the quiet."""
    before, after = outcome.before.series, outcome.after.series
    rises = {name: value - before.get(name, 0.0) for name, value in after.items() if name.startswith(prefixes)}
    return {name: rise for name, rise in sorted(rises.items()) if rise > 0}


def _total(series: dict[str, float], name: str) -> float:
    return sum(value for label, value in series.items() if label.partition("{")[0] == name)
