"""A real browser: headless Chromium with the official bundles, on a page of another origin than the gateway's.

No driver library: the page does what its address says, and tells what happens to the server that it came from.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from aiohttp import web

from services.launcher.embedded_valkey import EmbeddedValkey
from services.launcher.ports import free_port
from tests.support.cluster import Cluster, Service
from tests.support.programs import need_program, running
from tests.support.redis_cli import redis_cli
from tests.support.source_tree import ROOT
from tests.support.stock_clients import need_node
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.interop

DIST: Final = ROOT / "tests" / "interop" / "node_modules" / "socket.io-client" / "dist"
BUNDLES: Final = {"json": "socket.io.min.js", "msgpack": "socket.io.msgpack.min.js"}
SYMBOL: Final = "BROWSER-USDT"
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE: Final = """<!doctype html><title>tickwire</title><script src="/bundle"></script><script>
const asked = new URLSearchParams(location.search);
const tell = (what, ...args) => fetch("/tell", {method: "POST", body: JSON.stringify([what, ...args])});
const options = JSON.parse(asked.get("options"));
const socket = options ? io(asked.get("url"), options) : io(asked.get("url"));
socket.io.on("open", () => {
  tell("transport", socket.io.engine.transport.name);
  socket.io.engine.on("upgrade", (transport) => tell("transport", transport.name));
});
socket.on("connect", () => {
  tell("connect");
  socket.emit("subscribe:price", asked.get("symbol"), (answer) => tell("ack", answer));
  socket.emit("no:such:event", new Uint8Array([0, 255]).buffer, (answer) => tell("binary", answer.error.code));
});
socket.on("connect_error", (error) => tell("connect_error", error.message));
socket.on("price:update", (update) => tell("price:update", update));
socket.on("price:batch", (pairs) => tell("price:batch", pairs));
</script>"""


class Page:
    """A site with one page, and what the page has told."""

    def __init__(self, port: int, bundle: str) -> None:
        self._bundle = bundle
        self._told: dict[str, asyncio.Queue[list[Any]]] = {}
        self.port = port

    @property
    def origin(self) -> str:
        """As browsers send it."""
        return f"http://127.0.0.1:{self.port}"

    def address(self, gateway: Service, options: object = None) -> str:
        """Of the page that connects to a gateway; without options by `io(url)`."""
        asked = {"url": gateway.url, "symbol": SYMBOL, "options": json.dumps(options)}
        return f"{self.origin}/?{urlencode(asked)}"

    async def told(self, what: str) -> list[Any]:
        """Wait for the page to tell something once more."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._queue(what).get()

    def count(self, what: str) -> int:
        """How often it told something that was not taken."""
        return self._queue(what).qsize()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve the page meanwhile."""
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/bundle", self._script)
        app.router.add_post("/tell", self._tell)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _script(self, _request: web.Request) -> web.FileResponse:
        return web.FileResponse(DIST / self._bundle)

    async def _tell(self, request: web.Request) -> web.Response:
        what, *args = json.loads(await request.text())
        self._queue(what).put_nowait(args)
        return web.Response()

    def _queue(self, what: str) -> asyncio.Queue[list[Any]]:
        return self._told.setdefault(what, asyncio.Queue())


@pytest.fixture
async def page(request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """A page with the JSON bundle, or the one that a test names."""
    need_node()
    made = Page(free_port(), BUNDLES[getattr(request, "param", "json")])
    async with made.served():
        yield made


@pytest.fixture
async def gateway(cluster: Cluster, page: Page) -> Service:
    """One that allows the page's origin and no other; the services that feed it run beside it."""
    return await cluster.start("gateway", ALLOWED_ORIGINS=page.origin)


def browser(address: str, directory: Path) -> AbstractContextManager[object]:
    """Chromium on an address."""
    command = [need_program("chromium"), *FLAGS, f"--user-data-dir={directory / 'profile'}", address]
    return running(command, directory / "chromium.log", directory)


@pytest.mark.parametrize("page", BUNDLES, indirect=True)
@pytest.mark.parametrize("options", [None, {"withCredentials": True}], ids=["io(url)", "credentials"])
async def test_a_browser_connects_upgrades_and_gets_prices(
    page: Page, gateway: Service, valkey: EmbeddedValkey, tmp_path: Path, options: object
) -> None:
    redis_cli(valkey.url, f"XADD feed:prices * symbol {SYMBOL} price 1.5")
    with browser(page.address(gateway, options), tmp_path):
        assert [await page.told("transport") for _ in range(2)] == [["polling"], ["websocket"]]
        await page.told("connect")
        assert (await page.told("ack"))[0]["ok"]
        assert await page.told("binary") == [102]
        price = 1.5 + page.port  # another each time, so that it is not dropped as unchanged
        redis_cli(valkey.url, f"XADD feed:prices * symbol {SYMBOL} price {price}")
        while (await page.told("price:update"))[0]["price"] != price:
            pass
        while [SYMBOL, price] not in (await page.told("price:batch"))[0]:
            pass
    assert (page.count("connect_error"), page.count("transport")) == (0, 0)


async def test_a_browser_that_only_polls_gets_prices(
    page: Page, gateway: Service, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    with browser(page.address(gateway, {"transports": ["polling"]}), tmp_path):
        assert await page.told("transport") == ["polling"]
        await page.told("ack")
        redis_cli(valkey.url, f"XADD feed:prices * symbol {SYMBOL} price {page.port}.25")
        while (await page.told("price:update"))[0]["price"] != page.port + 0.25:
            pass
    assert page.count("connect_error") == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [(None, "xhr poll error"), ({"transports": ["websocket"]}, "websocket error")],
    ids=["io(url)", "websocket"],
)
async def test_a_page_of_a_foreign_origin_is_refused(
    gateway: Service, tmp_path: Path, options: object, error: str
) -> None:
    foreign = Page(free_port(), BUNDLES["json"])
    async with foreign.served():
        with browser(foreign.address(gateway, options), tmp_path):
            assert [await foreign.told("connect_error") for _ in range(2)] == [[error]] * 2
    assert (foreign.count("connect"), foreign.count("transport")) == (0, 0)
