"""The proxy before a fleet, with the configuration that `deploy/edge` documents, and what an operator tells it.

A Kubernetes controller takes a pod out of its proxy's rotation before the pod is told to stop (`preStop`): here HAProxy
is told so over its admin socket, as its ingress controller does it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.edge import Backend, Name, edge
from tests.support.waiting import eventually
from tests.support.wire_client import ask, upgrade_head

NOWHERE: Final = Backend(9, 9)
"""A place that nobody has yet."""

UNKNOWN: Final = "/socket.io/?EIO=4&transport=none"


class Balancer:
    """A running one.

    Args:
        port: where clients connect.
        admin: HAProxy's socket.
    """

    def __init__(self, port: int, admin: Path) -> None:
        self.url = f"http://localhost:{port}"
        self._admin = admin

    async def put_in(self, place: int, gateway: Backend) -> None:
        """Send clients to a gateway that has come, as soon as it is seen to be ready, and wait until then."""
        server = f"set server tickwire/gateway-{place + 1}"
        for command in (f"addr 127.0.0.1 port {gateway.port}", f"check-port {gateway.ops_port}", "state ready"):
            await self._say(f"{server} {command}")
        await eventually(self.states, f"gateway {place} in rotation", lambda seen: seen[place].startswith("UP"))

    async def take_out(self, place: int) -> None:
        """Send no new client there; those that are there stay."""
        await self._say(f"set server tickwire/gateway-{place + 1} state drain")

    async def states(self) -> Mapping[int, str]:
        """Place -> how HAProxy sees its gateway: `UP`, `DOWN`, `DRAIN`, ..."""
        head, *rows = (await self._say("show stat tickwire 4 -1")).strip().splitlines()
        names = head.removeprefix("# ").split(",")
        servers = (dict(zip(names, row.split(","), strict=False)) for row in rows)
        return {int(server["svname"].rpartition("-")[2]) - 1: server["status"] for server in servers}

    async def _say(self, command: str) -> str:
        reader, writer = await asyncio.open_unix_connection(str(self._admin))
        try:
            writer.write(command.encode() + b"\n")
            return (await reader.read()).decode()
        finally:
            writer.close()


@asynccontextmanager
async def open_balancer(
    name: Name, gateways: Sequence[Backend], directory: Path, *, spare: int
) -> AsyncIterator[Balancer]:
    """A running proxy before gateways that are ready, with places for more of them (HAProxy alone)."""
    admin = directory / "admin"

    def prepared(text: str) -> str:
        text = text.replace("\nglobal\n", f"\nglobal\n    stats socket {admin} level admin\n")
        return re.sub(rf"(:{NOWHERE.port} .*)", r"\1 disabled", text)

    async with edge(name, [*gateways, *[NOWHERE] * max(spare, 0)], directory, prepared) as port:
        await _all_in_rotation(port, len(gateways))
        yield Balancer(port, admin)


async def _all_in_rotation(port: int, gateways: int) -> None:
    """Wait until each gateway has answered through the proxy, which says in its cookie who did.

    Envoy sends nobody to a gateway whose first health check has not come back. What is asked here no gateway serves, so
    that it leaves no session behind.
    """
    seen: set[str] = set()

    async def look() -> int:
        answer = await ask(port, upgrade_head(UNKNOWN, {"Connection": "close", "Upgrade": None}))
        seen.add(answer.headers.get("set-cookie", ""))
        return len(seen - {""})

    await eventually(look, "gateways in rotation", lambda found: found == gateways)
