"""An echo server in the test's own event loop, and raw clients of it that end with the test."""

import asyncio
from typing import Final

from services.gateway.limits import WebSocketLimits
from tests.support.echo_app import HOST, PLENTY, EchoServer
from tests.support.wire_client import WireClient, upgrade_head

WIDE: Final = WebSocketLimits(max_message=1 << 20, frame_rate=PLENTY, frame_burst=PLENTY, write_timeout=10.0)


class Place:
    """One server, of the limits that its first client is given, and its clients."""

    def __init__(self) -> None:
        self.server: EchoServer | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def client(self, limits: WebSocketLimits = WIDE) -> WireClient:
        """A client after its 101."""
        if self.server is None:
            self.server = EchoServer(asyncio.get_running_loop(), limits)
            self.port = await self.server.start()
        reader, writer = await asyncio.open_connection(HOST, self.port)
        self._writers.append(writer)
        writer.write(upgrade_head("/"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        return WireClient(reader, writer)

    def endings(self) -> list[str | None]:
        """How the server ended each client."""
        assert self.server is not None
        return [None if echo.ending is None else echo.ending.text for echo in self.server.echoes]

    async def close(self) -> None:
        """End everything."""
        for writer in self._writers:
            writer.transport.abort()
        if self.server is not None:
            self.server.stop()
        await asyncio.sleep(0)  # transports close in the loop's next turn
