"""`subscribe:chart` as a client meets it: one answer, then updates; to wait for Redis holds up and leaks nothing."""

from collections.abc import Mapping
from typing import Any

import pytest

from protocol.socketio.packets import Ack, Disconnect, Event, Packet, Value
from services.gateway.chart_requests import AT_ONCE, PATIENCE_S
from shared.messages import Candle
from shared.names.close_reasons import CLIENT_LEFT
from tests.support.fakes_gateway import GatewayParts, ParserName, Peer, make_candle

MINUTE = 60_000
CHART = ("BTC-USDT", "1m")


class Caller(Peer):
    """A peer whose answers may come later."""

    def __init__(self, gateway: GatewayParts, parser: ParserName = "json") -> None:
        super().__init__(gateway, parser)
        self.join()
        self._calls = 100

    def call(self, event: str, *args: Value) -> int:
        """Send an event that asks for an ack; its number."""
        self._calls += 1
        self.say(Event(event, args, ack_id=self._calls))
        return self._calls

    def heard(self) -> list[tuple[str, Any]]:
        """What came: acks as (`ack`, their object), events as (name, payload)."""
        return [_plain(packet) for packet in self.packets()]


def _plain(packet: Packet) -> tuple[str, Any]:
    if isinstance(packet, Ack):
        return "ack", packet.args[0]
    assert isinstance(packet, Event)
    return str(packet.name), packet.args[0]


def minute(number: int, rev: int, *, closed: bool = True) -> Candle:
    return make_candle(number * MINUTE, rev, closed=closed)


def known(parts: GatewayParts, *charts: tuple[str, str]) -> None:
    """Charts that the gateway has: one closed bar and a forming one."""
    for symbol, interval in charts:
        parts.chart_source.watch(symbol, interval)
        parts.load_chart(symbol, interval, minute(0, 1), minute(1, 2, closed=False))


@pytest.mark.parametrize("parser", ["json", "msgpack"])
def test_a_chart_that_is_known_is_answered_at_once_and_goes_on(parser: ParserName) -> None:
    parts = GatewayParts()
    known(parts, CHART)
    peer = Caller(parts, parser)
    answer = peer.ask("subscribe:chart", *CHART)
    assert [bar["rev"] for bar in answer["bars"]] == [1]
    assert (answer["ok"], answer["symbol"], answer["interval"]) == (True, *CHART)
    assert (answer["forming"]["rev"], answer["forming"]["closed"], answer["rev"]) == (2, False, 2)
    parts.publish_chart(*CHART, minute(1, 3))
    parts.loop.turn()
    ((name, update),) = peer.heard()
    assert (name, update["rev"], update["closed"]) == ("chart:update", 3, True)


def test_a_chart_that_is_not_known_is_answered_when_it_is_and_other_requests_do_not_wait() -> None:
    parts = GatewayParts()
    peer = Caller(parts)
    peer.call("subscribe:chart", *CHART)
    assert peer.heard() == []
    assert peer.ask("subscribe:trades", "ETH-USDT")["ok"] is True
    parts.load_chart(*CHART, minute(0, 1))
    parts.publish_chart(*CHART, minute(1, 2, closed=False))
    parts.loop.turn()
    (ack, answer), (name, update) = peer.heard()
    assert (ack, len(answer["bars"]), answer["forming"]) == ("ack", 1, None)
    assert (name, update["rev"]) == ("chart:update", 2)


def test_a_candle_that_began_after_the_forming_one_comes_right_behind_the_answer() -> None:
    parts = GatewayParts()
    peer = Caller(parts)
    peer.call("subscribe:chart", *CHART)
    parts.load_chart(*CHART, minute(0, 1), minute(1, 2, closed=False), minute(2, 3, closed=False))
    (ack, answer), (name, update) = peer.heard()
    assert (ack, answer["forming"]["start"]) == ("ack", MINUTE)
    assert (name, update["start"]) == ("chart:update", 2 * MINUTE)


