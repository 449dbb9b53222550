"""One address in front of several servers: each new TCP connection goes where the test says, as a balancer would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

CHUNK: Final = 65_536


class Switchboard:
    """Forwards bytes both ways.

    Attributes:
        target: port that new connections go to.
        port: where clients connect.
    """

    def __init__(self) -> None:
        self.target = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where stock clients connect."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Drop every connection, as a client's network that fails."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        """Drop every connection, and wait until that is done: a loop that is closed before warns of each."""
        while self._serving:
            self.cut()
            await asyncio.wait(self._serving, timeout=0.1)
        await asyncio.sleep(0.01)  # transports are closed a turn after they are aborted

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        try:
            await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
        finally:
            for one in pair:
                one.transport.abort()
            self._writers -= pair


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def switchboard() -> AsyncIterator[Switchboard]:
    """A switchboard that forwards until the end."""
    board = Switchboard()
    server = await asyncio.start_server(board.serve, "127.0.0.1", 0)
    board.port = int(server.sockets[0].getsockname()[1])
    try:
        yield board
    finally:
        server.close()
        await board.close()
