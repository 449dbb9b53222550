"""The real clients behind one interface, so that one test is written once and holds for all of them.

`KINDS` names four: `socket.io-client` in Node and python-socketio, each with the JSON and the msgpack parser, over
WebSocket alone. Node runs `tests/interop/driver.cjs`; where Node or its packages are missing `need_node` skips and
says what to do.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal

import pytest
import socketio

from shared.tasks import TaskGroup
from tests.support.hex_json import Json, from_wire, to_wire
from tests.support.waiting import PATIENCE_S

INTEROP: Final = Path(__file__).parents[1] / "interop"

Kind = Literal["js-json", "js-msgpack", "py-json", "py-msgpack"]
KINDS: Final[tuple[Kind, ...]] = ("js-json", "js-msgpack", "py-json", "py-msgpack")


class StockClient:
    """What every client offers: orders, and what happened as queues by name.

    Attributes:
        kind: which client it is, and which parser.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._happened: dict[str, asyncio.Queue[list[Json]]] = {}

    async def connect(self, url: str, auth: Json = None, namespace: str = "/", **options: Json) -> None:
        """Begin to connect; `life("connect")` or `life("connect_error")` says how it went.

        Args:
            url: of the gateway.
            auth: CONNECT's payload.
            namespace: to join.
            options: `reconnection`, and for `auth` a changed one on `reconnect`.
        """
        raise NotImplementedError

    async def emit(self, *event: Json) -> None:
        """Send an event."""
        raise NotImplementedError

    async def call(self, *event: Json) -> list[Json]:
        """Send an event; the arguments of its ack."""
        raise NotImplementedError

    async def disconnect(self) -> None:
        """Leave."""
        raise NotImplementedError

    async def event(self, name: str) -> list[Json]:
        """The arguments of the oldest event of this name that was not yet taken."""
        return await self._next(f"event {name}")

    async def life(self, name: str) -> list[Json]:
        """The same for `connect`, `disconnect` and `connect_error`."""
        return await self._next(f"life {name}")

    async def ask(self, *event: Json) -> Json:
        """Send an event; the one argument of its ack."""
        (answer,) = await self.call(*event)
        return answer

    def count(self, name: str) -> int:
        """How many events of this name were received and not yet taken."""
        return self._queue(f"event {name}").qsize()

    def lives(self, name: str) -> int:
        """The same for `connect`, `disconnect` and `connect_error`."""
        return self._queue(f"life {name}").qsize()

    def note(self, what: str, args: list[Json]) -> None:
        """Something happened."""
        self._queue(what).put_nowait(args)

    async def _next(self, what: str) -> list[Json]:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._queue(what).get()
        except TimeoutError:
            seen = {name: queue.qsize() for name, queue in self._happened.items() if queue.qsize()}
            raise AssertionError(f"{self.kind}: no {what} within {PATIENCE_S:g} s; there is {seen}") from None

    def _queue(self, what: str) -> asyncio.Queue[list[Json]]:
        return self._happened.setdefault(what, asyncio.Queue())


