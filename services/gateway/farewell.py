"""How a gateway parts from a client that is to come back: it is told first, then closed when that costs it nothing.

Used by `drain.py`, where all go, and by `shedding.py`, where some do. Never a Socket.IO DISCONNECT, after which stock
clients stay away: the transport is closed, a WebSocket by its close frame, a poll by packet `1` in its answer.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from services.gateway.client import Client
from services.gateway.connection import EngineConnection
from services.gateway.encoding import Encoder
from services.gateway.member import Member
from shared.names.close_reasons import CloseReason
from shared.names.events import ServerEvent

SLICE: Final = 500
"""Clients told in one turn of the event loop: a few milliseconds."""


class Cause(StrEnum):
    """Why a client is let go, as the event `drain` says."""

    STOPPING = "stopping"
    REBALANCING = "rebalancing"


class Farewell:
    """Tells clients that they will be let go.

    Args:
        encoder: writes the event once for all of them.
        delivered: events handed to clients, by name; counted on.
    """

    def __init__(self, encoder: Encoder, delivered: dict[ServerEvent, int]) -> None:
        self._encoder = encoder
        self._delivered = delivered

    async def tell_all(self, connections: Sequence[EngineConnection], cause: Cause, within_s: float) -> None:
        """Tell many, over several turns of the event loop."""
        for start in range(0, len(connections), SLICE):
            self.tell(connections[start : start + SLICE], cause, within_s)
            await asyncio.sleep(0)

    def tell(self, connections: Sequence[EngineConnection], cause: Cause, within_s: float) -> None:
        """Tell clients that they go within so many seconds; those that are in no namespace hear nothing."""
        event = self._encoder.event(ServerEvent.DRAIN, {"deadline_ms": round(within_s * 1000), "reason": cause.value})
        for connection in connections:
            client = joined(connection)
            if client is not None:
                client.outbox.send(event.frame(client.outbox.parser))
                self._delivered[ServerEvent.DRAIN] += 1


def joined(connection: EngineConnection) -> Client | None:
    """The client of a connection, once it is in the namespace and until it ends."""
    client = connection.application
    return client if isinstance(client, Client) and isinstance(client.member, Member) else None


def is_ready(connection: EngineConnection) -> bool:
    """Whether it can go now: it is in no upgrade, has been written all that it is owed, and its session is saved."""
    client = joined(connection)
    return not connection.is_upgrading and (client is None or client.outbox.is_settled)


def let_go(connection: EngineConnection, reason: CloseReason) -> None:
    """Close a connection behind all that its client was told; harmless when it has ended."""
    client = joined(connection)
    if client is None:
        connection.end(reason)
    else:
        client.end(reason)
