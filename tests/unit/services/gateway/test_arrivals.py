"""What a client sees when it comes in or back, and what is kept of it so that it can."""

from dataclasses import replace
from typing import Any

import pytest

from protocol.socketio.packets import Connect, Disconnect, Event
from services.gateway.cursor import Cursor, id_of, position_of
from services.gateway.member import Member
from services.gateway.recovery import Claim, Gap, GapReason, Missed, Restored
from shared.messages import VERSION, SavedSession
from shared.names import error_codes, events
from shared.names.close_reasons import PEER_GONE
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import (
    NOW_MS,
    GatewayParts,
    ParserName,
    Peer,
    make_candle,
    make_token,
    make_trade,
)

BOTH = pytest.mark.parametrize("parser", ["json", "msgpack"])
SYMBOL = "BTC-USDT"


@pytest.fixture(name="parts")
def one_gateway() -> GatewayParts:
    return GatewayParts()


def saved(**more: Any) -> SavedSession:
    return SavedSession(VERSION, "the former sid", **more)


def restored(parts: GatewayParts, record: SavedSession) -> Restored:
    missed = Missed(Cursor(parts.log_feed.positions))
    for symbol, joined in record.trades.items():
        missed.want(events.trades_room(symbol), parts.log_feed.trades_log(symbol), position_of(joined))
    return Restored(record, "owner-2", NOW_MS - 5_000, b"", parts.log_feed.cursor, missed)


def join(peer: Peer, **auth: Any) -> list[Any]:
    """What a client gets when it comes in."""
    return list(peer.join(**auth))


def come_back(parts: GatewayParts, parser: ParserName = "json", **auth: Any) -> Peer:
    peer = Peer(parts, parser)
    assert peer.join(**({"pid": "its pid", "offset": "its cursor"} | auth)) == []
    return peer


def outcome(parts: GatewayParts, peer: Peer, what: Restored | Gap) -> list[Any]:
    _, enter, join = parts.recovery.begun[-1]
    enter(what)
    if isinstance(what, Restored):
        join(what.missed)
    parts.loop.turn()
    return peer.packets()


@BOTH
def test_who_comes_for_the_first_time_gets_a_pid_and_the_cursor_of_now(parts: GatewayParts, parser: ParserName) -> None:
    parts.trade(SYMBOL, make_trade(1))
    peer = Peer(parts, parser)
    connected, hello = join(peer)
    assert connected.data["pid"] not in connected.data["sid"]
    assert hello.args[0]["recovered"] is False
    assert "gap" not in hello.args[0]
    assert peer.cursors == [parts.log_feed.cursor]
    assert parts.sessions.saved[connected.data["pid"]].sid == connected.data["sid"]


@pytest.mark.parametrize(("auth", "is_from_python"), [({"recover": False}, False), ({}, True)])
@pytest.mark.parametrize("brings", [{}, {"pid": "its pid", "offset": "its cursor"}])
def test_who_cannot_or_will_not_recover_gets_neither_pid_nor_cursor(
    parts: GatewayParts,
    auth: dict[str, Any],
    is_from_python: bool,  # noqa: FBT001
    brings: dict[str, str],
) -> None:
    peer = Peer(parts, is_from_python=is_from_python)
    connected, *_ = join(peer, **auth, **brings)
    peer.ask("subscribe:trades", SYMBOL)
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    assert [name for name, _ in peer.events()] == ["trade:new"]
    assert isinstance(connected, Connect)
    assert set(connected.data or {}) == {"sid"}
    assert (peer.cursors, parts.recovery.begun, parts.sessions.saved) == ([], [], {})


@pytest.mark.parametrize("brings", [{"offset": "x"}, {"pid": 5, "offset": "x"}, {"pid": None}, {"recover": "no"}])
def test_who_brings_no_pid_is_new(parts: GatewayParts, brings: dict[str, Any]) -> None:
    connected, hello = join(Peer(parts), **brings)
    assert set(connected.data) == {"sid", "pid"}
    assert "gap" not in hello.args[0]
    assert parts.recovery.begun == []


