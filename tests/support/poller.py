"""A long-polling client that polls only when a test says so. Socket.IO with the JSON parser above it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from tests.support.waiting import PATIENCE_S

SEPARATOR: Final = "\x1e"
JAVASCRIPT: Final = "node-XMLHttpRequest"
"""The user agent of socket.io-client in Node; what gateways say to python-engineio's differs."""

Json = Any


class Poller:
    """One Engine.IO connection over polling, opened by `polling`.

    Attributes:
        sid: the client's secret.
        events: every event received, name first.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str, sid: str) -> None:
        self._http = http
        self._url = f"{url}&sid={sid}"
        self.sid = sid
        self.events: list[list[Json]] = []

    async def post(self, *packets: str) -> None:
        """Send packets."""
        async with self._http.post(self._url, data=SEPARATOR.join(packets)) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")

    async def emit(self, *event: Json) -> None:
        """Send an event."""
        await self.post(f"42{json.dumps(event)}")

    async def poll(self) -> list[str]:
        """Wait for packets and take them; pings are answered."""
        async with self._http.get(self._url) as answer:
            text = await answer.text()
            assert answer.status == 200, text
        packets = text.split(SEPARATOR)
        self.events += [json.loads(packet[2:]) for packet in packets if packet.startswith("42")]
        if "2" in packets:
            await self.post("3")
        return packets

    async def status(self) -> int:
        """What one more poll is answered with."""
        async with self._http.get(self._url) as answer:
            return answer.status

    def named(self, name: str) -> list[Json]:
        """The first argument of each event of this name so far."""
        return [args[0] for event, *args in self.events if event == name]


@asynccontextmanager
async def http_client() -> AsyncIterator[aiohttp.ClientSession]:
    """As many connections at once as a test needs, each answer awaited for no longer than a test is patient."""
    limits = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=limits, timeout=aiohttp.ClientTimeout(PATIENCE_S), headers={"User-Agent": JAVASCRIPT}
    ) as http:
        yield http


async def polling(http: aiohttp.ClientSession, url: str) -> Poller:
    """Handshake and CONNECT; the answer to that was polled."""
    target = f"{url}/socket.io/?EIO=4&transport=polling"
    async with http.get(target) as answer:
        text = await answer.text()
    assert text.startswith("0{"), text
    poller = Poller(http, target, json.loads(text[1:])["sid"])
    await poller.post("40")
    assert (await poller.poll())[0].startswith('40{"sid"')
    return poller
