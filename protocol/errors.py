"""What can go wrong in `protocol/`, and whose fault it is.

::

    ProtocolError
    ├── PeerError     the remote side broke the rules: close its transport, `code` says which rule
    └── UsageError    our own caller did: a defect in this program, never caused by what a peer sent

Every error carries facts (`code`, and `limit` / `actual` where a number was exceeded), never a sentence put together
at the place of failure, so that callers can count, label and log them. Nothing a peer sent is part of an error.
"""

from enum import StrEnum, unique


@unique
class ViolationCode(StrEnum):
    """The rule that the remote side broke. The values are stable: metric labels and log fields are made of them."""

    # Engine.IO packets and payloads (protocol reference 2.1, 2.4, 2.5)
    EMPTY_PACKET = "empty_packet"
    UNKNOWN_PACKET = "unknown_packet"
    UNEXPECTED_DATA = "unexpected_data"
    BAD_BASE64 = "bad_base64"
    BAD_UTF8 = "bad_utf8"
    BAD_HANDSHAKE = "bad_handshake"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    TOO_MANY_PACKETS = "too_many_packets"
    PING_FROM_CLIENT = "ping_from_client"

    # Socket.IO packets (3.1, 4, 7)
    UNKNOWN_PARSER = "unknown_parser"
    WRONG_FRAME_KIND = "wrong_frame_kind"
    MALFORMED = "malformed"
    BAD_NAMESPACE = "bad_namespace"
    BAD_ACK_ID = "bad_ack_id"
    BAD_DATA = "bad_data"
    BAD_EVENT_NAME = "bad_event_name"
    RESERVED_EVENT = "reserved_event"
    BAD_ATTACHMENT_COUNT = "bad_attachment_count"
    TOO_MANY_ATTACHMENTS = "too_many_attachments"
    ATTACHMENT_EXPECTED = "attachment_expected"
    BAD_PLACEHOLDER = "bad_placeholder"

    # Values inside packets
    TOO_DEEP = "too_deep"
    TOO_MANY_ELEMENTS = "too_many_elements"
    STRING_TOO_LONG = "string_too_long"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    UNSUPPORTED_VALUE = "unsupported_value"

    # Life of a Socket.IO connection (3.2, 3.3)
    TOO_MUCH_BEFORE_JOIN = "too_much_before_join"
    NOT_CONNECTED = "not_connected"
    ALREADY_CONNECTED = "already_connected"
    CONNECT_ERROR_FROM_CLIENT = "connect_error_from_client"
    TOO_MANY_NAMESPACES = "too_many_namespaces"
    TOO_MANY_REFUSALS = "too_many_refusals"
    TOO_MANY_UNANSWERED = "too_many_unanswered"
    DUPLICATE_ACK_ID = "duplicate_ack_id"
    CONNECT_TIMEOUT = "connect_timeout"
    ATTACHMENT_TIMEOUT = "attachment_timeout"


@unique
class MisuseCode(StrEnum):
    """The rule that our own caller broke."""

    # A value no parser can carry
    UNSUPPORTED_VALUE = "unsupported_value"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    LONE_SURROGATE = "lone_surrogate"
    RESERVED_EVENT = "reserved_event"
    RESERVED_KEY = "reserved_key"
    TOO_MANY_ATTACHMENTS = "too_many_attachments"
    BINARY_NOT_ALLOWED = "binary_not_allowed"
    BAD_NAMESPACE = "bad_namespace"
    BAD_ACK_ID = "bad_ack_id"
    SEPARATOR_IN_PACKET = "separator_in_packet"
    EMPTY_PAYLOAD = "empty_payload"

    # An action that the state does not allow
    WRONG_STATE = "wrong_state"
    UNKNOWN_ACK_ID = "unknown_ack_id"
    TOO_MANY_PENDING_ACKS = "too_many_pending_acks"
    STRING_LAST_WITHOUT_OFFSET = "string_last_without_offset"


class ProtocolError(Exception):
    """Whatever this package raises.

    Attributes:
        limit: the bound that was exceeded, if one was.
        actual: the number that exceeded it, if known.
    """

    def __init__(self, code: StrEnum, *, limit: int | None = None, actual: int | None = None) -> None:
        super().__init__(code, limit, actual)
        self.limit = limit
        self.actual = actual

    def __str__(self) -> str:
        facts = {"limit": self.limit, "actual": self.actual}
        return " ".join([str(self.args[0]), *(f"{name}={fact}" for name, fact in facts.items() if fact is not None)])


class PeerError(ProtocolError):
    """The remote side broke a rule: the connection cannot go on, close its transport."""

    def __init__(self, code: ViolationCode, *, limit: int | None = None, actual: int | None = None) -> None:
        super().__init__(code, limit=limit, actual=actual)
        self.code = code


class UsageError(ProtocolError):
    """Our own caller asked for something impossible; nothing was changed and nothing must be sent."""

    def __init__(self, code: MisuseCode, *, limit: int | None = None, actual: int | None = None) -> None:
        super().__init__(code, limit=limit, actual=actual)
        self.code = code
