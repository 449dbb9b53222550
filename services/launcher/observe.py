"""Where the board's knowledge comes from: a stock client at a gateway, and the services' reports in Redis."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.launcher.client import Ask, GatewayClient, RefusedError
from services.launcher.view import ClusterView
from shared.bus.errors import BusRefusedError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.clock import Clock
from shared.messages import DecodeError, ServiceReport, decode_report
from shared.names import redis_keys
from shared.names.events import ServerEvent

REPORTS_S: Final = 0.5


class PriceListener:
    """Takes `price:batch` into the view, as any client of the whole market would get it; a `client.Listener`."""

    def __init__(self, view: ClusterView, clock: Clock) -> None:
        self._view = view
        self._clock = clock

    async def opened(self, url: str, ask: Ask) -> None:  # noqa: ARG002 - nothing to ask for: batches come by themselves
        """See `client.Listener`."""
        self._view.connected = True
        self._view.link = f"price:batch as a client receives it, from {url}"

    def received(self, event: str, arguments: Sequence[Any]) -> None:
        """See `client.Listener`."""
        if event == ServerEvent.PRICE_BATCH and arguments:
            self._view.prices.receive(arguments[0], self._clock.monotonic())

    def lost(self, url: str, why: str) -> None:
        """See `client.Listener`."""
        self._view.connected = False
        self._view.link = f"no prices: {why} at {url}"


async def follow_prices(client: GatewayClient, view: ClusterView) -> None:
    """Stay connected until cancelled; a gateway that will not have us leaves the board without prices, no more."""
    try:
        await client.run()
    except RefusedError as error:
        view.link = f"no prices: {error}"


async def follow_reports(bus: RedisBus, view: ClusterView, clock: Clock) -> None:
    """Read what the services report until cancelled."""

    def lost() -> None:
        view.tell("Redis does not answer", clock.monotonic())

    await keep_trying("board", lambda: _read_for_ever(bus, view), on_lost=lost)


async def sample_prices(view: ClusterView, clock: Clock) -> None:
    """Give every sparkline its point a second, until cancelled."""
    while True:
        now = clock.monotonic()
        await asyncio.sleep(math.floor(now) + 1 - now)
        view.prices.sample()


async def _read_for_ever(bus: RedisBus, view: ClusterView) -> None:
    while True:
        try:
            raw = await bus.hash_all(redis_keys.SERVICE_REPORTS)
        except BusRefusedError as error:
            view.link = f"Redis refuses: {error}"
        else:
            view.take_reports(_decoded(raw))
        await asyncio.sleep(REPORTS_S)


def _decoded(raw: Mapping[bytes, bytes]) -> list[ServiceReport]:
    reports = []
    for text in raw.values():
        try:
            reports.append(decode_report(text))
        except DecodeError:
            continue  # another version's: not one of our children
    return reports