@pytest.mark.parametrize(
    "args",
    [
        ("BTC-USDT", "1m", {"limit": 1, "since": 2 * MINUTE}),
        ({"symbol": "BTC-USDT", "interval": "1m", "limit": 1.0, "since": 2.0 * MINUTE},),
        ({"symbol": "BTC-USDT", "tf": "1m", "limit": 1, "since": 2 * MINUTE},),
    ],
)
def test_options_may_come_in_either_form(args: tuple[Value, ...]) -> None:
    parts = GatewayParts()
    parts.chart_source.watch(*CHART)
    parts.load_chart(*CHART, *(minute(number, number + 1) for number in range(4)))
    answer = Caller(parts).ask("subscribe:chart", *args)
    assert [bar["start"] // MINUTE for bar in answer["bars"]] == [3]
    assert answer["reset"] is True


ALLOWED = "one of 1s, 1m, 5m, 15m, 1h, 4h, 1d"
WRONG: list[tuple[tuple[Value, ...], Mapping[str, Value]]] = [
    ((), {"code": 201}),
    (("no symbol!", "1m"), {"code": 201}),
    ((["BTC-USDT"], "1m"), {"code": 201}),
    (("BTC-USDT",), {"code": 103, "field": "interval", "expected": ALLOWED}),
    (("BTC-USDT", "2m"), {"code": 103, "field": "interval", "expected": ALLOWED}),
    (("BTC-USDT", ["1m"]), {"code": 103, "field": "interval"}),
    (({"symbol": "BTC-USDT"},), {"code": 103, "field": "interval"}),
    (({"interval": "1m"},), {"code": 201}),
    (({"symbol": "BTC-USDT", "interval": "1m", "more": 1},), {"code": 103, "field": "more"}),
    ((*CHART, {"limit": 1001}), {"code": 103, "field": "limit", "expected": "an integer from 0 to 1000"}),
    ((*CHART, {"limit": -1}), {"code": 103, "field": "limit"}),
    ((*CHART, {"limit": 1.5}), {"code": 103, "field": "limit"}),
    ((*CHART, {"limit": True}), {"code": 103, "field": "limit"}),
    ((*CHART, {"since": "yesterday"}), {"code": 103, "field": "since"}),
    ((*CHART, {"since": 2**60}), {"code": 103, "field": "since"}),
    ((*CHART, {"more": 1}), {"code": 103, "field": "more"}),
    ((*CHART, 7), {"code": 103, "field": "opts"}),
]


@pytest.mark.parametrize(("args", "facts"), WRONG)
def test_a_wrong_request_is_told_what_is_wrong_and_subscribes_nothing(
    args: tuple[Value, ...], facts: Mapping[str, Value]
) -> None:
    parts = GatewayParts()
    answer = Caller(parts).ask("subscribe:chart", *args)
    assert answer["ok"] is False
    assert facts.items() <= answer["error"].items()
    assert len(parts.chart_source) == 0


def test_charts_count_as_subscriptions_once_each() -> None:
    parts = GatewayParts(max_subscriptions=2)
    known(parts, CHART, ("BTC-USDT", "5m"), ("BTC-USDT", "1h"))
    peer = Caller(parts)
    assert peer.ask("subscribe:chart", *CHART)["ok"] is True
    assert peer.ask("subscribe:chart", *CHART)["ok"] is True
    assert peer.ask("subscribe:chart", "BTC-USDT", "5m")["ok"] is True
    assert peer.ask("subscribe:chart", "BTC-USDT", "1h")["error"]["code"] == 202
    assert peer.ask("subscribe:trades", "BTC-USDT")["error"]["code"] == 202
    assert peer.ask("unsubscribe:chart", "BTC-USDT", "5m") == {"ok": True, "symbol": "BTC-USDT", "interval": "5m"}
    assert peer.ask("subscribe:chart", "BTC-USDT", "1h")["ok"] is True


def test_a_gateway_keeps_only_so_many_charts() -> None:
    parts = GatewayParts(max_charts=1)
    known(parts, CHART)
    peer = Caller(parts)
    assert peer.ask("subscribe:chart", *CHART)["ok"] is True
    error = peer.ask("subscribe:chart", "ETH-USDT", "1m")["error"]
    assert (error["code"], error["limit"]) == (302, 1)
    assert peer.ask("unsubscribe:chart", "ETH-USDT", "1m")["ok"] is True


def test_leaving_ends_the_updates_of_one_interval_or_of_all() -> None:
    parts = GatewayParts()
    charts = [("BTC-USDT", "1m"), ("BTC-USDT", "5m"), ("BTC-USDT", "1h"), ("ETH-USDT", "1m")]
    known(parts, *charts)
    peer = Caller(parts)
    for chart in charts:
        peer.ask("subscribe:chart", *chart)
    peer.ask("unsubscribe:chart", {"symbol": "BTC-USDT", "tf": "5m"})
    peer.ask("unsubscribe:chart", "BTC-USDT", "5m")
    assert peer.outbox.rooms == {"chart:BTC-USDT:1m", "chart:BTC-USDT:1h", "chart:ETH-USDT:1m"}
    assert peer.ask("unsubscribe:chart", "BTC-USDT") == {"ok": True, "symbol": "BTC-USDT"}
    assert peer.outbox.rooms == {"chart:ETH-USDT:1m"}
    assert peer.ask("unsubscribe:chart", "BTC-USDT", "2m")["error"]["field"] == "interval"
    assert [parts.chart_source.watchers[parts.chart_source.charts[chart]] for chart in charts] == [1, 1, 1, 2]


def test_who_waits_longer_than_three_seconds_is_told_and_not_subscribed() -> None:
    parts = GatewayParts()
    peer = Caller(parts)
    peer.call("subscribe:chart", *CHART)
    parts.charts.give_up(parts.loop.now + PATIENCE_S - 0.01)
    assert peer.heard() == []
    parts.charts.give_up(parts.loop.now + PATIENCE_S)
    parts.loop.turn()
    ((_, answer),) = peer.heard()
    assert (answer["ok"], answer["error"]["code"], answer["error"]["message"]) == (False, 301, "Chart unavailable")
    assert set(parts.chart_source.watchers.values()) == {0}
    parts.load_chart(*CHART, minute(0, 1))
    assert peer.heard() == []


def test_who_is_subscribed_stays_so_where_asking_again_fails() -> None:
    parts = GatewayParts()
    known(parts, CHART)
    peer = Caller(parts)
    peer.ask("subscribe:chart", *CHART)
    parts.chart_source.charts[CHART].reset()
    peer.call("subscribe:chart", *CHART)
    parts.charts.give_up(parts.loop.now + PATIENCE_S)
    parts.loop.turn()
    assert [answer["ok"] for _, answer in peer.heard()] == [False]
    assert peer.outbox.rooms == {"chart:BTC-USDT:1m"}


def test_who_leaves_while_it_waits_is_told_and_gets_nothing() -> None:
    parts = GatewayParts()
    peer = Caller(parts)
    peer.call("subscribe:chart", *CHART)
    peer.ask("unsubscribe:chart", *CHART)
    parts.load_chart(*CHART, minute(0, 1))
    ((_, answer),) = peer.heard()
    assert (answer["ok"], answer["error"]["code"]) == (False, 203)
    assert peer.outbox.rooms == set()


def test_who_asks_twice_while_it_waits_is_answered_twice_and_subscribed_once() -> None:
    parts = GatewayParts()
    peer = Caller(parts)
    for _ in range(2):
        peer.call("subscribe:chart", *CHART)
    parts.load_chart(*CHART, minute(0, 1))
    assert [answer["ok"] for _, answer in peer.heard()] == [True, True]
    assert set(parts.chart_source.watchers.values()) == {1}


@pytest.mark.parametrize("is_abrupt", [True, False])
def test_nothing_is_left_of_a_client_that_goes_while_it_waits(is_abrupt: bool) -> None:  # noqa: FBT001
    parts = GatewayParts()
    peer = Caller(parts)
    peer.call("subscribe:chart", *CHART)
    if is_abrupt:
        peer.connection.end(CLIENT_LEFT)
    else:
        peer.say(Disconnect())
        peer.join()
        peer.packets()
    parts.load_chart(*CHART, minute(0, 1))
    assert peer.packets() == []
    assert set(parts.chart_source.watchers.values()) == {0}
    assert (parts.charts._reading, parts.charts._blocked, len(parts.hub)) == ({}, {}, 0)


@pytest.mark.parametrize("parser", ["json", "msgpack"])
def test_who_asks_without_an_ack_gets_the_updates(parser: ParserName) -> None:
    parts = GatewayParts()
    known(parts, CHART)
    peer = Caller(parts, parser)
    assert peer.tell("subscribe:chart", *CHART) == []
    parts.publish_chart(*CHART, minute(1, 3))
    parts.loop.turn()
    assert [name for name, _ in peer.heard()] == ["chart:update"]
    ((name, error),) = peer.tell("subscribe:chart", "BTC-USDT", "2m")
    assert (name, error["event"], error["field"]) == ("error", "subscribe:chart", "interval")


def test_a_client_whose_socket_is_full_gets_its_answer_when_it_has_drained() -> None:
    parts = GatewayParts(max_queued_bytes=50)
    known(parts, CHART, ("ETH-USDT", "1m"))
    peer = Caller(parts)
    peer.stall()
    peer.call("subscribe:chart", *CHART)
    peer.call("subscribe:chart", "ETH-USDT", "1m")
    parts.publish_chart("ETH-USDT", "1m", minute(1, 3))
    assert [answer["symbol"] for _, answer in peer.heard()] == ["BTC-USDT"]
    peer.drain()
    ((_, answer),) = peer.heard()
    assert (answer["symbol"], [bar["rev"] for bar in answer["bars"]]) == ("ETH-USDT", [1, 3])
    assert parts.charts._blocked == {}


def test_a_client_that_goes_while_its_socket_is_full_leaves_nothing() -> None:
    parts = GatewayParts()
    known(parts, CHART, ("ETH-USDT", "1m"))
    peer = Caller(parts)
    peer.stall()
    peer.call("subscribe:chart", *CHART)
    peer.call("subscribe:chart", "ETH-USDT", "1m")
    assert parts.charts._blocked
    peer.connection.end(CLIENT_LEFT)
    assert (parts.charts._blocked, parts.chart_fanout._owed, len(parts.hub)) == ({}, {}, 0)


async def test_many_who_wait_for_one_chart_share_its_answer_and_are_served_in_turns() -> None:
    parts = GatewayParts()
    peers = [Caller(parts) for _ in range(AT_ONCE + 5)]
    for peer in peers:
        peer.call("subscribe:chart", *CHART)
    parts.load_chart(*CHART, minute(0, 1))
    assert [len(peer.heard()) for peer in peers] == [1] * AT_ONCE + [0] * 5
    parts.publish_chart(*CHART, minute(1, 2))
    series = parts.chart_source.charts[CHART]
    parts.charts.ready(series)
    parts.loop.turn()
    late = [peer.heard() for peer in peers[AT_ONCE:]]
    assert [[len(answer["bars"]) for _, answer in heard] for heard in late] == [[2]] * 5
