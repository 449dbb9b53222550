"""How an error becomes the ending of a connection, and what Socket.IO calls an ending. Pure."""

from collections.abc import Mapping
from typing import Final

from protocol.engineio.session import CloseCause
from protocol.errors import PeerError, ViolationCode
from shared.names import close_reasons
from shared.names.close_reasons import CloseReason

_CAUSES: Final[Mapping[CloseReason, CloseCause]] = {
    close_reasons.CLIENT_LEFT: CloseCause.PEER_CLOSED,
    close_reasons.PEER_GONE: CloseCause.TRANSPORT_ERROR,
    close_reasons.PING_TIMEOUT: CloseCause.PING_TIMEOUT,
    close_reasons.PROTOCOL_ERROR: CloseCause.PARSE_ERROR,
    close_reasons.WEBSOCKET_ERROR: CloseCause.PARSE_ERROR,
    close_reasons.MESSAGE_TOO_BIG: CloseCause.PARSE_ERROR,
    close_reasons.SERVER_STOPPING: CloseCause.SHUTDOWN,
}
"""What Socket.IO calls an ending; any other is `FORCED_BY_SERVER`."""


def cause_of(reason: CloseReason) -> CloseCause:
    """What the session is told."""
    return _CAUSES.get(reason, CloseCause.FORCED_BY_SERVER)


def reason_of(error: PeerError) -> CloseReason:
    """Which ending a client has earned."""
    match error.code:
        case ViolationCode.CONNECT_TIMEOUT:
            return close_reasons.CONNECT_TIMEOUT
        case ViolationCode.PAYLOAD_TOO_LARGE:
            return close_reasons.MESSAGE_TOO_BIG
        case _:
            return close_reasons.PROTOCOL_ERROR
