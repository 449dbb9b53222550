"""Where updates stop, judged from facts alone: each fault alone, then which of two counts."""

from dataclasses import replace
from typing import Any

import pytest

from services.gateway.debug.facts import Chart, ClientState, Here, Stored, Wanted
from services.gateway.debug.judgement import (
    PONG_LATE_S,
    Facts,
    Hop,
    Verdict,
    judge_charts,
    judge_client,
    judge_prices,
    judge_trades,
)

STORED = Stored(
    ingests=1,
    notifiers=1,
    unit=3,
    owner="price-ingest-1",
    epoch="e",
    seq=7,
    state="live",
    state_age_s=60.0,
    event_age_s=0.1,
    chart_rev=9,
    log_end="5-0",
)
HERE = Here(
    price_shard=2,
    subscribed=True,
    live=True,
    deaf_s=0.0,
    published_age_s=0.1,
    watched=True,
    epoch="e",
    seq=7,
    trade_log=1,
    log_position="5-0",
    last_trade="4-0",
    last_trade_age_s=1.0,
    trades_kept_s=240.0,
    charts_live=True,
)
CLIENT = ClientState(
    transport="websocket",
    age_s=100.0,
    authenticated=True,
    token_expires_in_s=600.0,
    restricted=False,
    delay_s=0,
    whole_market=False,
    subscriptions=3,
    pace_ms=0,
    behind_s=None,
    stalled_s=None,
    unsent_bytes=0,
    owed_prices=0,
    replaying=False,
    last_pong_s=20.0,
    ping_every_s=25.0,
)
WANTED = Wanted(
    granted=True,
    price="update",
    interval_ms=0,
    seq=7,
    trades=True,
    joined=True,
    trades_owed_from=None,
    trades_kept=True,
    charts=[Chart("1m", ready=True, rev=9)],
)
WELL = Facts("BTC-USDT", STORED, HERE, CLIENT, WANTED)


def facts(**changes: Any) -> Facts:
    """All is well but for these fields, each named once in all the facts."""
    parts: dict[str, Any] = {}
    for name, part in WELL._asdict().items():
        mine = {field: value for field, value in changes.items() if hasattr(part, field)}
        parts[name] = replace(part, **mine) if mine else part
    return Facts(**parts)


def test_where_all_is_well_nothing_stops() -> None:
    for judge in (judge_prices, judge_trades, judge_charts):
        assert judge(WELL) == Verdict(None, "nothing stops")


def test_without_a_client_the_path_ends_at_the_gateway() -> None:
    alone = WELL._replace(client=None, wanted=None)
    for judge in (judge_prices, judge_trades, judge_charts):
        assert judge(alone).stops_at is None


@pytest.mark.parametrize(
    ("changes", "hop", "says"),
    [
        ({"unavailable": "refused"}, Hop.REDIS, "refused"),
        ({"unit": None}, Hop.UPSTREAM, "ever accepted"),
        ({"unit": None, "ingests": 0}, Hop.PRICE_INGEST, "no price-ingest is running"),
        ({"owner": None, "ingests": 0}, Hop.PRICE_INGEST, "unit 3, which numbers BTC-USDT: none is running"),
        ({"owner": None}, Hop.PRICE_INGEST, "1 reported lately"),
        ({"state": "stale"}, Hop.UPSTREAM, "60.0 s"),
        ({"state": "halted"}, Hop.UPSTREAM, "halted"),
        ({"deaf_s": 1.5}, Hop.GATEWAY, "shard 2 is deaf: 1.5 s"),
        ({"live": False}, Hop.GATEWAY, "not confirmed"),
        ({"granted": False}, Hop.TOKEN, "does not grant BTC-USDT"),
        ({"price": None}, Hop.SUBSCRIPTION, "not subscribed"),
        ({"behind_s": 2.0, "unsent_bytes": 70_000}, Hop.CONNECTION, "behind for 2.0 s, 70,000 bytes unsent"),
        ({"behind_s": 2.0, "stalled_s": 1.0}, Hop.CONNECTION, "taken nothing for 1.0 s"),
        ({"last_pong_s": 25 + PONG_LATE_S + 1}, Hop.CONNECTION, "not answered a ping for 6.0 s"),
    ],
)
def test_prices_stop_where_something_is_wrong(changes: dict[str, Any], hop: Hop, says: str) -> None:
    verdict = judge_prices(facts(**changes))
    assert verdict.stops_at is hop
    assert says in verdict.because


@pytest.mark.parametrize("known", [None, 6])
def test_a_gateway_that_has_less_than_redis_is_where_prices_stop(known: int | None) -> None:
    behind = WELL._replace(here=replace(HERE, seq=known))
    assert judge_prices(behind) == Verdict(Hop.GATEWAY, f"it knows seq {known}, Redis has 7")
    newer = WELL._replace(here=replace(HERE, seq=8))
    assert judge_prices(newer).stops_at is None
    of_before = WELL._replace(here=replace(HERE, epoch="former", seq=99))
    assert judge_prices(of_before).stops_at is Hop.GATEWAY