@pytest.mark.parametrize(("offset", "claimed"), [("its cursor", "its cursor"), (None, None), (7, None)])
def test_what_a_client_brings_is_claimed_for_the_user_of_its_token(
    parts: GatewayParts, offset: Any, claimed: str | None
) -> None:
    peer = come_back(parts, offset=offset, token=make_token("alice"))
    ((claim, _, _),) = parts.recovery.begun
    assert claim == Claim(peer.outbox, claim.is_open, "its pid", claimed, claim.identity)
    assert claim.user == "alice"
    assert claim.is_open()
    peer.connection.carrier_lost(PEER_GONE)
    assert not claim.is_open()


def test_a_bad_token_is_refused_before_anything_is_claimed(parts: GatewayParts) -> None:
    join(Peer(parts), pid="its pid", offset="its cursor", token="nonsense")
    assert parts.recovery.begun == []


@BOTH
def test_who_is_restored_keeps_its_sid_and_pid_and_is_where_it_was(parts: GatewayParts, parser: ParserName) -> None:
    peer = come_back(parts, parser, token=make_token("root", role="admin"))
    parts.publish("A", 4)
    record = saved(
        user="root",
        user_since="3-0",
        prices={"A": (False, 0), "B": (True, 500)},
        trades={SYMBOL: "5-1"},
        metrics=True,
    )
    frames = parts.encoder.log_event(ServerEvent.TRADE_NEW, ({"id": "7"}, "a cursor")).frame(peer.parser)
    what = replace(restored(parts, record), frames=frames)
    missed, connected, hello, authenticated, price = outcome(parts, peer, what)
    assert missed == Event("trade:new", ({"id": "7"},))
    assert connected == Connect(data={"sid": "the former sid", "pid": "its pid"})
    assert (hello.name, hello.args[0]["recovered"]) == ("hello", True)
    assert "gap" not in hello.args[0]
    assert (authenticated.name, price.name, price.args[0]["seq"]) == ("authenticated", "price:update", 4)
    assert peer.cursors == ["a cursor", what.cursor]
    assert {events.trades_room(SYMBOL), "user:root", events.ADMIN_ROOM, "price:A"} <= peer.outbox.rooms
    assert parts.sessions.saved["its pid"] == record, "and nothing else has been forgotten"


def test_a_restored_client_gets_the_bars_since_it_was_here(parts: GatewayParts) -> None:
    peer = come_back(parts)
    outcome(parts, peer, restored(parts, saved(charts=[(SYMBOL, "1m")])))
    minute = NOW_MS - NOW_MS % 60_000
    old = [make_candle(minute - number * 60_000, 1) for number in range(9, 0, -1)]
    parts.load_chart(SYMBOL, "1m", *old, make_candle(minute, 1, closed=False))
    found = peer.events()
    assert found
    assert {name for name, _ in found} == {"chart:update"}
    parts.publish_chart(SYMBOL, "1m", make_candle(minute, 2, closed=False))
    parts.loop.turn()
    assert len(peer.events()) == 1
    assert parts.sessions.saved["its pid"].charts == [(SYMBOL, "1m")]


def test_who_is_still_given_what_it_missed_gets_nothing_newer_before_that(parts: GatewayParts) -> None:
    peer = come_back(parts)
    what = restored(parts, saved(trades={SYMBOL: "0-0", "GONE": "0-0"}))
    _, enter, join = parts.recovery.begun[-1]
    enter(what)
    parts.loop.turn()
    assert peer.ask("subscribe:trades", "NEW")["ok"]
    assert peer.ask("unsubscribe:trades", "GONE")["ok"]
    peer.packets()
    for symbol in (SYMBOL, "NEW", "GONE"):
        parts.trade(symbol, make_trade(1, symbol))
    parts.loop.turn()
    assert peer.packets() == []
    assert set(what.missed.behind) == {events.trades_room(SYMBOL), events.trades_room("NEW")}
    join(what.missed)
    for symbol in (SYMBOL, "NEW", "GONE"):
        parts.trade(symbol, make_trade(2, symbol))
    parts.loop.turn()
    assert [args[0]["symbol"] for _, *args in peer.events()] == [SYMBOL, "NEW"]


