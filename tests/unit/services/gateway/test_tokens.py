"""The life of a token on an open connection: what the client hears, and how it ends."""

from typing import Any

import pytest

from protocol.socketio.packets import ConnectError
from shared.identity import AuthError, AuthFailure
from shared.names import error_codes
from shared.names.close_reasons import KEYS_AWAITED, TOKEN_EXPIRED, TOKEN_REVOKED
from tests.support.fakes_gateway import (
    GRACE_S,
    NOW_MS,
    GatewayParts,
    ParserName,
    Peer,
    make_token,
    make_trade,
)

BOTH = pytest.mark.parametrize("parser", ["json", "msgpack"])
EXP = NOW_MS // 1000 + 300


@pytest.fixture(name="parts")
def one_gateway() -> GatewayParts:
    return GatewayParts()


def come_in(parts: GatewayParts, parser: ParserName = "json", **token: Any) -> Peer:
    peer = Peer(parts, parser)
    peer.join(token=make_token(**({"lifetime_s": 300} | token)))
    return peer


def refusal(parts: GatewayParts, parser: ParserName = "json", **token: Any) -> Any:
    """What CONNECT_ERROR says to who comes with this token."""
    (refused,) = Peer(parts, parser).join(token=make_token(**token))
    assert isinstance(refused, ConnectError)
    return refused.data


def wait(parts: GatewayParts, peer: Peer, seconds: float) -> list[tuple[Any, ...]]:
    """Let time pass on all clocks while the client's heart beats; the `auth:` events that come meanwhile."""
    heard = peer.events()
    while seconds > 0:
        step = min(seconds, 10.0)
        parts.clock.seconds += step
        parts.loop.advance(step)
        seconds -= step
        if not peer.connection.has_ended:
            peer.connection.receive_frame("3")
        heard += peer.events()
    return [event for event in heard if event[0].startswith("auth")]


@BOTH
@pytest.mark.threat("T20")
def test_a_token_is_announced_before_it_expires_and_then_the_client_is_made_to_come_back(
    parts: GatewayParts, parser: ParserName
) -> None:
    peer = come_in(parts, parser)
    assert wait(parts, peer, 239) == []
    assert wait(parts, peer, 2) == [("auth:expiring", {"exp": EXP})]
    assert wait(parts, peer, 59 + GRACE_S - 2) == [], "said once; the grace is not over"
    assert not peer.connection.has_ended
    assert wait(parts, peer, 3) == [("auth:expired", {"exp": EXP})]
    assert parts.endings == [TOKEN_EXPIRED]
    assert TOKEN_EXPIRED.reconnect


@pytest.mark.threat("T20")
def test_who_brings_the_same_token_again_is_told_a_few_times_not_without_end(parts: GatewayParts) -> None:
    peer = come_in(parts)
    same = make_token(lifetime_s=300)
    times = 0
    for _ in range(300):
        if wait(parts, peer, 1):
            times += 1
            assert peer.ask("auth:refresh", same)["ok"]
    assert 2 <= times <= 10
    assert peer.ask("auth:refresh", make_token(lifetime_s=900))["ok"]
    assert wait(parts, peer, 100) == [], "the newer one counts"


def test_a_dead_token_is_refused_for_good_so_nobody_reconnects_in_a_loop(parts: GatewayParts) -> None:
    parts.clock.seconds += 300 + 11
    told = refusal(parts, lifetime_s=300)
    assert (told["message"], told["data"]["reason"]) == ("Authentication failed", "expired")


