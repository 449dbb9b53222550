"""What is published on a feed's channel, appended to the stream of the same name: downstream there is one way alone.

Fed by the Pub/Sub channels `feed:prices` and `feed:trades`; feeds the streams, as one field `data` an entry, for both
of their readers. Pub/Sub gives no guarantee and this adds none: what comes while Redis is away or the relay changes
hands is lost. Nothing is appended twice, since each append compares the lease.
"""

import asyncio
from collections import deque
from enum import StrEnum
from typing import Final

from shared.bus.entries import StreamEntry
from shared.bus.errors import BusUnavailableError
from shared.bus.retrying import keep_trying
from shared.bus.subscription import Subscription
from shared.dead_letters import MAX_VALUE_BYTES, DeadLetter, DeadLetters
from shared.lease import Lease
from shared.lifecycle import Runtime
from shared.names import metrics, redis_keys
from shared.tasks import TaskGroup
from shared.upstream import MAX_PAYLOAD_BYTES, PAYLOAD_FIELD, Refusal, UpstreamError

BATCH: Final = 500
"""Messages in one append."""

MAX_STREAM_LENGTH: Final = 100_000
"""To which the stream is trimmed, about; what a publisher to the stream itself is told to use."""

MAX_WAITING_BYTES: Final = 16_777_216
"""Received and not yet appended; what comes beyond is dropped."""

MAX_WAITING_LETTERS: Final = 100

FEEDS: Final = {redis_keys.FEED_PRICES: redis_keys.DEAD_PRICES, redis_keys.FEED_TRADES: redis_keys.DEAD_TRADES}
"""Each feed, with where its refused messages go."""


class Dropped(StrEnum):
    """Why a published message was not appended."""

    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    REDIS_AWAY = "redis_away"


class Relay:
    """The relay of one feed; stands by while another replica has it.

    Args:
        runtime: the service's.
        feed: one of `FEEDS`.
    """

    def __init__(self, runtime: Runtime, feed: str) -> None:
        self._bus = runtime.bus
        self._feed = feed
        self._lease = Lease(runtime.bus, redis_keys.relay_lease(feed), runtime.instance)
        self._letters = DeadLetters(runtime.bus, FEEDS[feed], runtime.telemetry, runtime.clock)
        self._relayed = runtime.telemetry.counter(metrics.RELAYED).labels(feed=feed)
        dropped = runtime.telemetry.counter(metrics.RELAY_DROPPED)
        self._dropped = {reason: dropped.labels(feed=feed, reason=reason) for reason in Dropped}
        self._deaf = runtime.telemetry.counter(metrics.PUBSUB_DEAF).labels(feed=feed)
        self._lost = runtime.telemetry.counter(metrics.PUBSUB_LOST).labels(feed=feed)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._refused: deque[DeadLetter] = deque(maxlen=MAX_WAITING_LETTERS)
        self._came = asyncio.Event()

    async def run(self) -> None:
        """Work, or stand by, until cancelled."""
        await keep_trying(f"relay-{self._feed}", self._hold)

    async def _hold(self) -> None:
        await self._lease.hold(self._work)

    async def _work(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        subscription = Subscription(
            self._bus,
            self._take,
            on_live=lambda _: None,
            on_lost=self._lost.inc,
            on_deaf=lambda _: self._deaf.inc(),
            beat_channel=redis_keys.relay_beat(self._feed),
            sharded=False,
        )
        subscription.want(self._feed)
        async with TaskGroup() as tasks:
            tasks.spawn(f"relay-listen-{self._feed}", subscription.run())
            while True:
                await self._came.wait()
                self._came.clear()
                while self._waiting:
                    await self._append()
                await self._bury()

    def _take(self, _: str, payload: bytes) -> None:
        if len(payload) > MAX_PAYLOAD_BYTES:
            self._dropped[Dropped.TOO_LARGE].inc()
            self._refused.append(_letter(self._feed, payload))
        elif self._waiting_bytes + len(payload) > MAX_WAITING_BYTES:
            self._dropped[Dropped.TOO_MANY].inc()
        else:
            self._waiting.append(payload)
            self._waiting_bytes += len(payload)
        self._came.set()

    async def _append(self) -> None:
        """Append a batch. It is taken first: once its reply is lost, nobody knows whether it is there already."""
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        self._waiting_bytes -= sum(map(len, batch))
        args: list[str | bytes | int] = [self._lease.stamp, MAX_STREAM_LENGTH, PAYLOAD_FIELD, *batch]
        try:
            await self._bus.run_script("append_feed", [self._lease.key, self._feed], args)
        except BusUnavailableError:
            self._dropped[Dropped.REDIS_AWAY].inc(len(batch))
            raise
        self._relayed.inc(len(batch))

    async def _bury(self) -> None:
        letters = list(self._refused)
        await self._letters.put(letters)
        for _ in letters:
            self._refused.popleft()


def _letter(feed: str, payload: bytes) -> DeadLetter:
    shown = payload[: MAX_VALUE_BYTES + 1]  # so that the letter says that it was cut
    error = UpstreamError(Refusal.PAYLOAD_TOO_LARGE, PAYLOAD_FIELD.decode(), MAX_PAYLOAD_BYTES)
    return DeadLetter(feed, StreamEntry("", {PAYLOAD_FIELD: shown}), error)
