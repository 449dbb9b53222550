"""An issuer's key server for tests: what it answers can be changed, what it was asked is kept."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KeyServer:
    """One server on this machine.

    Attributes:
        answer: what it does with a request.
        asked: path and query of each request.
        headers: of each request.
        url: of its key set.
    """

    def __init__(self) -> None:
        self.answer: Answer = self.keys()
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    @staticmethod
    def keys(*keys: dict[str, Any]) -> Answer:
        """Answer with a key set."""
        return KeyServer.body(json.dumps({"keys": keys}).encode())

    @staticmethod
    def body(body: bytes, status: int = 200, encoding: str = "") -> Answer:
        """Answer with anything, in any Content-Encoding."""
        headers = {"Content-Encoding": encoding} if encoding else None

        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers=headers)

        return answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        self.asked.append(request.path_qs)
        self.headers.append(dict(request.headers))
        return await self.answer(request)


@asynccontextmanager
async def key_server() -> AsyncIterator[KeyServer]:
    """A server that answers meanwhile."""
    server = KeyServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
        yield server
    finally:
        await runner.cleanup()
