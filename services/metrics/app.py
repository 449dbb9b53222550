"""metrics put together: looks at the cluster every second, tells Prometheus and the admin room.

Fed by the services' reports and the streams in Redis; feeds `/metrics` and the channel `redis_keys.CLUSTER_METRICS`.
Run one of it: a second one would tell the admin room everything twice. The data path does not need it.
"""

import asyncio
from typing import Any, Final

from services.metrics.gauges import ClusterGauges
from services.metrics.probes import Probes
from services.metrics.settings import MetricsSettings
from services.metrics.snapshot import Snapshot, sort_out, summarise
from shared.bus.retrying import keep_trying
from shared.lifecycle import Runtime
from shared.log import get_logger
from shared.messages import encode_json
from shared.names import redis_keys

log = get_logger(__name__)

LOOK_S: Final = 1.0


class MetricsApp:
    """See `shared.lifecycle.App`."""

    def __init__(self, runtime: Runtime, settings: MetricsSettings) -> None:
        self._runtime = runtime
        self._interval_s = settings.metrics_interval_ms / 1000
        self._probes = Probes(runtime.bus, runtime.clock, runtime.common.trade_shards)
        self._gauges = ClusterGauges(runtime.telemetry)
        self._latest: Snapshot | None = None

    async def start(self) -> None:
        """Begin to look and to tell."""
        self._runtime.tasks.spawn("look", keep_trying("look", self._look_on, on_lost=self._forget))
        self._runtime.tasks.spawn("publish", keep_trying("publish", self._publish_on))

    async def stop(self) -> None:
        """Nothing is in hand."""

    def fill_report(self, report: dict[str, Any]) -> None:
        """It has no numbers of its own."""

    async def _look_on(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        now_ms = self._runtime.clock.now_ms()
        reports = sort_out(await self._probes.reports(), now_ms)
        await self._probes.remove_reports(reports.forgotten)
        if reports.forgotten:
            names = [name.decode(errors="backslashreplace") for name in reports.forgotten]
            log.info("reports_removed", instances=names)
        streams = await self._probes.streams()
        self._latest = summarise(reports.living, now_ms)
        self._gauges.show(self._latest, streams)

    def _forget(self) -> None:
        self._latest = None
        self._gauges.forget()

    async def _publish_on(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            if self._latest is not None:
                await self._runtime.bus.publish([(redis_keys.CLUSTER_METRICS, encode_json(self._latest.cluster))])
