"""The ops port: `/livez`, `/readyz`, `/metrics`, and pages of a service's own. Never routed to clients.

Liveness says only that the event loop turns; it must not know Redis, or an outage would restart every service at once.
Readiness is the conjunction of named checks, each of which says what is wrong.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from aiohttp import web

from shared.telemetry import Telemetry

Check = Callable[[], str | None]
"""None when all is well, else what is not."""


class PageAnswer(NamedTuple):
    """What a page says: an HTTP status, and a body that becomes JSON."""

    status: int
    body: Mapping[str, object]


Page = Callable[[Mapping[str, str]], Awaitable[PageAnswer]]
"""Gets the query's parameters, each once."""


class Health:
    """Named readiness checks and the HTTP server that tells their state."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._checks: dict[str, Check] = {}
        self._pages: dict[str, Page] = {}
        self._runner: web.AppRunner | None = None
        self.port = 0

    def add_check(self, name: str, check: Check) -> None:
        """Make readiness depend on `check`; a name given twice replaces the first."""
        self._checks[name] = check

    def add_page(self, path: str, page: Page) -> None:
        """Answer GET of one more path with what `page` says, also while the port is open already."""
        self._pages[path] = page

    def failing(self) -> dict[str, str]:
        """What is not ready: check -> what it says. Empty means ready."""
        return {name: said for name, check in self._checks.items() if (said := check()) is not None}

    async def start(self, host: str, port: int) -> None:
        """Listen; afterwards `port` is the real one.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/{path:.*}", self._page),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _readyz(self, _request: web.Request) -> web.Response:
        failing = self.failing()
        return web.json_response({"ready": not failing, "failing": failing}, status=503 if failing else 200)

    async def _page(self, request: web.Request) -> web.Response:
        page = self._pages.get(request.path)
        if page is None:
            raise web.HTTPNotFound
        answer = await page(dict(request.query))
        return web.json_response(answer.body, status=answer.status)

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._telemetry.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})