def test_a_shard_that_nobody_here_wants_is_no_fault_of_the_gateway() -> None:
    here = replace(HERE, subscribed=False, live=False, watched=False, seq=None)
    assert judge_prices(WELL._replace(here=here, client=None, wanted=None)).stops_at is None
    wanted = replace(WANTED, price=None)
    assert judge_prices(WELL._replace(here=here, wanted=wanted)).stops_at is Hop.SUBSCRIPTION


def test_who_gets_the_whole_market_needs_no_subscription() -> None:
    assert judge_prices(facts(price=None, whole_market=True)).stops_at is None


def test_a_delay_is_no_stop_unless_nothing_is_that_old_yet() -> None:
    late = judge_prices(facts(delay_s=60))
    assert late == Verdict(None, "nothing stops; all of it comes 60 s late, as its token says")
    young = WELL._replace(client=replace(CLIENT, delay_s=60), wanted=replace(WANTED, seq=None))
    assert judge_prices(young).stops_at is Hop.TOKEN


@pytest.mark.parametrize(
    ("changes", "hop", "says"),
    [
        ({"unavailable": "refused"}, Hop.REDIS, "refused"),
        ({"notifiers": 0}, Hop.TRADE_NOTIFIER, "no trade-notifier"),
        ({"last_trade": None}, Hop.UPSTREAM, "the last 240.0 s"),
        ({"last_trade": None, "trades_kept_s": None}, Hop.UPSTREAM, "in its log"),
        ({"log_position": "4-9"}, Hop.GATEWAY, "log 1 up to 4-9, Redis has 5-0"),
        ({"log_position": "4-9", "last_trade": None}, Hop.GATEWAY, "Redis has 5-0"),
        ({"granted": False}, Hop.TOKEN, "does not grant"),
        ({"trades": False}, Hop.SUBSCRIPTION, "not subscribed trades"),
        ({"joined": False}, Hop.GATEWAY, "not in the room"),
        ({"joined": False, "replaying": True}, Hop.CONNECTION, "what it missed"),
        ({"behind_s": 1.0}, Hop.CONNECTION, "behind"),
        ({"behind_s": 1.0, "trades_kept": False}, Hop.CONNECTION, "further behind the log"),
        ({"ingests": 0, "owner": None, "unit": None, "seq": None}, None, "nothing stops"),
    ],
)
def test_trades_stop_where_something_is_wrong(changes: dict[str, Any], hop: Hop | None, says: str) -> None:
    changed = facts(**changes)
    if "seq" in changes:
        changed = changed._replace(here=HERE, wanted=WANTED)
    verdict = judge_trades(changed)
    assert verdict.stops_at is hop
    assert says in verdict.because


@pytest.mark.parametrize(
    ("changes", "hop", "says"),
    [
        ({"unavailable": "refused"}, Hop.REDIS, "refused"),
        ({"owner": None}, Hop.PRICE_INGEST, "lease of unit 3"),
        ({"chart_rev": None, "charts": []}, Hop.UPSTREAM, "nobody has traded it"),
        ({"granted": False}, Hop.TOKEN, "does not grant"),
        ({"charts": []}, Hop.SUBSCRIPTION, "not subscribed a chart"),
        ({"charts": [], "delay_s": 60}, Hop.TOKEN, "not given to a token with a delay"),
        ({"charts_live": False}, Hop.GATEWAY, "not confirmed"),
        ({"charts": [Chart("1m", ready=True, rev=9), Chart("1h", ready=False, rev=9)]}, Hop.GATEWAY, "reading 1h"),
        ({"charts": [Chart("1m", ready=True, rev=8)]}, Hop.GATEWAY, "rev 8, Redis has 9"),
        ({"behind_s": 1.0}, Hop.CONNECTION, "behind"),
    ],
)
def test_charts_stop_where_something_is_wrong(changes: dict[str, Any], hop: Hop, says: str) -> None:
    verdict = judge_charts(facts(**changes))
    assert verdict.stops_at is hop
    assert says in verdict.because


def test_the_hop_that_comes_first_is_the_answer() -> None:
    assert judge_prices(facts(owner=None, granted=False, behind_s=9.0)).stops_at is Hop.PRICE_INGEST
    assert judge_prices(facts(granted=False, price=None, behind_s=9.0)).stops_at is Hop.TOKEN


def test_a_client_alone_is_judged_by_its_connection() -> None:
    assert judge_client(CLIENT) == Verdict(None, "nothing stops")
    assert judge_client(replace(CLIENT, behind_s=3.0)).stops_at is Hop.CONNECTION
