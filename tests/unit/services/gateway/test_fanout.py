"""Delivery of prices to rooms: encoded once for each parser, one write each, conflated while behind."""

from collections.abc import Callable
from typing import Any

import pytest

from services.gateway.market import UNKNOWN
from services.gateway.outbox import Outbox
from shared.names import events
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import PARSERS, FakeLink, GatewayParts, make_price, read_events

SYMBOL = "BTC-USDT"
PRICES = events.price_room(SYMBOL)


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


def test_figures_reach_the_admins() -> None:
    parts = GatewayParts()
    _, link = join(parts, events.ADMIN_ROOM, parser=1)
    parts.fanout.metrics({"connections": 3})
    parts.loop.turn()
    assert read_events(link.written[0], parser=1) == [("metrics", {"connections": 3})]


def test_deliveries_are_counted_by_event_and_client() -> None:
    parts = GatewayParts()
    for _ in range(2):
        join(parts, PRICES)
    parts.fanout.price(SYMBOL, make_price(1), 0)
    assert parts.fanout.delivered[ServerEvent.PRICE_UPDATE] == 2