@BOTH
@pytest.mark.parametrize("reason", list(GapReason))
def test_who_cannot_be_restored_is_new_and_told_what_it_missed(
    parts: GatewayParts, parser: ParserName, reason: GapReason
) -> None:
    peer = come_back(parts, parser)
    connected, hello = outcome(parts, peer, Gap(reason, NOW_MS - 7_000))
    assert connected.data["pid"] != "its pid"
    assert connected.data["sid"] != "the former sid"
    assert hello.args[0]["recovered"] is False
    assert hello.args[0]["gap"] == {"reason": reason.value, "from": NOW_MS - 7_000, "to": NOW_MS}
    assert peer.outbox.rooms == set()
    assert peer.cursors == [parts.log_feed.cursor]


def test_who_could_not_be_restored_still_speaks_for_its_user(parts: GatewayParts) -> None:
    peer = come_back(parts, token=make_token("alice"))
    _, _, authenticated = outcome(parts, peer, Gap(GapReason.EXPIRED))
    assert authenticated.name == "authenticated"
    assert peer.outbox.rooms == {"user:alice"}


# --- what is kept


def pid_of(peer: Peer, **auth: Any) -> str:
    connected, *_ = join(peer, **auth)
    assert isinstance(connected, Connect)
    return str((connected.data or {})["pid"])


def test_each_change_is_saved_before_the_client_hears_of_it(parts: GatewayParts) -> None:
    peer = Peer(parts)
    pid = pid_of(peer)
    for event, args in (
        ("subscribe:trades", ["A"]),
        ("subscribe:price", ["A", {"deliver": "batch"}]),
        ("authenticate", [make_token("alice")]),
    ):
        before = len(parts.sessions.held)
        assert peer.ask(event, *args)["ok"]
        assert len(parts.sessions.held) == before + 1
    record = parts.sessions.saved[pid]
    assert (list(record.trades), record.prices, record.user) == (["A"], {"A": (True, 100)}, "alice")


def test_what_changes_nothing_is_not_held(parts: GatewayParts) -> None:
    peer = Peer(parts)
    join(peer)
    peer.ask("subscribe:price", "A")
    parts.sessions.held.clear()
    peer.ask("resync:price", "A")
    assert parts.sessions.held == []


def test_trades_and_notifications_begin_where_they_were_asked_for(parts: GatewayParts) -> None:
    peer = Peer(parts)
    pid = pid_of(peer)
    parts.trade(SYMBOL, make_trade(1))
    parts.notification("alice", make_trade(2))
    positions = list(parts.log_feed.positions)
    peer.ask("subscribe:trades", SYMBOL)
    peer.ask("authenticate", make_token("alice"))
    parts.trade(SYMBOL, make_trade(3))
    parts.notification("alice", make_trade(4))
    peer.ask("subscribe:trades", SYMBOL)
    peer.ask("authenticate", make_token("alice"))
    record = parts.sessions.saved[pid]
    assert record.trades == {SYMBOL: id_of(positions[parts.log_feed.trades_log(SYMBOL)])}
    assert record.user_since == id_of(positions[parts.log_feed.user_log("alice")])


def test_another_user_on_the_same_connection_gets_nothing_of_before(parts: GatewayParts) -> None:
    peer = Peer(parts)
    pid = pid_of(peer, token=make_token("alice"))
    parts.notification("bob", make_trade(1))
    peer.ask("authenticate", make_token("bob"))
    record = parts.sessions.saved[pid]
    assert (record.user, record.user_since) == ("bob", id_of(parts.log_feed.positions[parts.log_feed.user_log("bob")]))