@BOTH
def test_a_refreshed_token_keeps_the_connection_and_its_rooms(parts: GatewayParts, parser: ParserName) -> None:
    peer = come_in(parts, parser, role="admin")
    peer.ask("subscribe:trades", "BTC-USDT")
    wait(parts, peer, 241)
    answer = peer.ask("auth:refresh", make_token(lifetime_s=900, role="admin"))
    assert answer == {"ok": True, "sub": "alice", "role": "admin", "exp": NOW_MS // 1000 + 900, "unsubscribed": []}
    assert wait(parts, peer, 300) == [], "the former one's end does not matter any more"
    assert {"trades:BTC-USDT", "user:alice", "admin"} <= peer.outbox.rooms
    assert wait(parts, peer, 301) == [("auth:expiring", {"exp": NOW_MS // 1000 + 900})]


def test_a_refresh_that_brings_the_role_joins_its_room_and_another_leaves_that_to_the_client(
    parts: GatewayParts,
) -> None:
    peer = come_in(parts)
    assert peer.ask("auth:refresh", make_token(role="admin"))["ok"]
    assert "admin" in peer.outbox.rooms
    assert peer.ask("unsubscribe:metrics")["ok"]
    wait(parts, peer, 2)
    assert peer.ask("auth:refresh", make_token(lifetime_s=900, role="admin"))["ok"]
    assert "admin" not in peer.outbox.rooms


@pytest.mark.threat("T25", "T20")
def test_what_a_new_token_does_not_grant_is_unsubscribed_with_a_reason(parts: GatewayParts) -> None:
    peer = come_in(parts, role="admin")
    for event in ("subscribe:price", "subscribe:trades"):
        peer.ask(event, ["BTC-USDT", "ETH-USDT"])
    peer.tell("subscribe:chart", "ETH-USDT", "1m")
    peer.events()
    answer = peer.ask("auth:refresh", make_token(symbols=["BTC-*"]))
    kinds = ("subscribe:price", "subscribe:trades", "subscribe:chart")
    lost = [{"event": "subscribe:metrics"}, *({"event": event, "symbol": "ETH-USDT"} for event in kinds)]
    assert answer["unsubscribed"] == lost
    told = [event[1] for event in peer.events() if event[0] == "error"]
    assert [{name: item[name] for name in ("event", "symbol") if name in item} for item in told] == lost
    assert [item["code"] for item in told] == [error_codes.NOT_ALLOWED.code, *[error_codes.SYMBOL_NOT_GRANTED.code] * 3]
    assert "admin" not in peer.outbox.rooms, "the role is gone too"
    parts.publish("ETH-USDT", 1)
    parts.trade("ETH-USDT", make_trade(1))
    parts.trade("BTC-USDT", make_trade(2))
    parts.loop.turn()
    assert [event[0] for event in peer.events()] == ["trade:new"]


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (make_token("bob"), error_codes.WRONG_USER),
        (make_token(lifetime_s=-60), error_codes.AUTHENTICATION_FAILED),
        ("nonsense", error_codes.AUTHENTICATION_FAILED),
        (None, error_codes.BAD_ARGUMENT),
    ],
)
@pytest.mark.threat("T20", "T25")
def test_a_refresh_that_is_refused_changes_nothing(
    parts: GatewayParts, token: str | None, code: error_codes.ErrorCode
) -> None:
    peer = come_in(parts)
    answer = peer.ask("auth:refresh", token)
    assert answer["error"]["code"] == code.code
    assert "user:alice" in peer.outbox.rooms
    assert "user:bob" not in peer.outbox.rooms
    assert wait(parts, peer, 301)[-1][0] == "auth:expiring"


def test_who_has_no_token_has_nothing_to_refresh(parts: GatewayParts) -> None:
    peer = Peer(parts)
    peer.join()
    assert peer.ask("auth:refresh", make_token())["error"]["code"] == error_codes.WRONG_USER.code


@BOTH
@pytest.mark.threat("T20")
def test_a_revoked_user_is_told_and_put_out_everywhere_and_others_stay(parts: GatewayParts, parser: ParserName) -> None:
    alices = [come_in(parts, parser), come_in(parts, parser)]
    bob = come_in(parts, parser, user_id="bob")
    for peer in (*alices, bob):
        peer.events()
    parts.revoked.add("alice")
    parts.tokens.end_revoked()
    parts.loop.turn()
    for peer in alices:
        assert [event[0] for event in peer.events()] == ["auth:revoked"]
        assert peer.connection.has_ended
    assert parts.endings == [TOKEN_REVOKED, TOKEN_REVOKED]
    assert not TOKEN_REVOKED.reconnect
    assert not bob.connection.has_ended
    assert len(parts.tokens) == 1
    assert refusal(parts, parser)["data"]["reason"] == "revoked"


def test_a_clock_that_jumps_ends_nobody_early(parts: GatewayParts) -> None:
    peer = come_in(parts)
    parts.loop.advance(40)
    peer.connection.receive_frame("3")
    parts.clock.seconds += -3600
    for _ in range(30):
        parts.loop.advance(20)
        peer.connection.receive_frame("3")
    assert not peer.connection.has_ended
    assert [event for event in peer.events() if event[0].startswith("auth:")] == []


def test_a_token_whose_key_is_on_its_way_is_not_refused_for_good(
    parts: GatewayParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def awaits(_token: str, _now_ms: int) -> Any:
        raise AuthError(AuthFailure.KEYS_AWAITED)

    monkeypatch.setattr(parts.tokens._verifier, "verify", awaits)
    inside = Peer(parts)
    inside.join()
    assert inside.ask("authenticate", make_token())["error"]["code"] == error_codes.KEYS_AWAITED.code
    peer = Peer(parts)
    assert peer.join(token=make_token()) == []
    assert parts.endings == [KEYS_AWAITED]
    assert KEYS_AWAITED.reconnect


@pytest.mark.threat("T25")
def test_a_delay_that_cannot_be_kept_is_refused(parts: GatewayParts) -> None:
    told = refusal(parts, delay_s=901)["data"]
    assert (told["reason"], told["claim"]) == ("bad_claim", "delay_s")


@BOTH
def test_prices_come_no_more_often_than_the_token_allows(parts: GatewayParts, parser: ParserName) -> None:
    peer = come_in(parts, parser, max_hz=1)
    assert peer.ask("subscribe:price", "BTC-USDT")["interval_ms"] == 1000
    assert peer.ask("subscribe:price", "ETH-USDT", {"max_hz": 5})["interval_ms"] == 1000
    assert peer.ask("subscribe:price", "SOL-USDT", {"max_hz": 0.2})["interval_ms"] == 5000
    assert peer.ask("subscribe:price", "XRP-USDT", {"deliver": "batch"})["interval_ms"] == 1000


@pytest.mark.threat("T25")
@pytest.mark.parametrize("claim", [{"symbols": ["BTC-*"]}, {"max_hz": 1}])
def test_the_whole_market_is_not_for_those_who_may_not_have_all_of_it(claim: dict[str, Any]) -> None:
    parts = GatewayParts("everyone")
    peer, free = come_in(parts, **claim), come_in(parts, user_id="bob")
    for _ in range(2):
        parts.publish("ETH-USDT", 1)
        parts.windows.tick()
        parts.loop.turn()
    assert peer.events() == []
    assert free.events()[-1][0] == "price:batch"
    peer.ask("auth:refresh", make_token())
    parts.windows.tick()
    parts.loop.turn()
    assert [event[0] for event in peer.events()] == ["price:batch"], "all of it, once it may"
