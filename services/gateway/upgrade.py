"""A WebSocket that wants to take over from polling, until it does (protocol reference 2.7).

It stands where an `EngineConnection` stands for other WebSockets, and asks the session of the polling connection what
each of its frames means.
"""

import asyncio

from protocol.engineio import codec
from protocol.engineio.session import ProbeRejected, Send, Upgraded
from protocol.errors import PeerError
from services.gateway.connection import EngineConnection
from services.gateway.frames import frame_packet
from services.gateway.websocket import CLOSE_TIMEOUT_S, WebSocket
from shared.names.close_reasons import CLIENT_LEFT, PROTOCOL_ERROR, CloseReason


class Probe:
    """One probing WebSocket."""

    __slots__ = ("_connection", "_socket", "_timer")

    def __init__(self, connection: EngineConnection, carrier: WebSocket) -> None:
        self._connection: EngineConnection | None = connection
        self._socket = carrier
        self._timer: asyncio.TimerHandle | None = None

    @property
    def now(self) -> float:
        """The event loop's clock."""
        return asyncio.get_running_loop().time()

    def receive_frame(self, frame: str | bytes) -> None:
        """Take one frame of the probing WebSocket."""
        connection = self._connection
        if connection is None:
            return
        try:
            action = connection.receive_probe(codec.decode(frame))
        except PeerError:
            connection.fail_probe()
            return
        match action:
            case Send(packet):
                self._socket.write(frame_packet(packet))
            case Upgraded():
                self._connection = None
                self._socket.serve(connection)
                connection.switch(self._socket)
            case ProbeRejected():
                self.reject()

    def reject(self) -> None:
        """Close the probing WebSocket, and only that."""
        self._connection = None
        self._socket.close(PROTOCOL_ERROR)
        self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._socket.abort)

    def end(self, _reason: CloseReason) -> None:
        """The WebSocket broke a rule or left: the upgrade has failed, polling goes on."""
        if self._connection is not None:
            self._connection.fail_probe()
        self._socket.close(CLIENT_LEFT)

    def carrier_lost(self, _reason: CloseReason) -> None:
        """It is gone."""
        if self._connection is not None:
            self._connection.fail_probe()
            self._connection = None
        if self._timer is not None:
            self._timer.cancel()

    def drained(self) -> None:
        """Nothing waits for it."""

    def rearm(self) -> None:
        """The polling connection watches the upgrade's time limit."""
