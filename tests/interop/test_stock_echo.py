"""What the market application does not do, with the real clients: binary, acks asked of clients, being put out.

The conformance app does it, here in the test's own process.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from services.gateway.server import Server
from shared.names.close_reasons import SERVER_STOPPING
from tests.interop.conformance_app import HOST, make_server
from tests.support.stock_clients import Clients, Kind, StockClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.interop

SERVER_REASONS = {"js": "io server disconnect", "py": "server disconnect"}


class Served(NamedTuple):
    """The application, where it is, and a client in it."""

    url: str
    server: Server
    client: StockClient


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, Server]]:
    """The application on a free port, forgiving to clients on a slow machine."""
    server = make_server(asyncio.get_running_loop(), ping_timeout=2_000)
    port = await server.start(HOST, 0)
    try:
        yield f"http://{HOST}:{port}", server
    finally:
        await server.stop()


@pytest.fixture
async def served(clients: Clients, kind: Kind) -> AsyncIterator[Served]:
    async with serving() as (url, server):
        client = await clients.make(kind)
        await client.connect(url, {"token": "t"})
        await client.life("connect")
        yield Served(url, server, client)
        await client.disconnect()


ARGUMENTS: list[list[object]] = [
    [],
    [b"\x00\xff"],
    [b""],
    [b"a" * 70_000],
    ["text", b"\x01", {"deep": [b"\x02", {"er": b"\x03"}]}, 4, None, True],
    [[b"x"] * 10],
    ["no bytes at all", {"n": 1.5, "s": "\u20ac\U0001f600\u2028"}],
]
"""Nothing, bytes alone, none, too many for a short frame, among all else, as many as clients take, and no bytes."""


async def test_arguments_come_back_as_they_were_sent(served: Served) -> None:
    for args in ARGUMENTS:
        await served.client.emit("message", *args)
        assert await served.client.event("message-back") == args


async def test_an_ack_carries_arguments_back(served: Served) -> None:
    for args in ARGUMENTS:
        assert await served.client.call("message-with-ack", *args) == args


async def test_a_client_answers_what_the_server_asks(served: Served) -> None:
    for args in ARGUMENTS:
        await served.client.emit("ask-me", *args)
        assert await served.client.event("question") == args
        assert await served.client.event("answer-was") == args


async def test_the_server_sees_auth_and_the_client_gets_events_after_connect(served: Served) -> None:
    assert await served.client.event("auth") == [{"token": "t"}]


@pytest.mark.parametrize("event", ["kick-me", "kick-transport"])
async def test_a_client_that_is_put_out_is_told_and_stays_away(served: Served, clients: Clients, event: str) -> None:
    beside = await clients.make(served.client.kind)
    await beside.connect(served.url)
    await beside.life("connect")
    await served.client.emit(event)
    assert await served.client.life("disconnect") == [SERVER_REASONS[served.client.kind[:2]]]
    for connection in list(served.server.connections):
        connection.end(SERVER_STOPPING)
    await beside.life("disconnect")
    await beside.life("connect")  # by now the other would have come back too
    assert served.client.lives("connect") == 0


async def test_a_client_that_leaves_is_gone_at_the_server_too(served: Served) -> None:
    await served.client.disconnect()
    await eventually(lambda: not served.server.connections, "the server notices")


async def test_a_refusal_with_data_reaches_the_client(clients: Clients, kind: Kind) -> None:
    async with serving() as (url, _):
        client = await clients.make(kind)
        await client.connect(url, namespace="/forbidden", reconnection=False)
        message, data, *_ = await client.life("connect_error")
        assert (message, data) == ("Not authorized", {"code": "E_AUTH"})
        await client.disconnect()


async def test_another_namespace_works_as_the_main_one(clients: Clients, kind: Kind) -> None:
    async with serving() as (url, _):
        client = await clients.make(kind)
        await client.connect(url, namespace="/custom")
        await client.life("connect")
        assert await client.event("auth") == [{}]
        await client.disconnect()


async def test_heartbeats_keep_an_idle_client_connected(served: Served) -> None:
    """Several ping intervals pass (0.3 s each) before a ping timeout (2 s) would have shown."""
    for number in range(5):
        await served.client.emit("ask-me", number)
        await served.client.event("answer-was")
    assert served.client.lives("disconnect") == 0
