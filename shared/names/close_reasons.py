"""Every way in which a connection ends. Metric labels and the README's table come from here.

Stock clients cannot see a WebSocket close code, so `reconnect` decides *how* we end: a plain transport close brings
them back with back-off, a Socket.IO DISCONNECT or CONNECT_ERROR keeps them away.
"""

from dataclasses import dataclass
from typing import Final

from shared.names.retry import Retry


@dataclass(frozen=True, slots=True)
class CloseReason:
    """One ending.

    Attributes:
        code: WebSocket close code, for logs and proxies; None where the close frame stays empty, as in Engine.IO.
        text: metric label and log value.
        meaning: for the README.
        reconnect: whether a stock client comes back by itself.
        abrupt: whether TCP just ends, because the client does not read: a goodbye would wait behind all the rest.
    """

    code: int | None
    text: str
    meaning: str
    reconnect: bool = True
    abrupt: bool = False

    @property
    def retry(self) -> Retry:
        """Whether trying again helps."""
        return Retry.BY_ITSELF if self.reconnect else Retry.NEVER


CLIENT_LEFT: Final = CloseReason(None, "client_left", "the client closed the connection")
PEER_GONE: Final = CloseReason(None, "peer_gone", "the TCP connection ended without a closing handshake")
PING_TIMEOUT: Final = CloseReason(None, "ping_timeout", "no pong within `PING_TIMEOUT_MS`")
CONNECT_TIMEOUT: Final = CloseReason(None, "connect_timeout", "no namespace joined within `CONNECT_TIMEOUT_MS`")
PROTOCOL_ERROR: Final = CloseReason(None, "protocol_error", "a packet that Engine.IO or Socket.IO does not allow")
WEBSOCKET_ERROR: Final = CloseReason(1002, "websocket_error", "a frame that RFC 6455 does not allow")
MESSAGE_TOO_BIG: Final = CloseReason(
    1009, "message_too_big", "a message over `MAX_PAYLOAD_BYTES`, or in over 64 fragments"
)
INVALID_TEXT: Final = CloseReason(1007, "invalid_text", "a text message that is not UTF-8")
FRAME_FLOOD: Final = CloseReason(None, "frame_flood", "more frames a second than `MAX_FRAMES_PER_SECOND`", abrupt=True)
MESSAGE_FLOOD: Final = CloseReason(
    1008, "message_flood", "more messages a second than `MAX_MESSAGES_PER_SECOND`, and on after the warning"
)
SLOW_CONSUMER: Final = CloseReason(None, "slow_consumer", "not one byte drained within `WRITE_TIMEOUT_MS`", abrupt=True)
FELL_BEHIND: Final = CloseReason(
    1008,
    "fell_behind",
    "further behind the trade log than a gateway keeps in memory, or than the log itself reaches back",
)
BUFFER_FULL: Final = CloseReason(None, "buffer_full", "more unsent bytes than `MAX_BUFFERED_BYTES`", abrupt=True)
SERVER_STOPPING: Final = CloseReason(1012, "server_stopping", "the gateway stops")
DRAINED: Final = CloseReason(
    1012, "drained", "let go by a gateway that stops, at its turn; the client comes back to another, recovered"
)
REBALANCED: Final = CloseReason(
    1012, "rebalanced", "let go by a gateway with more than its share of the clients; the client comes back, recovered"
)
TOO_OLD: Final = CloseReason(1012, "too_old", "open for `MAX_CONNECTION_AGE_SECONDS`; the client comes back, recovered")
MOVED: Final = CloseReason(None, "moved", "the client has come back on another connection")
TOKEN_EXPIRED: Final = CloseReason(
    4401, "token_expired", "the token expired and was not replaced in time; the client comes back with a new one"
)
TOKEN_REVOKED: Final = CloseReason(4403, "token_revoked", "the token, or its user, was revoked", reconnect=False)
KEYS_AWAITED: Final = CloseReason(
    1013, "awaiting_keys", "the token names a key that is being fetched from `JWT_JWKS_URL`; the client tries again"
)
USER_FULL: Final = CloseReason(
    1013, "user_full", "the user has `MAX_CONNECTIONS_PER_USER`, of which some may be dead; the client tries again"
)
KICKED: Final = CloseReason(None, "kicked", "told to leave by DISCONNECT", reconnect=False)

ALL: Final = (
    CLIENT_LEFT,
    PEER_GONE,
    PING_TIMEOUT,
    CONNECT_TIMEOUT,
    PROTOCOL_ERROR,
    WEBSOCKET_ERROR,
    MESSAGE_TOO_BIG,
    INVALID_TEXT,
    FRAME_FLOOD,
    MESSAGE_FLOOD,
    SLOW_CONSUMER,
    FELL_BEHIND,
    BUFFER_FULL,
    SERVER_STOPPING,
    DRAINED,
    REBALANCED,
    TOO_OLD,
    MOVED,
    TOKEN_EXPIRED,
    TOKEN_REVOKED,
    KEYS_AWAITED,
    USER_FULL,
    KICKED,
)
