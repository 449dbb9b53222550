"""A gateway's share of the cluster's clients: when it lets some go, how many, and when it leaves them alone."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from services.gateway.rebalance import FRESH_S, JUDGED, PAUSE_S, Rebalance, ready_others
from services.gateway.settings import GatewaySettings
from shared.messages import ServiceReport, encode_json
from shared.names import metrics

DEFAULTS = GatewaySettings()
NOW_MS = 1_800_000_000_000
TICK_S = 0.25
SETTLE_S = 60.0


def settled(others: Mapping[str, int], percent: float = 60, at: float = 100.0) -> Rebalance:
    """One that has seen the same others for long enough, the last time just now."""
    made = Rebalance(percent, SETTLE_S)
    made.observe(others, at - SETTLE_S)
    made.observe(others, at)
    made.due(0, at)
    return made


def let_go(rebalance: Rebalance, own: int, seconds: float, at: float = 100.0) -> int:
    """How many it would let go in that time if nobody went."""
    return sum(rebalance.due(own, at + number * TICK_S) for number in range(1, int(seconds / TICK_S) + 1))


def test_a_gateway_far_above_its_share_lets_its_percentage_go_in_a_minute_evenly() -> None:
    rebalance = settled({"b": 0}, percent=60)
    assert let_go(rebalance, 1000, FRESH_S / 2) == pytest.approx(50, abs=3)
    assert max(rebalance.due(1000, 105 + number * TICK_S) for number in range(1, 20)) <= 3


@pytest.mark.parametrize(
    ("own", "others"),
    [
        pytest.param(1000, {}, id="it is the only gateway"),
        pytest.param(119, {"b": 99}, id="it is near the mean"),
        pytest.param(30, {"b": 0}, id="it is above the mean by few"),
        pytest.param(100, {"b": 900}, id="it is below the mean"),
    ],
)
def test_nobody_goes_where(own: int, others: dict[str, int]) -> None:
    assert let_go(settled(others), own, 5) == 0


def test_it_goes_on_to_nearly_the_mean_once_it_has_begun() -> None:
    rebalance = settled({"b": 400})
    own = 800
    for number in range(1, 4000):
        at = 100 + number * TICK_S
        rebalance.observe({"b": 1200 - own}, at)
        own -= rebalance.due(own, at)
    assert 600 < own <= 1.05 * 600 + 1
    assert not rebalance.is_shedding


def test_a_gateway_that_comes_or_goes_puts_it_off() -> None:
    rebalance = settled({"b": 0})
    rebalance.observe({"b": 0, "c": 0}, 101)
    assert let_go(rebalance, 1000, 5, at=101) == 0
    for seconds in range(102, 162):
        rebalance.observe({"b": 0, "c": 0}, float(seconds))
    assert let_go(rebalance, 1000, 5, at=161) > 0


def test_old_reports_are_not_acted_on() -> None:
    rebalance = settled({"b": 0})
    assert let_go(rebalance, 1000, 5, at=100 + FRESH_S) == 0


def test_a_loop_that_stood_still_does_not_let_all_go_that_it_missed() -> None:
    rebalance = settled({"b": 0}, percent=60)
    rebalance.due(1000, 100)
    assert rebalance.due(1000, 109) <= 10


def test_it_pauses_where_those_who_go_come_back_to_it() -> None:
    rebalance = settled({"b": 0})
    verdicts = [rebalance.judge_return(100, came_back=True) for _ in range(JUDGED)]
    assert verdicts == [False] * (JUDGED - 1) + [True]
    assert let_go(rebalance, 1000, 5) == 0
    rebalance.observe({"b": 0}, 100 + PAUSE_S)
    assert let_go(rebalance, 1000, 5, at=100 + PAUSE_S) > 0


def test_a_balancer_that_leads_half_of_them_back_is_none_of_that() -> None:
    rebalance = settled({"b": 0})
    verdicts = [rebalance.judge_return(100, came_back=bool(number % 2)) for number in range(10 * JUDGED)]
    assert not any(verdicts)


@pytest.mark.parametrize(
    ("before", "loads"),
    [
        pytest.param(2, [500, 500, 0, 0, 0], id="two gateways of 500 grow to five"),
        pytest.param(2, [500, 500, 0], id="two gateways of 500 grow to three"),
        pytest.param(3, [5000, 5000, 5000, 0], id="three gateways of 5,000 grow to four"),
    ],
)
def test_growth_is_spread_within_five_minutes_though_the_balancer_knows_no_loads(before: int, loads: list[int]) -> None:
    """Whoever goes comes back a second later, wherever the balancer's turn is; reports are three seconds old."""
    random = Random(7)
    mean = sum(loads) / len(loads)
    gateways = [Rebalance(DEFAULTS.rebalance_percent, DEFAULTS.rebalance_after_seconds) for _ in loads]
    returning: list[float] = []
    busiest = 0
    for tick in range(int(300 / TICK_S)):
        now = tick * TICK_S
        if tick % 12 == 0:
            for number, gateway in enumerate(gateways):
                gateway.observe({str(other): load for other, load in enumerate(loads) if other != number}, now)
        for number, gateway in enumerate(gateways):
            gone = gateway.due(loads[number], now)
            loads[number] -= gone
            returning += [now + random.uniform(0.5, 1.5)] * gone
        arrived = [at for at in returning if at <= now]
        returning = [at for at in returning if at > now]
        busiest = max(busiest, len(arrived))
        for _ in arrived:
            loads[random.randrange(len(loads))] += 1
    assert max(loads) <= 1.3 * mean
    assert before * mean * 0.01 > busiest * TICK_S, "no storm: under a hundredth of the clients comes in a second"


def report(instance: str, connections: int = 7, **more: Any) -> tuple[bytes, bytes]:
    fields = {
        "service": "gateway",
        "instance": instance,
        "version": "1",
        "at": NOW_MS,
        "started": NOW_MS,
        "ready": True,
        "ops_port": 1,
        "memory": 1,
        "cpu": 0.1,
        "figures": {metrics.CONNECTIONS.name: connections},
        **more,
    }
    return instance.encode(), encode_json(ServiceReport(**fields))


def test_only_gateways_that_can_take_clients_over_are_counted() -> None:
    raw = dict(
        [
            report("own"),
            report("good", 12),
            report("not-ready", ready=False),
            report("silent", at=NOW_MS - 10_001),
            report("ingest", service="price-ingest"),
            (b"broken", b"{"),
        ]
    )
    assert ready_others(raw, "own", NOW_MS) == {"good": 12}
