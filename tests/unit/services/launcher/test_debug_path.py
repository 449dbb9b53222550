"""What `tickwire debug path` makes of answers; what gateways answer: tests/integration/test_debug_path.py."""

import io

import pytest
from aiohttp import web
from rich.console import Console

from services.launcher.debug_path import PAGE, ask, show
from services.launcher.errors import LauncherError

ANSWER = {
    "gateway": "gateway-1",
    "conclusion": ["prices: stopped at token: it does not grant [BTC]"],
    "prices": {"stops_at": "token", "because": "it does not grant [BTC]"},
    "trades": {"stops_at": None, "because": "nothing stops"},
    "facts": {"redis": {"seq": 7}, "client": None},
}


async def serve(status: int, body: object, seen: list[dict[str, str]]) -> tuple[web.AppRunner, str]:
    async def page(request: web.Request) -> web.Response:
        seen.append(dict(request.query))
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_get(PAGE, page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"127.0.0.1:{runner.addresses[0][1]}"


async def test_it_asks_for_what_was_given_and_shows_what_stops() -> None:
    seen: list[dict[str, str]] = []
    runner, address = await serve(200, ANSWER, seen)
    answer = await ask(address, "abc", "")
    await runner.cleanup()
    assert seen == [{"sid": "abc"}]
    out = io.StringIO()
    show(answer, Console(file=out, width=200))
    text = out.getvalue()
    assert "stops at token: it does not grant [BTC]" in text
    assert "flows: nothing stops" in text
    assert "seq 7" in text


async def test_a_client_that_is_elsewhere_is_told_with_the_other_gateways() -> None:
    others = [{"gateway": "gateway-2", "address": "10.0.0.2:8080", "ops_port": 9091}]
    runner, address = await serve(404, {"error": "no client of this gateway has this sid", "others": others}, [])
    with pytest.raises(LauncherError, match="no client of this gateway") as raised:
        await ask(f"http://{address}/", "abc", "BTC-USDT")
    await runner.cleanup()
    assert "gateway-2 (10.0.0.2:8080, ops port 9091)" in raised.value.hint


async def test_what_is_no_gateway_is_an_error_that_says_so() -> None:
    runner, address = await serve(404, [], [])
    await runner.cleanup()
    with pytest.raises(LauncherError, match="does not answer"):
        await ask(address, "abc", "")
