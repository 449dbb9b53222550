"""The ops port."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from shared.health import Health, PageAnswer
from shared.names import metrics
from shared.telemetry import Telemetry


@pytest.fixture
async def health() -> AsyncIterator[Health]:
    telemetry = Telemetry()
    telemetry.gauge(metrics.SYMBOLS).set(7)
    made = Health(telemetry)
    await made.start("127.0.0.1", 0)
    yield made
    await made.stop()


async def ask(health: Health, path: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{health.port}{path}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await (answer.json() if answer.content_type == "application/json" else answer.text())


async def test_live_whatever_is_wrong(health: Health):
    health.add_check("redis", lambda: "no answer for 20 s")
    assert await ask(health, "/livez") == (200, {"live": True})


async def test_ready_when_nothing_is_wrong(health: Health):
    health.add_check("redis", lambda: None)
    assert await ask(health, "/readyz") == (200, {"ready": True, "failing": {}})


async def test_not_ready_says_which_check_says_what(health: Health):
    health.add_check("started", lambda: None)
    health.add_check("redis", lambda: "no answer for 20 s")
    assert await ask(health, "/readyz") == (503, {"ready": False, "failing": {"redis": "no answer for 20 s"}})


async def test_a_check_can_be_replaced(health: Health):
    health.add_check("started", lambda: "starting")
    health.add_check("started", lambda: None)
    assert health.failing() == {}


async def test_metrics_are_served_where_prometheus_looks(health: Health):
    status, text = await ask(health, "/metrics")
    assert status == 200
    assert "tickwire_ingest_symbols 7.0" in text


async def test_a_service_adds_pages_of_its_own_while_the_port_is_open(health: Health):
    async def page(query: Mapping[str, str]) -> PageAnswer:
        return PageAnswer(400 if "wrong" in query else 200, {"asked": dict(query)})

    health.add_page("/debug/path", page)
    assert await ask(health, "/debug/path?symbol=BTC%2FUSDT") == (200, {"asked": {"symbol": "BTC/USDT"}})
    assert await ask(health, "/debug/path?wrong=1") == (400, {"asked": {"wrong": "1"}})
    assert (await ask(health, "/debug"))[0] == 404


async def test_nothing_else_is_there(health: Health):
    status, _ = await ask(health, "/")
    assert status == 404


async def test_a_taken_port_is_an_error_at_the_start(health: Health):
    second = Health(Telemetry())
    with pytest.raises(OSError, match=str(health.port)):
        await second.start("127.0.0.1", health.port)
    await second.stop()
