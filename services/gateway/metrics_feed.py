"""The cluster's figures from Redis to the admins connected here."""

import msgspec

from services.gateway.fanout import Fanout
from services.gateway.payloads import Payload
from shared.bus.redis_bus import RedisBus
from shared.bus.subscription import Silence, Subscription
from shared.log import get_logger
from shared.messages import DecodeError, decode_cluster_metrics
from shared.names import redis_keys

log = get_logger(__name__)


class MetricsFeed:
    """Forwards each publication to the admin room. One message every few seconds: always subscribed.

    Attributes:
        rejected: publications that could not be read.
        deaf: how often its connection was thrown away because it was deaf.
    """

    def __init__(self, bus: RedisBus, fanout: Fanout) -> None:
        self._fanout = fanout
        self._subscription = Subscription(bus, self._on_message, lambda _channel: None, on_deaf=self._on_deaf)
        self.rejected = 0
        self.deaf = 0

    @property
    def subscription(self) -> Subscription:
        """How it hears; for figures."""
        return self._subscription

    async def run(self) -> None:
        """Work until cancelled."""
        self._subscription.want(redis_keys.CLUSTER_METRICS)
        await self._subscription.run()

    def _on_deaf(self, _: Silence) -> None:
        self.deaf += 1

    def _on_message(self, _channel: str, payload: bytes) -> None:
        try:
            figures: Payload = msgspec.to_builtins(decode_cluster_metrics(payload))
        except DecodeError as error:
            self.rejected += 1
            log.warning("cluster_metrics_rejected", error=error, rejected=self.rejected)
            return
        self._fanout.metrics(figures)
