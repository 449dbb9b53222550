"""Delivery of the logs: one frame for all of a kind, cursors for those who recover, nothing lost for who is behind."""

from collections.abc import Callable
from typing import Any

import pytest

from services.gateway.outbox import NOT_BEHIND, Outbox
from shared.bus.entries import StreamEntry
from shared.names import events
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import NOW_MS, PARSERS, FakeLink, GatewayParts, make_trade, read_events

SYMBOL = "BTC-USDT"
TRADES = events.trades_room(SYMBOL)


def join(parts: GatewayParts, room: str, parser: int = 0, *, recovers: bool = True) -> tuple[Outbox, FakeLink]:
    outbox, link = parts.outbox(parser)
    outbox.recovers = recovers
    parts.hub.join(room, outbox)
    return outbox, link


@pytest.fixture(name="parts")
def one_gateway() -> GatewayParts:
    return GatewayParts()


@pytest.fixture(name="encoded")
def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    for parser in PARSERS:
        real, name = parser.encode, parser.name

        def counting(_self: object, value: Any, real: Callable[..., Any] = real, name: str = name) -> object:
            calls.append(name)
            return real(value)

        monkeypatch.setattr(type(parser), "encode", counting)
    return calls


def test_all_receivers_of_a_kind_get_the_same_bytes_made_once(parts: GatewayParts, encoded: list[str]) -> None:
    kinds = [(0, True), (0, False), (1, True), (1, False)]
    links = {kind: [join(parts, TRADES, kind[0], recovers=kind[1])[1] for _ in range(3)] for kind in kinds}
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    for some in links.values():
        assert [len(link.written) for link in some] == [1] * 3
        assert some[0].written[0] is some[1].written[0] is some[2].written[0]
    assert sorted(encoded) == ["json", "json", "msgpack", "msgpack"]


@pytest.mark.parametrize("parser", [0, 1])
def test_the_cursor_is_the_last_argument_for_those_who_recover_alone(parts: GatewayParts, parser: int) -> None:
    _, with_cursor = join(parts, TRADES, parser)
    _, without = join(parts, TRADES, parser, recovers=False)
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    ((name, payload, cursor),) = read_events(with_cursor.written[0], parser)
    assert (name, payload["id"], cursor) == ("trade:new", "1", parts.log_feed.cursor)
    assert read_events(without.written[0], parser) == [(name, payload)]


def test_a_trade_goes_to_its_room_alone(parts: GatewayParts) -> None:
    _, here = join(parts, TRADES)
    _, elsewhere = join(parts, events.trades_room("ETH-USDT"))
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    ((name, payload, _),) = read_events(here.written[0])
    assert (name, payload["id"]) == ("trade:new", "1")
    assert "user_id" not in payload
    assert elsewhere.written == []


def test_a_notification_reaches_its_user_alone(parts: GatewayParts) -> None:
    _, alice = join(parts, events.user_room("alice"))
    _, bob = join(parts, events.user_room("bob"))
    parts.notification("alice", make_trade(1))
    parts.loop.turn()
    ((name, payload, _),) = read_events(alice.written[0])
    assert (name, payload["user_id"]) == ("trade:notification", "alice")
    assert bob.written == []


def test_what_nobody_here_wants_is_kept_for_who_comes_and_not_even_read(
    parts: GatewayParts, encoded: list[str]
) -> None:
    parts.trade(SYMBOL, make_trade(1))
    parts.notification("alice", make_trade(2))
    assert (encoded, parts.loop.soon, sum(parts.fanout.delivered.values())) == ([], [], 0)
    assert [entry.room for entry in parts.log_fanout.window.since(0, [TRADES, "user:alice"])] == [TRADES, "user:alice"]


def test_who_is_behind_gets_nothing_and_owes_from_the_first_entry_missed(parts: GatewayParts) -> None:
    slow, slow_link = join(parts, TRADES)
    _, link = join(parts, TRADES)
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    slow_link.written.clear()
    slow.fall_behind()
    for number in (2, 3):
        parts.trade(SYMBOL, make_trade(number))
        parts.loop.turn()
    assert (slow_link.written, slow.queue) == ([], [])
    missed = parts.log_fanout.window.since(slow.log_position, slow.rooms)
    assert [entry.data for entry in missed] == [entry.data for entry in parts.log_fanout.window.since(1, [TRADES])]
    assert len(link.written) == 3


def nonsense(parts: GatewayParts, fields: dict[bytes, bytes]) -> None:
    parts.log_feed._take(parts.log_feed.trades_log(SYMBOL), StreamEntry(f"{NOW_MS}-999", fields))


def test_an_entry_that_cannot_be_read_is_counted_and_costs_no_other(parts: GatewayParts) -> None:
    _, link = join(parts, TRADES)
    parts.trade(SYMBOL, make_trade(1))
    nonsense(parts, {b"s": SYMBOL.encode(), b"d": b"nonsense"})
    parts.loop.turn()
    assert [payload["id"] for _, payload, _ in read_events(b"".join(link.written))] == ["1"]
    assert parts.log_fanout.rejected == 1


def test_an_entry_that_cannot_be_read_is_counted_once_whoever_wants_it(parts: GatewayParts) -> None:
    for recovers in (True, False):
        join(parts, TRADES, recovers=recovers)
    nonsense(parts, {b"s": SYMBOL.encode(), b"d": b"nonsense"})
    assert parts.log_fanout.rejected == 1


def test_deliveries_are_counted_by_event_and_client(parts: GatewayParts) -> None:
    for room in (TRADES, TRADES, events.user_room("alice")):
        join(parts, room)
    parts.trade(SYMBOL, make_trade(1))
    parts.notification("alice", make_trade(2))
    assert parts.fanout.delivered[ServerEvent.TRADE_NEW] == 2
    assert parts.fanout.delivered[ServerEvent.TRADE_NOTIFICATION] == 1


@pytest.mark.parametrize("parser", [0, 1])
def test_a_beat_renews_the_cursor(parts: GatewayParts, parser: int) -> None:
    member, link = join(parts, TRADES, parser)
    parts.log_fanout.beat(member, "AAAA")
    parts.loop.turn()
    assert read_events(link.written[0], parser) == [("cursor", {}, "AAAA")]


def test_a_beat_never_passes_entries_that_are_yet_to_come(parts: GatewayParts) -> None:
    member, link = join(parts, TRADES)
    member.fall_behind()
    parts.log_fanout.beat(member, "AAAA")
    parts.trade(SYMBOL, make_trade(1))
    member.behind = False  # it has drained, and not caught up yet
    assert member.log_position != NOT_BEHIND
    parts.log_fanout.beat(member, "AAAA")
    parts.loop.turn()
    assert link.written == []
