"""The rest of it shows only in a running service: tests/integration/test_trade_notifier.py."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.trade_notifier import app
from services.trade_notifier.app import NotifierApp
from services.trade_notifier.settings import NotifierSettings
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.health import Health
from shared.lifecycle import Runtime
from shared.names import metrics, redis_keys
from shared.settings import CommonSettings
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from shared.upstream import UpstreamSettings
from tests.support.waiting import eventually


@pytest.fixture
async def runtime(bus: RedisBus) -> AsyncIterator[Runtime]:
    telemetry = Telemetry()
    async with TaskGroup() as tasks:
        yield Runtime("trade-notifier", "me", CommonSettings(), bus, SystemClock(), telemetry, Health(telemetry), tasks)


def ignored(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [line["stream"] for line in lines if line["event"] == "too_many_upstream_streams"]


def owned(notifier: NotifierApp) -> float:
    report: dict[str, dict[str, float]] = {}
    notifier.fill_report(report)
    return report["figures"][metrics.OWNED_STREAMS.name]


async def test_streams_without_number_are_left_out_and_too_many_are_named(
    bus: RedisBus, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_STREAMS", 3)
    for suffix in ("x", "1:2", "", "0", "1", "2", "3"):
        await bus.append(f"{redis_keys.FEED_TRADES}:{suffix}", [{"a": "b"}], 10)
    notifier = NotifierApp(runtime, NotifierSettings(), UpstreamSettings())
    with capture_logs() as lines:
        await notifier.start()
        await eventually(lambda: ignored(lines), "the streams are looked for")
    assert ignored(lines) == ["feed:trades:2"]
    await eventually(lambda: owned(notifier) == 3, "streams owned")
    await notifier.stop()
    assert owned(notifier) == 0