@pytest.mark.parametrize("for_good", [True, False])
def test_a_client_that_leaves_by_itself_is_not_waited_for(parts: GatewayParts, for_good: bool) -> None:  # noqa: FBT001
    peer = Peer(parts)
    join(peer)
    if for_good:
        peer.say(Disconnect())
    else:
        peer.connection.carrier_lost(PEER_GONE)
    ((session, left),) = parts.sessions.ended
    assert (session.outbox, left) == (peer.outbox, for_good)


def test_a_drained_socket_is_told_to_the_recovery_that_waits_for_it(parts: GatewayParts) -> None:
    peer = come_back(parts)
    peer.stall()
    peer.outbox.send(b"\x81\x02xx")
    parts.loop.turn()
    peer.drain()
    assert parts.recovery.outboxes_drained == [peer.outbox]


def test_who_leaves_while_it_is_given_what_it_missed_is_given_no_more(parts: GatewayParts) -> None:
    peer = come_back(parts, token=make_token("alice"))
    what = restored(parts, saved(user="alice", trades={SYMBOL: "0-0"}))
    _, enter, join = parts.recovery.begun[-1]
    enter(what)
    parts.loop.turn()
    peer.say(Disconnect())
    assert what.missed.abandoned
    join(what.missed)
    assert len(parts.hub) == 0


def test_notifications_still_missing_are_not_passed_over_when_the_user_is_known_again(parts: GatewayParts) -> None:
    come_back(parts, token=make_token("alice"))
    what = restored(parts, saved(user="alice"))
    room = events.user_room("alice")
    what.missed.want(room, parts.log_feed.user_log("alice"), 5)
    for number in range(3):
        parts.notification("alice", make_trade(number))
    parts.recovery.begun[-1][1](what)
    assert what.missed.behind[room] == 5


# Clients whose token delays what they get

DELAYED = make_token("dora", delay_s=60)


@pytest.mark.threat("T25")
def test_a_delayed_client_is_not_recovered_not_even_a_live_session(parts: GatewayParts) -> None:
    peer = Peer(parts)
    connected, hello, _ = join(peer, token=DELAYED, pid="its pid", offset="its cursor")
    assert "pid" not in connected.data
    assert hello.args[0]["recovered"] is False
    assert not peer.cursors
    assert not parts.recovery.begun


@pytest.mark.threat("T25")
def test_who_becomes_delayed_leaves_all_that_is_live_and_loses_its_session_and_charts() -> None:
    parts = GatewayParts("everyone")
    peer = Peer(parts)
    connected, _ = join(peer)
    for event in ("subscribe:price", "subscribe:trades"):
        assert peer.ask(event, SYMBOL)["ok"]
    peer.tell("subscribe:chart", SYMBOL, "1s")
    parts.load_chart(SYMBOL, "1s", make_candle(0, 1))
    peer.packets()
    assert peer.ask("authenticate", DELAYED)["ok"]
    assert [name for name, *_ in peer.events()] == [ServerEvent.ERROR, ServerEvent.AUTHENTICATED]
    assert parts.sessions.ended[0][0].pid == connected.data["pid"]
    assert parts.sessions.ended[0][1]
    assert peer.outbox.rooms == {events.user_room("dora"), events.delayed_trades_room(60, SYMBOL)}
    assert peer.outbox not in parts.windows.everyone
    parts.publish(SYMBOL, 1)
    parts.trade(SYMBOL, make_trade(1))
    parts.publish_chart(SYMBOL, "1s", make_candle(0, 2))
    parts.windows.tick()
    parts.loop.turn()
    assert peer.ask("resync:price", SYMBOL)["ok"]
    assert peer.ask("subscribe:chart", SYMBOL, "1s")["error"]["code"] == error_codes.NOT_WHILE_DELAYED.code
    assert peer.events() == []