class PythonClient(StockClient):
    """python-socketio's AsyncClient."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self._sio: Any = None
        self._namespace = "/"

    async def connect(self, url: str, auth: Json = None, namespace: str = "/", **options: Json) -> None:
        self._namespace = namespace
        serializer = "default" if self.kind == "py-json" else "msgpack"
        self._sio = sio = socketio.AsyncClient(
            serializer=serializer,
            handle_sigint=False,
            reconnection=options.get("reconnection", True),
            reconnection_delay=0.2,
            randomization_factor=0.1,
        )
        sio.on("connect", lambda: self.note("life connect", []), namespace=namespace)
        sio.on("disconnect", lambda reason: self.note("life disconnect", [reason]), namespace=namespace)
        sio.on("connect_error", self._on_refused, namespace=namespace)
        sio.on("*", self._on_event, namespace=namespace)
        with contextlib.suppress(socketio.exceptions.ConnectionError):  # `connect_error` tells
            await sio.connect(
                url,
                auth=auth,
                transports=["websocket"],
                namespaces=[namespace],
                wait_timeout=PATIENCE_S,
            )

    async def emit(self, *event: Json) -> None:
        await self._sio.emit(event[0], tuple(event[1:]), self._namespace)

    async def call(self, *event: Json) -> list[Json]:
        answer = await self._sio.call(event[0], tuple(event[1:]), self._namespace, timeout=PATIENCE_S)
        if answer is None:  # python-socketio tells an empty answer and null alike
            return []
        return [*answer] if isinstance(answer, tuple) else [answer]

    async def disconnect(self) -> None:
        if self._sio is not None:
            await self._sio.shutdown()  # `disconnect` alone would leave a reconnection running

    async def _on_event(self, name: str, *args: Json) -> tuple[Json, ...]:
        self.note(f"event {name}", list(args))
        return args

    def _on_refused(self, error: Json = None) -> None:
        body = error if isinstance(error, Mapping) else {"message": error}
        self.note("life connect_error", [body.get("message"), body.get("data")])


class NodeDriver:
    """A Node process that hosts clients; see `driver.cjs`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._clients: dict[str, NodeClient] = {}
        self._calls: dict[int, asyncio.Future[list[Json] | None]] = {}
        self._numbers = count()

    def client(self, kind: Kind) -> "NodeClient":
        """One more client."""
        name = str(next(self._numbers))
        client = self._clients[name] = NodeClient(kind, name, self)
        return client

    def order(self, what: str, client: str, **details: Json) -> None:
        """Tell the process to do something."""
        assert self._process.stdin is not None
        order = {"do": what, "client": client, **to_wire(details)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def call(self, client: str, args: list[Json]) -> list[Json]:
        """Emit with an ack."""
        number = next(self._numbers)
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        self.order("emit", client, args=args, call=number)
        async with asyncio.timeout(PATIENCE_S):
            ack: list[Json] | None = await future
        assert ack is not None, f"no ack of {args[0]}"
        return ack

    async def read(self) -> None:
        """Hand out what the process says, until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = from_wire(json.loads(line))
            if "call" in said:
                self._calls.pop(said["call"]).set_result(said["ack"])
                continue
            if "cursor" in said:
                self._clients[said["client"]].cursors.append(said["cursor"])
            what = f"event {said['event']}" if "event" in said else f"life {said['life']}"
            self._clients[said["client"]].note(what, said["args"])

    async def close(self) -> None:
        """End the process by the end of its input, or by force."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class NodeClient(StockClient):
    """One `socket.io-client` of a driver.

    Attributes:
        cursors: those that came with events, in order.
    """

    def __init__(self, kind: Kind, name: str, driver: NodeDriver) -> None:
        super().__init__(kind)
        self.cursors: list[str] = []
        self._name = name
        self._driver = driver

    async def connect(self, url: str, auth: Json = None, namespace: str = "/", **options: Json) -> None:
        defaults = {"reconnectionDelay": 200, "randomizationFactor": 0.1}
        self._driver.order(
            "open",
            self._name,
            url=url,
            namespace=namespace,
            parser=self.kind.removeprefix("js-"),
            auth=auth,
            options={**defaults, **options},
        )

    async def emit(self, *event: Json) -> None:
        self._driver.order("emit", self._name, args=list(event))

    async def emit_volatile(self, *event: Json) -> None:
        """Send an event that is dropped when the transport cannot take it at once."""
        self._driver.order("emit", self._name, args=list(event), volatile=True)

    async def call(self, *event: Json) -> list[Json]:
        return await self._driver.call(self._name, list(event))

    async def disconnect(self) -> None:
        self._driver.order("disconnect", self._name)


class Clients:
    """All stock clients of one test; those of Node share one process."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._driver: NodeDriver | None = None
        self._python: list[PythonClient] = []

    async def make(self, kind: Kind) -> StockClient:
        """One more client of a kind, not yet connected."""
        if kind in ("py-json", "py-msgpack"):
            made = PythonClient(kind)
            self._python.append(made)
            return made
        if self._driver is None:
            self._driver = NodeDriver(await start_node("driver.cjs"))
            self._tasks.spawn("node-driver", self._driver.read())
        return self._driver.client(kind)

    async def close(self) -> None:
        """End them all."""
        for client in self._python:
            await client.disconnect()
        if self._driver is not None:
            await self._driver.close()


@contextlib.asynccontextmanager
async def stock_clients() -> AsyncIterator[Clients]:
    """A place for clients, ended whatever happens."""
    async with TaskGroup() as tasks:
        clients = Clients(tasks)
        try:
            yield clients
        finally:
            await clients.close()


async def start_node(script: str, *arguments: str) -> asyncio.subprocess.Process:
    """Run a script of `tests/interop`; skips the test where that cannot be."""
    need_node()
    return await asyncio.create_subprocess_exec(
        "node",
        str(INTEROP / script),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )


def need_node() -> None:
    """Skip where Node or the packages are missing."""
    if shutil.which("node") is None:
        pytest.skip("no node on PATH: install Node 20 or later, then `make setup`")
    if not (INTEROP / "node_modules" / "socket.io-client").is_dir():
        pytest.skip("the JavaScript clients are not installed: `make setup`")
