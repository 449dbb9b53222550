"""The short form of `make soak-hostile`, and what makes its verdict say no.

A busy machine decides the delays of a few seconds, so here only the long form judges those.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from services.launcher.load.histogram import Histogram
from tests.chaos.ledger import Verdict
from tests.soak.attackers import KINDS
from tests.soak.crowd import Counts
from tests.soak.line import Toll
from tests.soak.plot import draw
from tests.soak.rig import Plan, open_rig
from tests.soak.run import main
from tests.soak.trial import Outcome, Phase, Sample, State, run_trial
from tests.soak.verdict import judge

SHORT: Final = Plan(
    seconds=8.0,
    good=50,
    warm_s=1.0,
    baseline_s=2.0,
    quiet_s=5.0,
    settings={"PING_INTERVAL_MS": "1500", "PING_TIMEOUT_MS": "1000", "CONNECT_TIMEOUT_MS": "2000"},
)
"""Heartbeats are quick, so that who is silent is gone when the quiet ends."""

DELAY, MEMORY = "p99 from tick to good client at most 2 times", "memory afterwards under 1.2 times"
MB: Final = 1_000_000


def broken(outcome: Outcome) -> dict[str, str]:
    """The promises that were not kept, and what was found instead."""
    return {one.promise: one.found for one in judge(outcome) if not one.holds}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.0/8 without configuration, and /proc")
async def test_good_clients_notice_nothing_of_all_hostile_ones_together(tmp_path: Path) -> None:
    async with open_rig(SHORT, tmp_path / "logs") as rig:
        outcome = await run_trial(SHORT, rig, lambda _watch: None)
    found = broken(outcome)
    found.pop(DELAY, None)
    found.pop(MEMORY, None)
    assert found == {}
    assert outcome.after.memory < 1.5 * outcome.before.memory
    assert outcome.latency(Phase.ATTACK).quantile(0.5) < 1.0


def latency(seconds: float) -> Histogram:
    made = Histogram()
    for _ in range(100):
        made.add(seconds)
    return made


def seconds_of(phase: Phase, delay: float, count: int) -> list[Sample]:
    return [Sample(float(at), phase, latency(delay), latency(0.001), 70 * MB, 0.2, 0.0, 100) for at in range(count)]


def harmless() -> Outcome:
    """An attack that nobody noticed."""
    state = State(70 * MB, 600, Counter(ready=1), {"websocket_connections": 500.0, "other": 1.0})
    return Outcome(
        plan=Plan(seconds=20.0, kinds=("silent",)),
        samples=[*seconds_of(Phase.BASELINE, 0.010, 20), *seconds_of(Phase.ATTACK, 0.019, 20)],
        before=state,
        attacked=state,
        after=state,
        tolls={"silent": Toll(lives=60, packets=60).plain()},
        last=Counts(served=500, lost=0, rejected=0, gaps=0, updates=10, errors=0),
        trades=Verdict(trades=10, owed=100),
    )


def with_samples(outcome: Outcome) -> None:
    outcome.samples += seconds_of(Phase.ATTACK, 0.5, 1)


def with_trades(outcome: Outcome) -> None:
    outcome.trades.lost = 1


def with_growth(outcome: Outcome) -> None:
    outcome.after = replace(outcome.after, memory=84 * MB)


def with_descriptors(outcome: Outcome) -> None:
    outcome.after = replace(outcome.after, descriptors=605)


def with_connections(outcome: Outcome) -> None:
    outcome.after = replace(outcome.after, series={"websocket_connections": 501.0})


def with_series(outcome: Outcome) -> None:
    named = {f'tickwire_x{{event="{number}"}}': 1.0 for number in range(200)}
    outcome.after = replace(outcome.after, series={**outcome.after.series, **named})


def with_lines(outcome: Outcome) -> None:
    outcome.after = replace(outcome.after, log_lines=Counter(ready=1, client_broke_protocol=60))


def with_traceback(outcome: Outcome) -> None:
    outcome.accidents.append("gateway-0.log: Traceback")


def with_idle_kind(outcome: Outcome) -> None:
    outcome.tolls["silent"]["lives"] = 0


def test_an_attack_that_nobody_noticed_keeps_every_promise() -> None:
    assert broken(harmless()) == {}


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        (with_samples, DELAY),
        (with_trades, "no trade missed, doubled or out of order"),
        (with_growth, MEMORY),
        (with_descriptors, "descriptors are given back"),
        (with_connections, "connections are let go"),
        (with_series, "metrics do not grow with what clients say"),
        (with_lines, "no log line per packet"),
        (with_traceback, "no unhandled exception"),
        (with_idle_kind, "every kind has attacked"),
    ],
)
def test_a_promise_that_was_not_kept_is_found(change: Callable[[Outcome], None], promise: str) -> None:
    outcome = harmless()
    change(outcome)
    assert list(broken(outcome)) == [promise]


@pytest.mark.parametrize(
    ("counts", "promise"),
    [
        ({"served": 499}, "no good client disconnected"),
        ({"lost": 1}, "no good client disconnected"),
        ({"gaps": 1}, "no gap in the prices of a good client"),
        ({"errors": 1}, "no good client refused anything"),
    ],
)
def test_a_good_client_that_noticed_something_is_found(counts: dict[str, int], promise: str) -> None:
    outcome = harmless()
    outcome.last = Counts(**{**{name: getattr(outcome.last, name) for name in Counts.__struct_fields__}, **counts})
    assert list(broken(outcome)) == [promise]


def test_the_plot_is_written_in_both_formats(tmp_path: Path) -> None:
    written = draw(harmless(), tmp_path / "report")
    assert [path.suffix for path in written] == [".png", ".svg"]
    assert all(path.stat().st_size > 10_000 for path in written)


def test_every_kind_says_what_it_does_and_which_threat_it_is() -> None:
    assert all(kind.__doc__ and kind.threat.startswith("T") for kind in KINDS.values())
    assert len(KINDS) >= 20


def test_an_unknown_kind_is_refused_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--kinds", "silent,unheard-of"])
    assert ended.value.code == 2
    assert "unheard-of" in capsys.readouterr().err
