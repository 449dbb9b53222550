"""Events and rooms as clients see them."""

import json

from shared.names.events import ClientEvent, ServerEvent, price_room, trades_room, user_room


def test_an_event_is_its_wire_name_wherever_text_is_wanted():
    assert {"subscribe:price": 1}[ClientEvent.SUBSCRIBE_PRICE] == 1
    assert json.dumps([ServerEvent.PRICE_UPDATE]) == '["price:update"]'


def test_each_event_says_what_it_means():
    for events in (ClientEvent, ServerEvent):
        meanings = {event.meaning for event in events}
        assert len(meanings) == len(events)
        assert all(meanings)


def test_no_name_is_one_that_socket_io_keeps_for_itself():
    reserved = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
    assert not reserved & {event.value for event in (*ClientEvent, *ServerEvent)}


def test_whoever_can_subscribe_can_unsubscribe():
    subscribing = {event.value.removeprefix("subscribe:") for event in ClientEvent if event.startswith("subscribe:")}
    leaving = {event.value.removeprefix("unsubscribe:") for event in ClientEvent if event.startswith("unsubscribe:")}
    assert subscribing == leaving != set()


def test_a_users_room_cannot_be_mistaken_for_a_symbols():
    assert len({price_room("x"), trades_room("x"), user_room("x"), "admin"}) == 4
