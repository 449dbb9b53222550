"""A TCP balancer before two gateways, in a process of its own: `python -m tests.chaos.balancer CONFIGURATION`.

The configuration is one JSON argument, `{"backends": [[port, ops_port], ...], "ports": [port, ...]}`. A port belongs to
the backend of the same index and goes to it while `/readyz` there says so, else to the next one: an affinity that keeps
a long-polling client where it is, and that a client which returns leaves when its gateway is gone. A connection that is
open is never cut because a backend is not ready: neither does a Kubernetes Service.
"""

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from shared.tasks import TaskGroup

HOST: Final = "127.0.0.1"
CHECK_S: Final = 0.25
CHECK_LIMIT_S: Final = 1.0
CONNECT_S: Final = 1.0


@dataclass(slots=True)
class Backend:
    """A gateway."""

    port: int
    ops_port: int
    ready: bool = True


class Side(asyncio.Protocol):
    """One end of a connection: hands what it gets to the other end, no faster than that takes it."""

    def __init__(self) -> None:
        self.other: Side | None = None
        self.transport: Any = None
        self.held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand it on."""
        if self.other is None:
            self.held += data
        else:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """The other end reads no more until this one has drained."""
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Drained."""
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - as asyncio calls it
        """What is on its way still goes out, then the other end closes too."""
        if self.other is not None:
            self.other.transport.close()

    def join(self, other: "Side") -> None:
        """Begin to hand on, with what came meanwhile."""
        self.other, other.other = other, self
        if self.held:
            other.transport.write(self.held)
            self.held = b""


class Front(Side):
    """A client's end."""

    def __init__(self, balancer: "Balancer", index: int) -> None:
        super().__init__()
        self._balancer = balancer
        self._index = index

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find it a gateway."""
        super().connection_made(transport)
        self._balancer.tasks.spawn("connect", self._balancer.connect(self, self._index))


class Balancer:
    """See the module."""

    def __init__(self, backends: list[Backend], tasks: TaskGroup) -> None:
        self.tasks = tasks
        self._backends = backends

    async def run(self, ports: list[int]) -> None:
        """Listen, say so, check for ever."""
        loop = asyncio.get_running_loop()
        for index, port in enumerate(ports):
            await loop.create_server(lambda index=index: Front(self, index), HOST, port, backlog=4096)  # type: ignore[misc]
        sys.stderr.write(json.dumps({"event": "ready"}) + "\n")
        sys.stderr.flush()
        for backend in self._backends:
            self.tasks.spawn(f"check-{backend.port}", self._check(backend))
        await asyncio.Event().wait()

    async def connect(self, front: Side, index: int) -> None:
        """Join a client's end with the first gateway that takes it, ready ones first; close it where none does."""
        turned = self._backends[index:] + self._backends[:index]
        for backend in sorted(turned, key=lambda backend: not backend.ready):
            try:
                async with asyncio.timeout(CONNECT_S):
                    _, back = await asyncio.get_running_loop().create_connection(Side, HOST, backend.port)
            except OSError:
                backend.ready = False
                continue
            front.join(back)
            if front.transport.is_closing():
                back.transport.close()
            return
        front.transport.abort()

    async def _check(self, backend: Backend) -> None:
        while True:
            try:
                async with asyncio.timeout(CHECK_LIMIT_S):
                    backend.ready = await _is_ready(backend.ops_port)
            except OSError:
                backend.ready = False
            await asyncio.sleep(CHECK_S)


async def _is_ready(port: int) -> bool:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return b" 200 " in await reader.readline()
    finally:
        writer.close()


async def serve(configuration: dict[str, Any]) -> None:
    """Run until killed."""
    backends = [Backend(port, ops_port) for port, ops_port in configuration["backends"]]
    async with TaskGroup() as tasks:
        await Balancer(backends, tasks).run(configuration["ports"])


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])))
