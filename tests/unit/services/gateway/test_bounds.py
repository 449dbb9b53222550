"""Every setting that bounds a client reaches the part that keeps to it."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest
from msgpack import packb

from protocol.errors import PeerError
from services.gateway.bounds import (
    connection_limit,
    parsers,
    server_settings,
    session_settings,
    socket_settings,
    websocket_limits,
)
from services.gateway.doorway import DoorwayLimits
from services.gateway.port_settings import PortSettings
from services.gateway.settings import GatewaySettings
from shared.settings import load


def settings(**more: str) -> tuple[GatewaySettings, PortSettings]:
    return load(GatewaySettings, more), load(PortSettings, more)


def test_clients_are_told_what_they_may_send() -> None:
    own, _ = settings(MAX_PAYLOAD_BYTES="5000", PING_INTERVAL_MS="700")
    told = session_settings(own)
    assert (told.max_payload, told.ping_interval) == (5000, 700)


def test_times_are_seconds_from_here_on() -> None:
    own, port = settings(
        CONNECT_TIMEOUT_MS="1500", WRITE_TIMEOUT_MS="2500", MESSAGE_TIMEOUT_MS="3500", HANDSHAKE_TIMEOUT_MS="4500"
    )
    websocket = websocket_limits(own, port)
    made = socket_settings(own, port, parsers(own, port))
    assert (made.connect_timeout, websocket.write_timeout, websocket.message_timeout) == (1.5, 2.5, 3.5)
    assert server_settings(own, port).head_timeout == 4.5


def test_an_age_of_none_is_no_limit() -> None:
    assert server_settings(*settings(MAX_CONNECTION_AGE_SECONDS="0")).max_age == inf
    assert server_settings(*settings(MAX_CONNECTION_AGE_SECONDS="60")).max_age == 60


@pytest.mark.parametrize(
    "pack", [lambda data: "2" + json.dumps(data), lambda data: packb({"type": 2, "data": data, "nsp": "/"})]
)
def test_both_parsers_keep_to_the_bounds_on_packets(pack: Callable[[object], str | bytes]) -> None:
    data = pack(["a", [[[1]]]])
    made = parsers(*settings(MAX_NESTING="2"))
    with pytest.raises(PeerError) as refused:
        made[isinstance(data, bytes)].decode(data)
    assert refused.value.limit == 2


@pytest.mark.parametrize(
    ("own", "sockets", "limit"),
    [("5000", 0, 5000), ("5000", 900, 900), ("100", 900, 100), ("0", 900, 900), ("0", 0, 0)],
)
def test_the_limit_that_is_told_is_the_one_that_is_met_first(own: str, sockets: int, limit: int) -> None:
    made = replace(server_settings(*settings(MAX_CONNECTIONS=own)), doorway=DoorwayLimits(max_sockets=sockets))
    assert connection_limit(made) == limit
