"""The stock client that the board and `tickwire watch` use, against a python-socketio server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import socketio
from aiohttp import web

from services.launcher.client import Ask, GatewayClient, LinkError, RefusedError, price_text
from services.launcher.ports import free_port
from shared.names import error_codes
from tests.support.waiting import eventually


class Notes:
    """A listener that writes everything down."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.events: list[tuple[str, tuple[Any, ...]]] = []
        self.losses: list[str] = []
        self.ask: Ask

    async def opened(self, url: str, ask: Ask) -> None:
        self.urls.append(url)
        self.ask = ask

    def received(self, event: str, arguments: Any) -> None:
        self.events.append((event, tuple(arguments)))

    def lost(self, url: str, why: str) -> None:
        assert url.startswith("http://127.0.0.1:")
        self.losses.append(why)


@contextlib.asynccontextmanager
async def serving(port: int, **options: Any) -> AsyncIterator[socketio.AsyncServer]:
    server = socketio.AsyncServer(async_mode="aiohttp", **options)
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield server
    finally:
        await server.shutdown()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def connected(client: GatewayClient) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.get_running_loop().create_task(client.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("msgpack", [False, True])
async def test_events_and_acks_pass_in_both_formats(msgpack):
    port = free_port()
    notes = Notes()
    async with serving(port, serializer="msgpack" if msgpack else "default") as server:
        server.on("subscribe:price", lambda _sid, symbols: {"ok": True, "results": symbols})
        async with connected(GatewayClient([url_of(port)], notes, msgpack=msgpack)):
            await eventually(lambda: notes.urls, "it connects")
            assert await notes.ask("subscribe:price", ["A"]) == {"ok": True, "results": ["A"]}
            await server.emit("price:batch", ([["A", 1.5]], {"ts": 1}))
            await eventually(lambda: notes.events, "the event arrives")
    assert notes.events == [("price:batch", ([["A", 1.5]], {"ts": 1}))]


async def test_json_decimals_keep_every_digit():
    port = free_port()
    notes = Notes()
    async with serving(port) as server, connected(GatewayClient([url_of(port)], notes)):
        await eventually(lambda: notes.urls, "it connects")
        (sid,) = server.manager.rooms["/"][None]
        await server.eio.send(server.manager.eio_sid_from_sid(sid, "/"), '2["price:update",{"price":64000.10}]')
        await eventually(lambda: notes.events, "the event arrives")
    ((_, (payload,)),) = notes.events
    assert price_text(payload["price"]) == "64000.10"


async def test_it_comes_back_when_the_gateway_does_and_says_what_was_wrong():
    port = free_port()
    notes = Notes()
    async with connected(GatewayClient([url_of(port)], notes)):
        await eventually(lambda: notes.losses, "the first try fails")
        assert notes.losses[0] == "Connection refused"
        async with serving(port):
            await eventually(lambda: len(notes.urls) == 1, "it connects")
        await eventually(lambda: notes.losses[-1] != "Connection refused" or len(notes.losses) > 2, "it notices")
        async with serving(port):
            await eventually(lambda: len(notes.urls) == 2, "it connects again")


async def test_it_goes_to_another_gateway_when_one_is_gone():
    dead, port = free_port(), free_port()
    notes = Notes()
    async with serving(port), connected(GatewayClient([url_of(dead), url_of(port)], notes)):
        await eventually(lambda: notes.urls, "it connects")
    assert notes.urls == [url_of(port)]


async def test_a_refusal_for_good_is_not_tried_again():
    port = free_port()
    async with serving(port) as server:

        @server.event
        async def connect(_sid, _environ, auth):
            assert auth == {"token": "wrong"}
            raise socketio.exceptions.ConnectionRefusedError(error_codes.AUTHENTICATION_FAILED.message)

        with pytest.raises(RefusedError, match="Authentication failed"):
            await GatewayClient([url_of(port)], Notes(), token="wrong").run()


async def test_a_server_that_is_none_of_ours_is_told_by_its_status():
    port = free_port()
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    notes = Notes()
    async with connected(GatewayClient([url_of(port)], notes)):
        await eventually(lambda: notes.losses, "the try fails")
    await runner.cleanup()
    assert notes.losses[0] == "refused with HTTP 404 Not Found"


async def test_asking_without_a_connection_is_a_link_error():
    port = free_port()
    notes = Notes()
    async with serving(port):
        async with connected(GatewayClient([url_of(port)], notes)):
            await eventually(lambda: notes.urls, "it connects")
        with pytest.raises(LinkError):
            await notes.ask("subscribe:price", ["A"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("64000.10"), "64000.10"),
        (Decimal("6.38E-6"), "0.00000638"),
        (6.38e-06, "0.00000638"),
        (64000.1, "64000.1"),
        (64000, "64000"),
        ("64000.10", "64000.10"),
    ],
)
def test_a_price_is_written_as_it_came_without_an_exponent(value, text):
    assert price_text(value) == text
