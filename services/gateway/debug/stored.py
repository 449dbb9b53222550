"""What Redis says of a symbol: a handful of reads, each of one small value, all at once and within `LIMIT_S`.

Feeds `judgement.py`. Redis that is away is an answer too, never an error.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, TypeVar

from services.gateway.debug.facts import Stored
from shared.bus.errors import BusError
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.messages import DecodeError, Price, ServiceReport, decode_chart, decode_price, decode_report
from shared.names import redis_keys
from shared.reporting import REPORT_S

LIMIT_S: Final = 2.0
LATELY_MS: Final = int(3 * REPORT_S * 1000)
"""Who has not reported for so long is not running, or hangs."""

PRICE_INGEST: Final = "price-ingest"
TRADE_NOTIFIER: Final = "trade-notifier"
GATEWAY: Final = "gateway"

T = TypeVar("T")


class StoredFacts:
    """Asks Redis.

    Args:
        bus: of the gateway.
        clock: for ages.
        price_shards, trade_shards: how many there are.
    """

    def __init__(self, bus: RedisBus, clock: Clock, price_shards: int, trade_shards: int) -> None:
        self._bus = bus
        self._clock = clock
        self._price_shards = price_shards
        self._trade_shards = trade_shards

    async def read(self, symbol: str) -> Stored:
        """All that is known of a symbol."""
        try:
            async with asyncio.timeout(LIMIT_S):
                return await self._read(symbol)
        except TimeoutError:
            return Stored(unavailable=f"no answer within {LIMIT_S:g} s")
        except BusError as error:
            return Stored(unavailable=str(error))

    async def gateways(self) -> list[ServiceReport]:
        """The gateways that have reported lately; none where Redis is away."""
        try:
            async with asyncio.timeout(LIMIT_S):
                return [report for report in await self._reports() if report.service == GATEWAY]
        except (TimeoutError, BusError):
            return []

    async def _read(self, symbol: str) -> Stored:
        bus, shard = self._bus, redis_keys.shard_of(symbol, self._price_shards)
        log = redis_keys.trade_log(redis_keys.shard_of(symbol, self._trade_shards))
        home, epoch, raw_price, raw_chart, ends, reports = await asyncio.gather(
            bus.hash_get(redis_keys.PRICE_HOMES, symbol),
            bus.get(redis_keys.PRICE_EPOCH),
            bus.hash_get(redis_keys.price_snapshot(shard), symbol),
            bus.hash_get(redis_keys.chart_snapshot(shard), symbol),
            bus.stream_ends([log]),
            self._reports(),
        )
        unit = int(home) if home is not None and home.isdigit() else None
        lease = None if unit is None else await bus.get(redis_keys.price_lease(unit))
        price = _price(raw_price)
        now_ms = self._clock.now_ms()
        return Stored(
            ingests=_count(reports, PRICE_INGEST),
            notifiers=_count(reports, TRADE_NOTIFIER),
            unit=unit,
            owner=None if lease is None else lease.decode(errors="replace").partition(":")[2],
            epoch=(epoch or b"").decode(errors="replace"),
            seq=None if price is None else price.seq,
            state=None if price is None else price.state,
            state_age_s=None if price is None or not price.since else (now_ms - price.since) / 1000,
            event_age_s=None if price is None else (now_ms - price.ts) / 1000,
            chart_rev=_chart_rev(raw_chart),
            log_end=ends[log].last,
        )

    async def _reports(self) -> list[ServiceReport]:
        found = []
        for raw in (await self._bus.hash_all(redis_keys.SERVICE_REPORTS)).values():
            try:
                report = decode_report(raw)
            except DecodeError:  # the metrics service counts them
                continue
            if self._clock.now_ms() - report.at < LATELY_MS:
                found.append(report)
        return found


def _count(reports: Iterable[ServiceReport], service: str) -> int:
    return sum(report.service == service for report in reports)


def _price(raw: bytes | None) -> Price | None:
    try:
        return None if raw is None else decode_price(raw)
    except DecodeError:
        return None


def _chart_rev(raw: bytes | None) -> int | None:
    try:
        chart = None if raw is None else decode_chart(raw)
    except DecodeError:
        return None
    return None if chart is None else max((bar.rev for bars in chart.candles.values() for bar in bars), default=None)
