"""The real clients in every documented mode: which transports they begin with, and where they end up.

`CASES` names each client with each of its modes. A client made here tells `event("transport")` when it has connected,
and again when it was upgraded; the clients of Node are made by `tests/interop/modes.cjs`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

import socketio

from shared.tasks import TaskGroup
from tests.support.hex_json import Json
from tests.support.stock_clients import KINDS, Clients, Kind, NodeDriver, PythonClient, StockClient, start_node
from tests.support.waiting import PATIENCE_S

POLLING: Final = "polling"
WEBSOCKET: Final = "websocket"

NO_OPTIONS: Final[dict[str, Json]] = {"forceNew": None, "reconnectionDelay": None, "randomizationFactor": None}
"""What the driver would set by itself, left out: `io(url)`."""


class Mode(NamedTuple):
    """A way to make a client, and the transports that it must report."""

    name: str
    options: dict[str, Json]
    begins: str
    ends: str

    @property
    def carriers(self) -> list[str]:
        """Every transport in the order in which the client has it."""
        return [self.begins] if self.begins == self.ends else [self.begins, self.ends]


DEFAULT: Final = Mode("default", {**NO_OPTIONS, "transports": None}, POLLING, WEBSOCKET)
ONLY_POLLING: Final = Mode("polling", {"transports": [POLLING]}, POLLING, POLLING)
ONLY_WEBSOCKET: Final = Mode("websocket", {"transports": [WEBSOCKET]}, WEBSOCKET, WEBSOCKET)
WEBSOCKET_FIRST: Final = Mode("websocket-polling", {"transports": [WEBSOCKET, POLLING]}, WEBSOCKET, WEBSOCKET)
TRY_ALL: Final = Mode("try-all", {"transports": [WEBSOCKET, POLLING], "tryAllTransports": True}, WEBSOCKET, WEBSOCKET)


class Case(NamedTuple):
    """A client in a mode."""

    kind: Kind
    mode: Mode

    def __str__(self) -> str:
        return f"{self.kind}-{self.mode.name}"


def cases(*modes: Mode) -> list[Case]:
    """Every client in these modes; `tryAllTransports` and a preferred WebSocket are Node's alone."""
    return [Case(kind, mode) for kind in KINDS for mode in modes if kind.startswith("js") or mode not in _OF_NODE]


_OF_NODE: Final = (WEBSOCKET_FIRST, TRY_ALL)
CASES: Final = cases(DEFAULT, ONLY_POLLING, ONLY_WEBSOCKET, WEBSOCKET_FIRST, TRY_ALL)


class ModeClient(PythonClient):
    """python-socketio's AsyncClient, with the transports that it is given, or its own default."""

    async def connect(self, url: str, auth: Json = None, namespace: str = "/", **options: Json) -> None:
        self._namespace = namespace
        self._sio = sio = socketio.AsyncClient(
            serializer="default" if self.kind == "py-json" else "msgpack",
            handle_sigint=False,
            reconnection=options.get("reconnection", True),
            reconnection_delay=0.2,
            randomization_factor=0.1,
        )
        sio.on("connect", self._on_connected, namespace=namespace)
        sio.on("disconnect", lambda reason: self.note("life disconnect", [reason]), namespace=namespace)
        sio.on("connect_error", self._on_refused, namespace=namespace)
        sio.on("*", self._on_event, namespace=namespace)
        with contextlib.suppress(socketio.exceptions.ConnectionError):  # `connect_error` tells
            await sio.connect(
                url, auth=auth, transports=options["transports"], namespaces=[namespace], wait_timeout=PATIENCE_S
            )

    async def disconnect(self) -> None:
        """Leave, and close what the library leaves open after a refusal."""
        await super().disconnect()
        if self._sio is not None and self._sio.eio.http is not None:
            await self._sio.eio.http.close()

    def _on_connected(self) -> None:
        """It upgrades before it joins a namespace, so there is one transport to tell where Node tells two."""
        self.note("event transport", [self._sio.transport()])
        self.note("life connect", [])


class ModeClients(Clients):
    """All clients of one test."""

    async def make(self, kind: Kind) -> StockClient:
        """One more client of a kind, not yet connected."""
        if kind in ("py-json", "py-msgpack"):
            made = ModeClient(kind)
            self._python.append(made)
            return made
        if self._driver is None:
            self._driver = NodeDriver(await start_node("modes.cjs"))
            self._tasks.spawn("node-driver", self._driver.read())
        return self._driver.client(kind)

    async def connected(self, case: Case, url: str, **options: Json) -> StockClient:
        """A client that has connected, in the transport that its mode ends with."""
        (client,) = await self.all_connected([case], url, **options)
        return client

    async def all_connected(self, which: Sequence[Case], url: str, **options: Json) -> list[StockClient]:
        """The same for many, which connect all at once."""
        made = [await self.make(case.kind) for case in which]  # one by one: they share a process
        pairs = list(zip(which, made, strict=True))
        await asyncio.gather(*(client.connect(url, **{**case.mode.options, **options}) for case, client in pairs))
        for case, client in pairs:
            await client.life("connect")
            await self.settled(client, case.mode)
        return made

    async def settled(self, client: StockClient, mode: Mode) -> None:
        """Wait until a client has told the transports of its mode, and no others."""
        expected = mode.carriers if client.kind.startswith("js") else [mode.ends]
        assert [await client.event("transport") for _ in expected] == [[name] for name in expected]


@contextlib.asynccontextmanager
async def mode_clients() -> AsyncIterator[ModeClients]:
    """A place for clients, ended whatever happens."""
    async with TaskGroup() as tasks:
        clients = ModeClients(tasks)
        try:
            yield clients
        finally:
            await clients.close()