def test_what_is_its_own_comes_at_once_and_without_a_cursor(parts: GatewayParts) -> None:
    peer = Peer(parts)
    peer.join()
    peer.ask("authenticate", DELAYED)
    peer.events()
    peer.cursors.clear()
    parts.notification("dora", make_trade(1))
    parts.loop.turn()
    assert [name for name, *_ in peer.events()] == [ServerEvent.TRADE_NOTIFICATION]
    assert not peer.cursors


@pytest.mark.threat("T25")
def test_who_becomes_delayed_while_it_is_given_what_it_missed_gets_no_more_of_that(parts: GatewayParts) -> None:
    peer = come_back(parts)
    what = restored(parts, saved(trades={SYMBOL: "0-0"}))
    _, enter, join_log = parts.recovery.begun[-1]
    enter(what)
    parts.loop.turn()
    peer.ask("authenticate", DELAYED)
    assert events.trades_room(SYMBOL) not in what.missed.behind
    join_log(what.missed)
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    assert ServerEvent.TRADE_NEW not in [name for name, *_ in peer.events()]


@pytest.mark.threat("T25")
def test_who_owes_live_trades_when_it_becomes_delayed_gets_those_later(parts: GatewayParts) -> None:
    peer = Peer(parts)
    peer.join()
    peer.ask("subscribe:trades", SYMBOL)
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    peer.outbox.fall_behind()
    owed = parts.log_feed.positions[parts.log_feed.trades_log(SYMBOL)]
    parts.trade(SYMBOL, make_trade(2))
    member = peer.client.member
    assert isinstance(member, Member)
    parts.arrivals._keep_back(member, 60)
    assert member.subscriptions.trades()[SYMBOL] == owed
    peer.drain()
    assert [event[1]["id"] for event in peer.events() if event[0] == ServerEvent.TRADE_NEW] == ["1"]


def test_who_becomes_live_gets_the_present_of_all_that_it_subscribed(parts: GatewayParts) -> None:
    peer = Peer(parts)
    peer.join(token=DELAYED)
    for event in ("subscribe:price", "subscribe:trades"):
        peer.ask(event, SYMBOL)
    parts.publish(SYMBOL, 1)
    peer.events()
    assert peer.ask("authenticate", make_token("dora"))["ok"]
    assert [name for name, *_ in peer.events()] == [ServerEvent.PRICE_UPDATE, ServerEvent.AUTHENTICATED]
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    assert [name for name, *_ in peer.events()] == [ServerEvent.TRADE_NEW]


def test_a_token_with_too_long_a_delay_is_refused(parts: GatewayParts) -> None:
    (refused,) = join(Peer(parts), token=make_token("dora", delay_s=901))
    assert refused.data["data"]["reason"] == "bad_claim"


def test_a_client_that_leaves_delayed_data_behind_leaves_nothing(parts: GatewayParts) -> None:
    peer = Peer(parts)
    peer.join(token=DELAYED)
    for event in ("subscribe:price", "subscribe:trades"):
        peer.ask(event, [SYMBOL, "ETH-USDT"])
    peer.connection.end(PEER_GONE)
    assert parts.delayed_prices.clients == 0
    assert len(parts.hub) == 0


@pytest.mark.threat("T25")
def test_who_joins_while_it_is_behind_gets_nothing_from_before(parts: GatewayParts) -> None:
    peer = Peer(parts)
    peer.join()
    peer.ask("subscribe:trades", "OLD")
    peer.stall()
    peer.outbox.fall_behind()
    parts.trade("OLD", make_trade(1, "OLD"))
    parts.trade(SYMBOL, make_trade(2))
    parts.notification("alice", make_trade(3))
    peer.tell("subscribe:trades", SYMBOL)
    peer.tell("authenticate", make_token("alice"))
    parts.trade(SYMBOL, make_trade(4))
    parts.notification("alice", make_trade(5))
    peer.drain()
    assert [event[1]["id"] for event in peer.events() if event[0].startswith("trade:")] == ["1", "4", "5"]
