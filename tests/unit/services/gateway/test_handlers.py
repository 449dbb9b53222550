"""What each client event does, as a client of either parser sees it."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.socketio.packets import Connect, ConnectError, Disconnect, Event, Value
from services.gateway.handlers import OTHER_EVENT
from services.gateway.payloads import Payload
from shared.names import error_codes, events
from shared.names.close_reasons import BUFFER_FULL
from shared.names.events import ClientEvent
from tests.support.fakes_gateway import (
    NOW_MS,
    PARSERS,
    GatewayParts,
    ParserName,
    Peer,
    make_token,
    make_trade,
)

BOTH = pytest.mark.parametrize("parser", ["json", "msgpack"])


@pytest.fixture(name="parts")
def one_gateway() -> GatewayParts:
    return GatewayParts()


def joined(parts: GatewayParts, parser: ParserName = "json", **auth: Value) -> Peer:
    peer = Peer(parts, parser)
    peer.join(**auth)
    return peer


# --- CONNECT


@BOTH
def test_the_first_event_is_hello(parts: GatewayParts, parser: ParserName) -> None:
    connected, hello = Peer(parts, parser).join()
    assert isinstance(connected, Connect)
    assert connected.data is not None
    assert set(connected.data) == {"sid", "pid"}
    said: Payload = {"server_time": NOW_MS, "gateway": "gateway-1", "version": "1.2.3", "recovered": False}
    assert hello == Event("hello", (said,))


def test_the_client_s_sid_is_not_the_transport_s_secret(parts: GatewayParts) -> None:
    connected, _ = Peer(parts).join()
    assert isinstance(connected, Connect)
    assert connected.data is not None
    assert connected.data["sid"] != "secret-sid"


@BOTH
def test_a_good_token_authenticates_after_hello(parts: GatewayParts, parser: ParserName) -> None:
    peer = Peer(parts, parser)
    names = [packet.name for packet in peer.join(token=make_token("alice")) if isinstance(packet, Event)]
    assert names == ["hello", "authenticated"]
    assert peer.outbox.rooms == {"user:alice"}


@BOTH
@pytest.mark.parametrize(
    ("token", "reason"),
    [("nonsense", "malformed"), (5, "malformed"), ("", "malformed"), (make_token(lifetime_s=-60), "expired")],
)
def test_a_bad_token_is_refused_with_the_reason(
    parts: GatewayParts, parser: ParserName, token: Value, reason: str
) -> None:
    peer = Peer(parts, parser)
    (refused,) = peer.join(token=token)
    assert isinstance(refused, ConnectError)
    assert isinstance(refused.data, dict)
    assert refused.data["message"] == "Authentication failed"
    assert refused.data["data"]["reason"] == reason
    assert parts.handlers.errors[error_codes.AUTHENTICATION_FAILED] == 1
    assert peer.carrier.closed == []


def test_no_token_is_refused_where_one_is_required() -> None:
    (refused,) = Peer(GatewayParts(auth_mode="required")).join()
    assert isinstance(refused, ConnectError)
    assert isinstance(refused.data, dict)
    assert (refused.data["message"], refused.data["data"]["code"]) == ("Authentication required", 402)


def test_another_namespace_is_refused(parts: GatewayParts) -> None:
    peer = Peer(parts)
    peer.say(Connect("/other"))
    assert peer.packets() == [ConnectError({"message": "Invalid namespace"}, "/other")]


def test_everyone_gets_the_market_s_batch_from_hello_on() -> None:
    parts = GatewayParts("everyone")
    peer = joined(parts)
    parts.publish("A", 1)
    parts.windows.tick()
    parts.loop.turn()
    assert [name for name, *_ in peer.events()] == ["price:batch"]


# --- authenticate


@BOTH
def test_authenticate_answers_joins_and_says_so(parts: GatewayParts, parser: ParserName) -> None:
    peer = joined(parts, parser)
    answer = peer.ask("authenticate", make_token("alice"))
    assert answer == {"ok": True, "sub": "alice", "role": None, "exp": NOW_MS // 1000 + 3600}
    assert peer.events() == [("authenticated", {"sub": "alice", "role": None, "exp": NOW_MS // 1000 + 3600})]
    assert peer.outbox.rooms == {"user:alice"}


def test_an_admin_is_in_the_admin_room_at_once(parts: GatewayParts) -> None:
    peer = joined(parts, token=make_token("root", role="admin"))
    assert peer.outbox.rooms == {"user:root", "admin"}


def test_another_identity_leaves_the_rooms_of_the_one_before(parts: GatewayParts) -> None:
    peer = joined(parts, token=make_token("root", role="admin"))
    peer.ask("authenticate", make_token("alice"))
    assert peer.outbox.rooms == {"user:alice"}


@pytest.mark.parametrize("token", [None, 5, "nonsense", ["x"], {"token": "x"}, b"x"])
def test_a_wrong_token_changes_nothing(parts: GatewayParts, token: Value) -> None:
    peer = joined(parts, token=make_token("alice"))
    answer = peer.ask("authenticate", token)
    assert (answer["ok"], answer["error"]["message"]) in {(False, "Authentication failed"), (False, "Bad argument")}
    assert peer.outbox.rooms == {"user:alice"}


# --- prices


@BOTH
def test_subscribe_answers_then_sends_the_current_price_then_updates(parts: GatewayParts, parser: ParserName) -> None:
    parts.publish("BTC-USDT", 7, "64000.10")
    peer = joined(parts, parser)
    peer.say(Event("subscribe:price", ("BTC-USDT",), ack_id=0))
    ack, snapshot = peer.packets()
    assert getattr(ack, "args", None) == ({"ok": True, "symbol": "BTC-USDT", "interval_ms": 0},)
    assert isinstance(snapshot, Event)
    parts.publish("BTC-USDT", 9, "64000.20")
    parts.loop.turn()
    payloads = [snapshot.args[0], *(payload for _, payload in peer.events())]
    assert [(p["price"], p["seq"], p["n"], p.get("snap")) for p in payloads if isinstance(p, dict)] == [
        (64000.1, 7, 0, 1),
        (64000.2, 9, 2, None),
    ]


def test_each_symbol_of_an_array_gets_its_verdict(parts: GatewayParts) -> None:
    peer = joined(parts)
    answer = peer.ask("subscribe:price", ["A", "b b", 5])
    assert answer["ok"]
    assert answer["results"] == [
        {"symbol": "A", "ok": True, "interval_ms": 0},
        {"symbol": "b b", "ok": False, "error": {"code": 201, "message": "Invalid symbol"}},
        {"symbol": None, "ok": False, "error": {"code": 201, "message": "Invalid symbol"}},
    ]
    assert peer.outbox.rooms == {"price:A"}


def test_one_symbol_named_twice_is_subscribed_and_sent_once(parts: GatewayParts) -> None:
    parts.publish("A", 1)
    peer = joined(parts)
    answer = peer.ask("subscribe:price", ["A", "A"])
    assert [result["ok"] for result in answer["results"]] == [True, True]
    assert len(peer.events()) == 1


def test_a_symbol_whose_price_is_not_here_yet_is_pending(parts: GatewayParts) -> None:
    parts.feed.live = False
    peer = joined(parts)
    assert peer.ask("subscribe:price", "A") == {"ok": True, "symbol": "A", "interval_ms": 0, "pending": True}


@pytest.mark.parametrize(
    ("options", "interval_ms", "name"),
    [
        ({}, 0, "price:update"),
        ({"deliver": "update"}, 0, "price:update"),
        ({"deliver": "batch"}, 100, "price:batch"),
        ({"max_hz": 5}, 200, "price:update"),
        ({"deliver": "batch", "max_hz": 2}, 500, "price:batch"),
        ({"deliver": "batch", "max_hz": 0.001}, 10_000, "price:batch"),
    ],
)
def test_the_options_choose_the_delivery(
    parts: GatewayParts, options: dict[str, Value], interval_ms: int, name: str
) -> None:
    parts.publish("A", 1)
    peer = joined(parts)
    assert peer.ask("subscribe:price", "A", options)["interval_ms"] == interval_ms
    assert [args[0] for args in peer.events()] == [name]
    parts.publish("A", 2)
    for _ in range(interval_ms // 100):
        assert peer.events() == []
        parts.windows.tick()
    parts.loop.turn()
    assert [args[0] for args in peer.events()] == [name]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ("batch", "opts"),
        ({"deliver": "often"}, "deliver"),
        ({"deliver": ["batch"]}, "deliver"),
        ({"max_hz": 0}, "max_hz"),
        ({"max_hz": -1}, "max_hz"),
        ({"max_hz": True}, "max_hz"),
        ({"max_hz": "5"}, "max_hz"),
        ({"often": 1}, "often"),
    ],
)
def test_wrong_options_are_named_and_subscribe_nothing(parts: GatewayParts, options: Value, field: str) -> None:
    peer = joined(parts)
    answer = peer.ask("subscribe:price", "A", options)
    assert (answer["ok"], answer["error"]["code"], answer["error"]["field"]) == (False, 103, field)
    assert peer.outbox.rooms == set()


def test_unsubscribed_is_silent_and_twice_is_harmless(parts: GatewayParts) -> None:
    peer = joined(parts)
    peer.ask("subscribe:price", ["A", "B"])
    for _ in range(2):
        assert peer.ask("unsubscribe:price", "A") == {"ok": True, "symbol": "A"}
    parts.publish("A", 1)
    parts.publish("B", 1)
    parts.loop.turn()
    assert [payload["symbol"] for _, payload in peer.events()] == ["B"]


@pytest.mark.parametrize(("options", "name"), [({}, "price:update"), ({"deliver": "batch"}, "price:batch")])
def test_resync_sends_the_current_price_again(parts: GatewayParts, options: dict[str, Value], name: str) -> None:
    parts.publish("A", 4)
    peer = joined(parts)
    peer.ask("subscribe:price", "A", options)
    peer.events()
    assert peer.ask("resync:price", "A") == {"ok": True, "symbol": "A"}
    ((found, *args),) = peer.events()
    assert (found, args[-1]["snap"]) == (name, 1)


def test_resync_of_what_was_not_subscribed_is_refused(parts: GatewayParts) -> None:
    answer = joined(parts).ask("resync:price", "A")
    assert (answer["ok"], answer["error"]["code"], answer["error"]["symbol"]) == (False, 203, "A")


# --- trades, metrics


@BOTH
def test_trades_reach_who_subscribed_and_only_as_long(parts: GatewayParts, parser: ParserName) -> None:
    peer = joined(parts, parser)
    assert peer.ask("subscribe:trades", "BTC-USDT") == {"ok": True, "symbol": "BTC-USDT"}
    parts.trade("BTC-USDT", make_trade(1))
    parts.loop.turn()
    assert [(name, payload["id"]) for name, payload in peer.events()] == [("trade:new", "1")]
    assert peer.ask("unsubscribe:trades", ["BTC-USDT"])["results"] == [{"symbol": "BTC-USDT", "ok": True}]
    parts.trade("BTC-USDT", make_trade(2))
    parts.loop.turn()
    assert peer.events() == []


def test_notifications_come_with_the_identity_alone(parts: GatewayParts) -> None:
    alice, bob = joined(parts, token=make_token("alice")), joined(parts, token=make_token("bob"))
    parts.notification("alice", make_trade(1))
    parts.loop.turn()
    assert [name for name, _ in alice.events()] == ["trade:notification"]
    assert bob.events() == []


@BOTH
def test_metrics_are_for_admins(parts: GatewayParts, parser: ParserName) -> None:
    stranger = joined(parts, parser, token=make_token("alice"))
    answer = stranger.ask("subscribe:metrics")
    assert (answer["ok"], answer["error"]["code"]) == (False, 105)
    admin = joined(parts, parser, token=make_token("root", role="admin"))
    assert admin.ask("unsubscribe:metrics") == {"ok": True}
    assert admin.ask("subscribe:metrics") == {"ok": True}
    parts.fanout.metrics({"connections": 2})
    parts.loop.turn()
    assert admin.events() == [("metrics", {"connections": 2})]
    assert stranger.events() == []


# --- errors and limits


@pytest.mark.parametrize("name", ["nonsense", "subscribe", "SUBSCRIBE:PRICE", 5, "", "x" * 500])
def test_an_unknown_event_is_answered_by_its_name(parts: GatewayParts, name: Any) -> None:
    peer = joined(parts)
    answer = peer.ask(name)
    assert (answer["error"]["code"], answer["error"]["event"]) == (102, str(name)[:64])
    assert parts.handlers.received[OTHER_EVENT] == 1


def test_without_an_ack_an_error_event_names_the_event(parts: GatewayParts) -> None:
    peer = joined(parts)
    ((name, payload),) = peer.tell("subscribe:price", 5)
    assert (name, payload["code"], payload["event"]) == ("error", 103, "subscribe:price")
    assert [payload["symbol"] for _, payload in peer.tell("subscribe:price", ["A", "b b"])] == ["b b"]


def test_too_many_of_an_event_are_told_when_to_come_back() -> None:
    parts = GatewayParts(rates={"authenticate": 1})
    peer = joined(parts)
    answers = [peer.ask("authenticate", make_token()) for _ in range(11)]
    assert [answer["ok"] for answer in answers] == [True] * 10 + [False]
    error = answers[-1]["error"]
    assert (error["message"], error["event"]) == ("Rate limit exceeded", "authenticate")
    parts.loop.now += error["retry_after_ms"] / 1000
    assert peer.ask("authenticate", make_token())["ok"]
    assert peer.ask("subscribe:price", "A")["ok"]


def test_a_flood_is_not_answered_by_a_flood() -> None:
    parts = GatewayParts(rate=5)
    peer = joined(parts)
    errors = [event for number in range(100) for event in peer.tell(f"nonsense-{number}")]
    codes = Counter(payload["code"] for _, payload in errors)
    assert codes == {102: 5, 101: 5}, "each error has a budget of its own, so that the limit itself is told"
    assert sum(parts.handlers.errors.values()) == 100
    assert parts.handlers.received[OTHER_EVENT] == 100


def test_subscriptions_are_bounded_over_prices_and_trades() -> None:
    parts = GatewayParts(max_subscriptions=3)
    peer = joined(parts)
    assert peer.ask("subscribe:price", ["A", "B"])["ok"]
    assert peer.ask("subscribe:trades", "A")["ok"]
    assert peer.ask("subscribe:trades", "B")["error"]["code"] == 202
    assert peer.ask("subscribe:price", "C")["error"] == {
        "code": 202,
        "message": "Subscription limit reached",
        "limit": 3,
    }
    assert peer.ask("subscribe:price", "A", {"deliver": "batch"})["ok"], "a subscription may still be changed"
    peer.ask("unsubscribe:price", "B")
    assert peer.ask("subscribe:price", "C")["ok"]


# --- leaving


@BOTH
def test_a_client_that_leaves_leaves_nothing_behind(parts: GatewayParts, parser: ParserName) -> None:
    peer = joined(parts, parser, token=make_token("root", role="admin"))
    peer.ask("subscribe:price", ["A", "B"], {"deliver": "batch"})
    peer.ask("subscribe:trades", "A")
    peer.say(Disconnect())
    assert len(parts.hub) == 0
    assert parts.market._watchers == {}
    assert peer.carrier.closed == []
    assert [type(packet) for packet in peer.join()] == [Connect, Event], "it may come back on the same connection"


def test_who_is_ended_while_it_is_answered_is_in_no_room_afterwards() -> None:
    parts = GatewayParts(max_queued_bytes=10)
    peer = joined(parts)
    peer.stall()
    peer.tell("subscribe:trades", "A")
    assert parts.endings == []
    for event, argument in (("subscribe:price", "A"), ("authenticate", make_token("alice"))):
        peer.say(Event(event, (argument,), ack_id=1))
    assert parts.endings == [BUFFER_FULL]
    assert len(parts.hub) == 0
    assert not peer.outbox.behind
    assert parts.market._watchers == {}


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False))
    | st.text(max_size=5)
    | st.sampled_from(["A", "BTC-USDT", "batch", "update"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["deliver", "max_hz", "token", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.one_of(st.sampled_from([event.value for event in ClientEvent]), st.text(min_size=1, max_size=8))


@BOTH
@given(said=st.lists(st.tuples(NAMES, st.lists(VALUES, max_size=3), st.booleans()), max_size=6))
@settings(max_examples=150, deadline=None)
def test_whatever_a_client_says_it_is_answered_once_and_stays(
    parser: ParserName, said: list[tuple[str, list[Value], bool]]
) -> None:
    parts = GatewayParts()
    peer = joined(parts, parser)
    for name, args, wants_ack in said:
        if name in {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}:
            continue
        if wants_ack:
            assert peer.ask(name, *args)["ok"] in {True, False}
        else:
            assert {event[0] for event in peer.tell(name, *args)} <= {"error", "authenticated"}
    assert peer.carrier.closed == []
    assert {room.split(":")[0] for room in peer.outbox.rooms} <= {"price", "trades"}
    assert events.ADMIN_ROOM not in peer.outbox.rooms
    assert PARSERS[peer.parser].name == parser
