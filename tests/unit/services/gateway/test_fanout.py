"""Delivery to rooms: encoded once for each parser, one write each, trades never lost, prices conflated while behind."""

from collections.abc import Callable
from typing import Any

import pytest

from services.gateway.market import UNKNOWN
from services.gateway.outbox import Outbox
from shared.names import events
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import PARSERS, FakeLink, GatewayParts, make_price, make_trade, read_events

SYMBOL = "BTC-USDT"
PRICES = events.price_room(SYMBOL)
TRADES = events.trades_room(SYMBOL)


def join(parts: GatewayParts, room: str, parser: int = 0) -> tuple[Outbox, FakeLink]:
    outbox, link = parts.outbox(parser)
    parts.hub.join(room, outbox)
    return outbox, link


@pytest.fixture(name="encoded")
def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    for parser in PARSERS:
        for method in ("encode", "encode_unchecked"):
            real, name = getattr(parser, method), parser.name

            def counting(_self: object, value: object, real: Callable[..., Any] = real, name: str = name) -> object:
                calls.append(name)
                return real(value)

            monkeypatch.setattr(type(parser), method, counting)
    return calls


def test_a_price_is_encoded_once_for_each_parser_in_use(encoded: list[str]) -> None:
    parts = GatewayParts()
    links = [join(parts, PRICES)[1] for _ in range(5)]
    parts.fanout.price(SYMBOL, make_price(2), 1)
    assert encoded == ["json"]
    links += [join(parts, PRICES, parser=1)[1] for _ in range(5)]
    parts.fanout.price(SYMBOL, make_price(3), 2)
    assert sorted(encoded[1:]) == ["json", "msgpack"]
    parts.loop.turn()
    assert [len(link.written) for link in links] == [1] * 10
    assert links[0].written[0] is not links[1].written[0]
    assert links[5].written[0] is links[6].written[0]


def test_the_members_of_both_parsers_read_the_same() -> None:
    parts = GatewayParts()
    links = [join(parts, PRICES, parser)[1] for parser in (0, 1)]
    parts.fanout.price(SYMBOL, make_price(7, "64000.10"), 4)
    parts.loop.turn()
    for parser, link in enumerate(links):
        ((name, payload),) = read_events(link.written[0], parser)
        assert (name, payload["price"], payload["seq"], payload["n"]) == ("price:update", 64000.1, 7, 3)
        assert "snap" not in payload


@pytest.mark.parametrize("base", [UNKNOWN, 7, 9])
def test_a_price_on_an_unknown_base_or_one_of_another_epoch_restates(base: int) -> None:
    parts = GatewayParts()
    _, link = join(parts, PRICES)
    parts.fanout.price(SYMBOL, make_price(7), base)
    parts.loop.turn()
    ((_, payload),) = read_events(link.written[0])
    assert (payload["n"], payload["snap"]) == (0, 1)


def test_an_empty_room_costs_nothing(encoded: list[str]) -> None:
    parts = GatewayParts()
    parts.fanout.price(SYMBOL, make_price(1), 0)
    parts.trade(SYMBOL, make_trade(1))
    parts.notification("alice", make_trade(1))
    parts.fanout.metrics({"connections": 1})
    assert (encoded, parts.loop.soon, sum(parts.fanout.delivered.values())) == ([], [], 0)


def test_who_is_behind_gets_no_price_but_owes_it_from_the_first_one_missed() -> None:
    parts = GatewayParts()
    slow, slow_link = join(parts, PRICES)
    _, link = join(parts, PRICES)
    slow.fall_behind()
    for seq in (2, 3, 4):
        parts.fanout.price(SYMBOL, make_price(seq), seq - 1)
        parts.loop.turn()
    assert (slow_link.written, slow.queue) == ([], [])
    assert slow.owed_prices == {SYMBOL: 1}
    assert len(link.written) == 3


def test_a_trade_goes_to_its_room_alone() -> None:
    parts = GatewayParts()
    _, here = join(parts, TRADES)
    _, elsewhere = join(parts, events.trades_room("ETH-USDT"))
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    ((name, payload),) = read_events(here.written[0])
    assert (name, payload["id"]) == ("trade:new", "1")
    assert "user_id" not in payload
    assert elsewhere.written == []


def test_a_notification_reaches_its_user_alone() -> None:
    parts = GatewayParts()
    _, alice = join(parts, events.user_room("alice"))
    _, bob = join(parts, events.user_room("bob"))
    parts.notification("alice", make_trade(1))
    parts.loop.turn()
    ((name, payload),) = read_events(alice.written[0])
    assert (name, payload["user_id"]) == ("trade:notification", "alice")
    assert bob.written == []


def test_trades_are_kept_only_while_somebody_is_behind() -> None:
    parts = GatewayParts()
    slow, _ = join(parts, TRADES)
    parts.trade(SYMBOL, make_trade(1))
    parts.loop.turn()
    assert len(parts.window) == 0
    slow.fall_behind()
    for number in (2, 3):
        parts.trade(SYMBOL, make_trade(number))
    assert len(parts.window) == 2
    assert len(list(parts.window.since(slow.log_position))) == 2
    slow.drop()
    parts.trade(SYMBOL, make_trade(4))
    assert len(parts.window) == 0


def test_says_whose_trades_are_wanted() -> None:
    parts = GatewayParts()
    assert not parts.fanout.wants_trades(SYMBOL)
    assert not parts.fanout.wants_user("alice")
    join(parts, TRADES)
    join(parts, events.user_room("alice"))
    assert parts.fanout.wants_trades(SYMBOL)
    assert parts.fanout.wants_user("alice")


def test_figures_reach_the_admins() -> None:
    parts = GatewayParts()
    _, link = join(parts, events.ADMIN_ROOM, parser=1)
    parts.fanout.metrics({"connections": 3})
    parts.loop.turn()
    assert read_events(link.written[0], parser=1) == [("metrics", {"connections": 3})]


def test_deliveries_are_counted_by_event_and_client() -> None:
    parts = GatewayParts()
    for room in (PRICES, PRICES, TRADES):
        join(parts, room)
    parts.fanout.price(SYMBOL, make_price(1), 0)
    parts.trade(SYMBOL, make_trade(1))
    assert parts.fanout.delivered[ServerEvent.PRICE_UPDATE] == 2
    assert parts.fanout.delivered[ServerEvent.TRADE_NEW] == 1
